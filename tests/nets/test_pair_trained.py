"""Networks trained on pairs of attacked and clean images: what they compute, their sizes, losses and derivatives."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional
from safetensors.torch import save_file
from torch import nn

from lustral.nets.color_filter import FCN
from lustral.nets.compressing import Compressing
from lustral.nets.edsr import EDSR
from lustral.nets.guided_denoiser import DUNET
from lustral.nets.local_implicit import LocalImplicit
from lustral.nets.mprnet import MPRNet
from lustral.nets.networks import load_network
from lustral.nets.published_restorers import published_local_implicit, published_mprnet
from lustral.nets.restorers import RESTORATION, restoration_network
from lustral.weights import WeightsError
from tests.nets.test_super_resolution import pictures, seeded

TINY = {
    "disco": {"width": 6, "blocks": 2, "hidden": [8, 8]},
    "fcn": {"widths": [8, 4]},
    "comdefend": {"width": 0.05, "bits": 5, "deviation": 3.0},
    "hgd": {"widths": [4, 6, 8], "layers": [2, 2, 1]},
    "mprnet": {"width": 8, "growth": 4, "wider": 4, "blocks": 2, "reduction": 2},
}


def tiny(name: str, dtype: torch.dtype = torch.float32, size: float = 1.0) -> nn.Module:
    """A small random network; also what batch normalisation has counted is random."""
    network = seeded(restoration_network({"network": name, **TINY[name]}), dtype=dtype, size=size)
    generator = torch.Generator().manual_seed(9)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return network


@pytest.mark.parametrize("name", TINY)
def test_size_is_kept_and_no_image_sees_another(name: str) -> None:
    network = tiny(name, torch.float64, size=2.0 if name == "comdefend" else 1.0)
    for height, width in ((8, 8), (9, 7)):
        x = pictures(3, height, width, torch.float64)
        y = network(x)
        assert y.shape == x.shape
        assert y.flatten(1).std(0).mean() > 1e-3, "different images must give different results"
        torch.testing.assert_close(network(x[1:2]), y[1:2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in TINY if name != "comdefend"])
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    network = tiny(name, torch.float64)
    x = pictures(2, 9, 7, torch.float64).requires_grad_()
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    gradient = torch.autograd.grad((weights * network(x)).sum(), x)[0]
    for _ in range(3):
        direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            ends = [(weights * network(x + side * 1e-7 * direction)).sum() for side in (1, -1)]
        assert (gradient * direction).sum().item() == pytest.approx(float(ends[0] - ends[1]) / 2e-7, rel=1e-5)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: LocalImplicit(64, 16, (256,) * 4), 1_567_299),  # 1.220 M of the encoder and 0.347 M of the decoder
        (MPRNet, 15_741_025),
        (FCN, 3 * 64 * 9 + 64 + 64 * 16 * 9 + 16 + 16 * 3 * 9 + 3),
        (lambda: Compressing(1.0), 1_566_735),
    ],
    ids=["disco", "mprnet", "fcn", "comdefend"],
)
def test_published_sizes(network: Callable[[], nn.Module], count: int) -> None:
    with torch.device("meta"):
        assert sum(value.numel() for value in network().parameters()) == count


@pytest.mark.parametrize("network", [LocalImplicit(), DUNET()], ids=["disco", "hgd"])
def test_training_starts_at_the_identity(network: nn.Module) -> None:
    x = pictures(2, 9, 7)
    torch.testing.assert_close(network.eval()(x), x, rtol=0, atol=1e-6)


def corners(coordinate: float, side: int) -> Iterator[tuple[int, float]]:
    """Published arithmetic: the features nearest to a place in [-1, 1] moved by half a feature, and how far."""
    for shift in (-1, 1):
        moved = min(max(coordinate + shift / side + 1e-6, -1 + 1e-6), 1 - 1e-6)
        index = min(int((moved + 1) * side / 2), side - 1)
        yield index, (coordinate - (2 * index + 1) / side + 1) * side


def colour(network: LocalImplicit, features: torch.Tensor, place: Sequence[float], cell: Sequence[float]):
    """One pixel of LIIF, straight from its definition: the areas opposite of the four corners weigh them."""
    padded = functional.pad(features, (1, 1, 1, 1))
    answers, areas = [], []
    for row, down in corners(place[0], features.shape[1]):
        for column, right in corners(place[1], features.shape[2]):
            nine = padded[:, row : row + 3, column : column + 3].flatten()
            asked = torch.cat([nine, torch.tensor([down, right, *cell], dtype=nine.dtype)])
            answers.append(network.others(network.first(asked)))
            areas.append(abs(down * right))
    return sum(answer * area / sum(areas) for answer, area in zip(answers, reversed(areas), strict=True))


@pytest.mark.parametrize("size", [(4, 5), (9, 7), (3, 11)])
def test_local_ensemble_is_that_of_every_pixel_alone(size: tuple[int, int]) -> None:
    network = seeded(LocalImplicit(3, 1, (7, 5), skip=False, chunk=14), dtype=torch.float64)
    x = pictures(1, 4, 5, torch.float64)
    found = network(x, size)
    assert found.shape == (1, 3, *size)
    features = network.encoder(2 * x - 1)[0]
    cell = (2 * 4 / size[0], 2 * 5 / size[1])
    for row in range(size[0]):
        for column in range(size[1]):
            if size == (4, 5) and (row == 3 or column == 4):
                continue  # all areas are 0 there; the next test says what must come out
            place = ((2 * row + 1) / size[0] - 1, (2 * column + 1) / size[1] - 1)
            expected = 0.5 + colour(network, features, place, cell) / 2
            torch.testing.assert_close(found[0, :, row, column], expected, rtol=0, atol=1e-5)


def test_at_its_own_size_a_pixel_is_asked_of_its_own_feature() -> None:
    network = seeded(LocalImplicit(3, 1, (7,)), dtype=torch.float64)
    x = pictures(2, 4, 5, torch.float64)
    nine = functional.unfold(network.encoder(2 * x - 1), 3, padding=1).movedim(1, -1)  # (n, 20, 27)
    place = torch.tensor([0.0, 0.0, 2.0, 2.0], dtype=torch.float64).expand(2, 20, 4)
    expected = network.others(network.first(torch.cat([nine, place], -1))).movedim(-1, 1).unflatten(2, (4, 5))
    torch.testing.assert_close(network(x), x + expected / 2)


def published_disco(network: LocalImplicit, layers: int) -> dict[str, torch.Tensor]:
    """The weights of a network under their published names, with the unused shift by the mean of DIV2K."""
    names = {f"others.{2 * layer - 1}": f"imnet.layers.{2 * layer}" for layer in range(1, layers)}
    names["first"] = "imnet.layers.0"
    found = {"encoder.sub_mean.weight": torch.eye(3)[:, :, None, None], "encoder.add_mean.bias": torch.ones(3)}
    for name, value in network.state_dict().items():
        module, _, kind = name.rpartition(".")
        found[f"{names.get(module, module)}.{kind}"] = value.clone()
    return found


def test_published_disco_checkpoints_are_read_and_give_the_same_images(tmp_path: Path) -> None:
    network = seeded(LocalImplicit(5, 3, (8, 7, 6), skip=False))
    arguments = {"encoder_spec": {"name": "edsr-baseline", "args": {"no_upsampling": True}}}
    weights = published_disco(network, layers=4)
    torch.save({"model": {"name": "liif", "args": arguments, "sd": weights}, "epoch": 40}, tmp_path / "disco.pth")
    checkpoint = torch.load(tmp_path / "disco.pth", weights_only=True)
    x = pictures(2, 6, 5)
    read, tensors = published_local_implicit(checkpoint)
    read.load_state_dict(tensors)
    assert torch.equal(read(x, (7, 7)), network(x, (7, 7)))
    save_file(checkpoint["model"]["sd"], tmp_path / "disco.safetensors")
    assert torch.equal(load_network(str(tmp_path / "disco.safetensors"), LocalImplicit)(x), network(x))


def test_a_published_decoder_that_is_told_less_is_refused() -> None:
    weights = published_disco(LocalImplicit(5, 1, (8,)), layers=2)
    with pytest.raises(ValueError, match="expected a decoder of 49 inputs, nine features and a place, got 47"):
        published_local_implicit(weights | {"imnet.layers.0.weight": torch.zeros(8, 47)})


def test_weights_of_other_networks_are_not_taken_for_published_ones() -> None:
    for network in (EDSR(2, 8, 1), FCN(), nn.Conv2d(3, 3, 1), DUNET()):
        assert published_local_implicit(network.state_dict()) is None
        assert published_mprnet(network.state_dict()) is None
    assert published_mprnet(published_disco(LocalImplicit(5, 1, (8,)), layers=2)) is None


def test_mprnet_has_the_published_names_and_its_shape_is_read_off_them(tmp_path: Path) -> None:
    network = tiny("mprnet")
    names = set(network.state_dict())
    block = {"CA.conv_du.0.weight", "CA.conv_du.2.weight", *(f"body.{layer}.weight" for layer in range(3))}
    expected = {"concat12.weight", "concat23.weight", "tail.weight", "stage3_orsnet.up_dec2.1.up.1.weight"}
    expected |= {f"sam{pair}.conv{layer}.weight" for pair in (12, 23) for layer in (1, 2, 3)}
    expected |= {f"shallow_feat{stage}.1.{name}" for stage in (1, 2, 3) for name in block}
    expected |= {f"stage2_encoder.csff_{part}{level}.weight" for part in ("enc", "dec") for level in (1, 2, 3)}
    expected |= {f"stage1_decoder.skip_attn{level}.{name}" for level in (1, 2) for name in block}
    expected |= {f"stage2_decoder.{name}.up.1.weight" for name in ("up21", "up32")}
    expected |= {f"stage1_encoder.encoder_level3.1.{name}" for name in block} | {"stage3_orsnet.orb3.body.2.weight"}
    assert expected <= names
    assert not any(name.startswith("stage1_encoder.csff") for name in names)
    stored = {f"module.{name}": value.clone() for name, value in network.state_dict().items()}
    save_file(stored, tmp_path / "mprnet.safetensors")
    x = pictures(1, 9, 7)
    assert torch.equal(load_network(str(tmp_path / "mprnet.safetensors"), MPRNet)(x), network(x))


def test_the_stages_of_mprnet_see_quarters_then_halves_then_everything() -> None:
    network = tiny("mprnet")
    x = pictures(1, 16, 16)
    changed = x.clone()
    changed[:, :, 8:, 8:] += 0.1  # one quarter
    before, after = network.stages(x), network.stages(changed)
    moved = [(new - old).abs().amax((0, 1)) for new, old in zip(after, before, strict=True)]
    assert moved[0][:8].max() == 0, "the first stage decodes upper and lower half apart"
    assert moved[0][8:, :8].max() > 0
    assert moved[1][:8].max() > 0, "the second stage decodes everything together"
    torch.testing.assert_close(network(x), before[2])
    halves = network.stage1_encoder(network.shallow_feat1(x[:, :, :8, 8:]))  # the upper right quarter alone
    quarters = network.stage1_encoder(network.shallow_feat1(torch.cat([x[:, :, :8, 8:], x[:, :, 8:, :8]])))
    torch.testing.assert_close(halves[2], quarters[2][:1])


def test_comdefend_restores_what_its_bits_say_and_its_loss_is_that_of_soft_bits() -> None:
    network = tiny("comdefend", torch.float64)
    x = pictures(2, 6, 5, torch.float64)
    bits = (network.encode(x) > 0).double()
    assert bits.unique().tolist() == [0, 1]
    assert torch.equal(network(x), network.decode(bits))
    noise = torch.randn(bits.shape, generator=torch.Generator().manual_seed(4)).double()
    code = torch.sigmoid(network.encode(x) - 3.0 * noise)
    expected = ((network.decode(code) - x) ** 2).mean() + 1e-4 * (code**2).mean()
    attacked = torch.zeros_like(x)  # only clean images count
    torch.testing.assert_close(network.training_loss(attacked, x, torch.Generator().manual_seed(4)), expected)


def test_guided_denoiser_learns_from_the_logits_alone() -> None:
    network = tiny("hgd", torch.float64).requires_grad_()
    clean, attacked = pictures(4, 8, 8, torch.float64).split(2)
    weights = torch.randn(5, 192, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def target(x: torch.Tensor) -> torch.Tensor:
        assert 0 <= x.min() <= x.max() <= 1
        return x.flatten(1) @ weights.T

    loss = network.training_loss(attacked, clean, torch.Generator(), target)
    expected = (target(network(attacked).clamp(0, 1)) - target(clean)).abs().mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(value.grad.any() for value in network.parameters())
    with pytest.raises(ValueError, match="trained by the logits of a classifier, got target=None"):
        network.training_loss(attacked, clean, torch.Generator(), None)


def test_pixel_losses_compare_the_purified_with_the_clean_images() -> None:
    clean, attacked = pictures(4, 8, 8).split(2)
    disco, fcn = tiny("disco"), tiny("fcn")
    found = disco.training_loss(attacked, clean, torch.Generator(), None)
    torch.testing.assert_close(found, functional.l1_loss(disco(attacked), clean))
    found = fcn.training_loss(attacked, clean, torch.Generator(), None)
    torch.testing.assert_close(found, functional.mse_loss(fcn(attacked), clean))


def test_every_network_is_rebuilt_from_its_card_and_another_one_is_refused(tmp_path: Path) -> None:
    x = pictures(2, 8, 9)
    path = str(tmp_path / "tiny.safetensors")
    for name, kind in RESTORATION.items():
        if name not in TINY:
            continue
        network = tiny(name)
        stored = {key: value.clone() for key, value in network.state_dict().items()}
        save_file(stored, path, {"architecture": json.dumps({"network": name, **TINY[name]})})
        assert torch.equal(load_network(path, kind)(x), network(x))
    with pytest.raises(WeightsError, match="are of MPRNet, expected DUNET; use other weights"):
        load_network(path, DUNET)
    with pytest.raises(ValueError, match="as many layers as widths, at least two"):
        DUNET((8, 16), (2,))
