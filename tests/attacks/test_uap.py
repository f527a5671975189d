"""A universal perturbation: the same tile everywhere, whatever the image."""

import pytest
import torch
from safetensors.torch import save_file

from lustral.attacks import UAP, Access
from lustral.attacks.oracle import BudgetSpent
from lustral.nets.perturbations import UniversalPerturbation
from lustral.weights import WeightsError
from tests.attacks.problems import images, noise, score_goal, setup
from tests.attacks.trained import TILE, attacked, brightness, generator, tile
from tests.contracts.attacks import AttackContract


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file(tile(), TILE)


class TestUAP(AttackContract):
    cases = (UAP(weights=TILE), UAP(weights=TILE, epsilon=0.5))


def test_the_tile_repeats_from_the_upper_left_corner():
    x = images(2, 16)[:, :, :7, :13]
    result, oracle = attacked(UAP(weights=TILE, epsilon=8 / 255), x)
    shift = (result - x) / (8 / 255)
    levels = tile()["tile"].double() / 127
    for row in range(7):
        for column in range(13):
            expected = levels[:, row % 3, column % 5].expand(2, 3)
            torch.testing.assert_close(shift[:, :, row, column], expected, rtol=0, atol=1e-6)
    assert (oracle.queries.tolist(), oracle.gradients.tolist()) == ([1, 1], [0, 0])


def test_a_large_image_is_clipped_to_the_range():
    x = images(1, 6, low=0, high=256)
    result, _ = attacked(UAP(weights=TILE, epsilon=1.0), x)
    torch.testing.assert_close(
        result, (x + tile()["tile"].double().repeat(1, 2, 2)[:, :6, :6] / 127).clamp(0, 1), rtol=0, atol=1e-6
    )


def test_what_is_saved_comes_back():
    made = UniversalPerturbation(4)
    with torch.no_grad():
        made.tile.uniform_(-1.2, 1.2, generator=torch.Generator().manual_seed(0))
    made.project_()
    again = UniversalPerturbation.from_saved(made.to_saved())
    assert (again.tile - made.tile).abs().amax() <= 0.5 / 127 + 1e-6
    assert torch.equal(again.to_saved()["tile"], made.to_saved()["tile"])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"tile": torch.zeros(3, 4, 4)}, r"of int8, got tile \(3, 4, 4\) of torch.float32"),
        ({"tile": torch.zeros(1, 4, 4, dtype=torch.int8)}, r"got tile \(1, 4, 4\)"),
        ({"tile": torch.zeros(3, 0, 4, dtype=torch.int8)}, "at least one pixel"),
        (generator(), r"got down\.0\.bias .*; use those that lustral train made"),
    ],
)
def test_other_weights_are_refused(tensors, message):
    save_file(tensors, TILE)
    with pytest.raises(WeightsError, match=message):
        attacked(UAP(weights=TILE), images(1))


def test_its_one_question_counts():
    settings, x = UAP(weights=TILE), images(1)
    oracle = setup(settings, brightness, x, goal=score_goal(brightness, x), access=Access(budget=1))
    settings.run(oracle, x, noise(1))
    with pytest.raises(BudgetSpent):
        settings.run(oracle, x, noise(1))


def test_its_weights_are_part_of_its_identity():
    assert UAP(weights=TILE).weights_used() == (TILE,)
