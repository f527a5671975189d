"""Networks for super-resolution: sizes, exact gradients, and the published networks they must equal."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional
from safetensors.torch import save_file
from torch import nn

from lustral.nets.drln import DRLN
from lustral.nets.edsr import EDSR
from lustral.nets.loading import load_super_resolution
from lustral.nets.mdsr import MDSR
from lustral.nets.published import published_residual_network
from lustral.nets.restorers import SUPER_RESOLUTION, enlarge, scales_of, super_resolution_network
from lustral.nets.rrdb import RRDBNet
from lustral.nets.upscaling import bicubic
from lustral.weights import ZOO, WeightsError, list_weights
from tests.conftest_torchvision import require_torchvision

DIV2K = torch.tensor([0.4488, 0.4371, 0.4040])[:, None, None]


def seeded(network: nn.Module, seed: int = 0, dtype: torch.dtype = torch.float32, size: float = 1.0) -> nn.Module:
    """The network with numbers everywhere, also in the last layer, which starts at zero."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.parameters():
        spread = size / max(1, value[0].numel()) ** 0.5
        value.data = spread * torch.randn(value.shape, generator=generator)
    return network.to(dtype).eval().requires_grad_(False)


def pictures(n: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(n), dtype=dtype)


def tiny() -> list[tuple[nn.Module, int]]:
    return [
        (EDSR(2, width=8, blocks=2), 2),
        (EDSR(8, width=8, blocks=1, res_scale=0.1, skip=False), 8),
        (MDSR((2, 4), width=8, blocks=2), 2),
        (MDSR((2, 3, 4), width=8, blocks=1, before=2, skip=False), 3),
        (RRDBNet(2, width=8, blocks=1, growth=4), 2),
        (RRDBNet(4, width=8, blocks=1, growth=4, skip=False), 4),
        (DRLN(2, width=8, blocks=2, reduction=4), 2),
        (DRLN(4, width=8, blocks=1, reduction=4, skip=False), 4),
    ]


@pytest.mark.parametrize("case", range(len(tiny())))
def test_any_size_is_enlarged_and_no_image_sees_another(case: int) -> None:
    network, scale = tiny()[case]
    seeded(network)
    for height, width in ((4, 4), (5, 8), (9, 7)):
        x = pictures(3, height, width)
        y = enlarge(network, x, scale)
        assert y.shape == (3, 3, scale * height, scale * width)
        torch.testing.assert_close(enlarge(network, x[1:2], scale), y[1:2], rtol=0, atol=1e-5)
    assert scale in scales_of(network)


@pytest.mark.parametrize("case", range(len(tiny())))
def test_gradient_is_that_of_finite_differences(case: int) -> None:
    network, scale = tiny()[case]
    seeded(network, dtype=torch.float64)
    x = pictures(2, 5, 6, torch.float64).requires_grad_()
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(2, 3, 5 * scale, 6 * scale, generator=generator, dtype=torch.float64)
    gradient = torch.autograd.grad((weights * enlarge(network, x, scale)).sum(), x)[0]
    for _ in range(3):
        direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            ends = [(weights * enlarge(network, x + side * 1e-6 * direction, scale)).sum() for side in (1, -1)]
        assert (gradient * direction).sum().item() == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("network", [EDSR(2), MDSR(), RRDBNet(2), RRDBNet(4), DRLN(2)], ids=lambda n: type(n).__name__)
def test_training_starts_at_bicubic_upscaling_and_networks_are_small(network: nn.Module) -> None:
    x = pictures(2, 6, 7)
    scale = scales_of(network)[0]
    added = enlarge(network, x, scale).detach() - bicubic(x, scale)  # the bias of the last layer
    assert float(added.flatten(2).std(2).max()) < 1e-6
    assert sum(value.numel() for value in network.parameters()) <= 500_000


def test_edsr_is_the_published_network_on_images_up_to_255() -> None:
    network = seeded(EDSR(2, 8, 3, res_scale=0.1, skip=False, mean=DIV2K.flatten().tolist(), peak=255.0))
    weights = network.state_dict()

    def layer(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    x = pictures(2, 6, 5)
    head = layer("head.0", 255 * x - 255 * DIV2K)
    h = head
    for block in range(3):
        h = h + 0.1 * layer(f"body.{block}.body.2", layer(f"body.{block}.body.0", h).relu())
    h = functional.pixel_shuffle(layer("tail.0.0", head + layer("body.3", h)), 2)
    expected = (layer("tail.1", h) + 255 * DIV2K) / 255
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "network",
    [
        EDSR(2, 8, 3, skip=False),
        EDSR(3, 8, 2, skip=False),
        EDSR(2, 256, 1, res_scale=0.1, skip=False),
        MDSR((2, 3, 4), 8, 2, before=2, skip=False),
    ],
    ids=lambda n: f"{type(n).__name__}-{scales_of(n)}",
)
def test_published_weights_are_recognised_by_their_names(network: nn.Module, tmp_path: Path) -> None:
    assert isinstance(network, EDSR | MDSR)
    seeded(network, size=0.3)
    network.mean, network.peak = tuple(DIV2K.flatten().tolist()), 255.0
    shift = {"add_mean.bias": 255 * DIV2K.flatten(), "add_mean.weight": torch.eye(3)[:, :, None, None].contiguous()}
    x = pictures(1, 6, 5)
    for extra in ({}, shift):
        save_file(network.state_dict() | extra, tmp_path / "published.safetensors")
        for scale in scales_of(network):
            found = load_super_resolution(str(tmp_path / "published.safetensors"), scale)
            torch.testing.assert_close(found(x), enlarge(network, x, scale), rtol=1e-5, atol=1e-4)


def test_weights_of_other_networks_are_not_taken_for_published_ones() -> None:
    for network in (RRDBNet(2), DRLN(2), nn.Conv2d(3, 3, 1)):
        assert published_residual_network(network.state_dict()) is None


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_rrdb_equals_the_esrgan_of_spandrel(scale: int) -> None:
    require_torchvision()
    spandrel = pytest.importorskip("spandrel")
    network = seeded(RRDBNet(scale, width=8, blocks=2, growth=32, skip=False))
    with torch.random.fork_rng(devices=[]):
        published = spandrel.ModelLoader().load_from_state_dict(network.state_dict())
    assert (published.architecture.id, published.scale) == ("ESRGAN", scale)
    x = pictures(1, 8, 12)
    y = network(x)
    assert y.std() > 0.01
    torch.testing.assert_close(y, published.model(x), rtol=1e-5, atol=1e-5)


def test_attention_equals_the_dilated_convolutions_of_the_paper() -> None:
    attention = seeded(DRLN(2, width=8, blocks=1, reduction=4)).blocks[0].attention  # pyright: ignore[reportIndexIssue]
    x = pictures(2, 5, 5).repeat_interleave(3, dim=1)[:, :8] + torch.arange(8)[:, None, None]
    means = x.mean((2, 3), keepdim=True)
    levels = []
    for level, dilation in zip(attention.levels, (3, 5, 7), strict=True):
        kernel = torch.randn(2, 8, 3, 3, generator=torch.Generator().manual_seed(dilation))
        kernel[:, :, 1, 1] = level.weight[:, :, 0, 0]
        levels.append(functional.conv2d(means, kernel, level.bias, padding=dilation, dilation=dilation).relu())
    merged = functional.conv2d(torch.cat(levels, 1), attention.merge.weight, attention.merge.bias)
    torch.testing.assert_close(attention(x), x * merged.sigmoid())


def test_a_ratio_that_is_not_there_and_a_card_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has the scales 2, 4, got 8"):
        MDSR((2, 4), 8, 1)(pictures(1, 4, 4), 8)
    with pytest.raises(ValueError, match="power of two, at least 2, got 6"):
        EDSR(6)
    with pytest.raises(ValueError, match=r"edsr, mdsr, rrdb, drln\), got weights of 'residual_classifier'"):
        super_resolution_network({"network": "residual_classifier"})
    with pytest.raises(WeightsError, match=r"scenes_classifier.*got weights of 'residual_classifier'"):
        load_super_resolution("scenes_classifier", 2)
    save_file(EDSR(2, 8, 1).state_dict(), tmp_path / "edsr.safetensors")
    with pytest.raises(WeightsError, match="enlarge by 2, got scale=4; use other weights"):
        load_super_resolution(str(tmp_path / "edsr.safetensors"), 4)


def test_shipped_networks_beat_bicubic_upscaling_on_their_cards() -> None:
    cards = {name: card for name, card in list_weights(ZOO).items() if card.architecture["network"] in SUPER_RESOLUTION}
    assert {str(card.architecture["network"]) for card in cards.values()} == set(SUPER_RESOLUTION)
    for name, card in cards.items():
        ratios = [key.removeprefix("psnr_") for key in card.scores if key.startswith("psnr_x")]
        assert ratios, name
        for ratio in ratios:
            assert card.scores[f"psnr_{ratio}"] > card.scores[f"psnr_bicubic_{ratio}"] + 0.1, (name, ratio)
            x = pictures(1, 6, 6)
            y = load_super_resolution(name, int(ratio[1:]))(x)
            assert float((y - bicubic(x, int(ratio[1:]))).abs().mean()) < 0.1, (name, ratio)
