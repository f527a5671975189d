"""FACPA: the perturbation follows the image, in one pass."""

import pytest
import torch
from safetensors.torch import save_file

from lustral.attacks import FACPA
from lustral.nets.perturbations import PerturbationGenerator
from lustral.weights import WeightsError
from tests.attacks.problems import images
from tests.attacks.trained import GENERATOR, WIDTHS, attacked, generator, tile
from tests.contracts.attacks import AttackContract


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file(generator(), GENERATOR)


class TestFACPA(AttackContract):
    cases = (FACPA(weights=GENERATOR), FACPA(weights=GENERATOR, epsilon=0.5))


def test_it_adds_epsilon_times_what_the_network_makes_and_asks_once():
    x = images(3, 12)
    network = PerturbationGenerator.from_saved(generator()).double()
    result, oracle = attacked(FACPA(weights=GENERATOR, epsilon=8 / 255), x)
    with torch.no_grad():
        torch.testing.assert_close(result, x + 8 / 255 * network(x), rtol=0, atol=1e-12)
    assert (oracle.queries.tolist(), oracle.gradients.tolist()) == ([1] * 3, [0] * 3)
    assert (result - x)[0].sub((result - x)[1]).abs().amax() > 1e-3, "it follows the image"


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (8, 8), (13, 7)])
def test_any_size_is_extended_by_reflection_and_cut_back(size):
    network = PerturbationGenerator.from_saved(generator())
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = network(x)
    assert found.shape == x.shape
    assert found.abs().amax() <= 1
    whole = x
    for axis in (2, 3):
        while whole.shape[axis] % 4:  # one line more, mirrored at the last without repeating it
            place = whole.shape[axis] % max(2 * x.shape[axis] - 2, 1)
            line = whole.select(axis, min(place, 2 * x.shape[axis] - 2 - place)).unsqueeze(axis)
            whole = torch.cat([whole, line], axis)
    torch.testing.assert_close(network(whole)[:, :, : size[0], : size[1]], found)


def test_the_shipped_widths_fit_into_80_kilobytes(tmp_path):
    network = PerturbationGenerator()
    assert sum(p.numel() for p in network.parameters()) == 31_979
    save_file(network.to_saved(), tmp_path / "g.safetensors")
    assert (tmp_path / "g.safetensors").stat().st_size < 80_000
    assert [len(layer.weight) for layer in network.down] == [8, 16, 16, 24]
    again = PerturbationGenerator.from_saved(network.to_saved())
    assert all(torch.equal(again.to_saved()[name], value) for name, value in network.to_saved().items())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (tile(), r"expected a U-Net with down\.0\.weight and so on, got tile"),
        ({"down.0.weight": torch.zeros(4)}, r"got down\.0\.weight \(4,\)"),
        (PerturbationGenerator(WIDTHS).to_saved() | {"up.0.bias": torch.zeros(2)}, "got down.0.bias"),
    ],
)
def test_other_weights_are_refused(tensors, message):
    save_file(tensors, GENERATOR)
    with pytest.raises(WeightsError, match=message):
        attacked(FACPA(weights=GENERATOR), images(1))


def test_its_weights_are_part_of_its_identity():
    assert FACPA(weights=GENERATOR).weights_used() == (GENERATOR,)
