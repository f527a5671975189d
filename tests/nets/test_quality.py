"""Networks that score quality without a reference: sizes, derivatives, windows, and what they can see."""

import pytest
import torch
from torch import nn

from lustral.nets.plain_quality import PlainQualityNetwork
from lustral.nets.quality import QualityNetwork, local_contrast
from lustral.nets.transformer_quality import TransformerQualityNetwork, windows
from tests.nets.test_super_resolution import pictures, seeded

TINY = {
    "photo": lambda: QualityNetwork((4, 6)),
    "plain": lambda: PlainQualityNetwork((4, 6)),
    "transformer": lambda: TransformerQualityNetwork(32, 2, window=40),
}


def tiny(name: str) -> nn.Module:
    """A small random network in double precision; also what batch normalisation has counted is random."""
    network = seeded(TINY[name](), dtype=torch.float64, size=1.5)
    generator = torch.Generator().manual_seed(9)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return network.double().eval()


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("size", [(32, 32), (33, 57), (81, 40)])
def test_one_score_per_image_whatever_the_size_and_the_batch(name: str, size: tuple[int, int]) -> None:
    network, x = tiny(name), pictures(3, *size, torch.float64)
    scores = network(x)
    assert scores.shape == (3,)
    assert scores.std() > 1e-4, "different images must give different scores"
    torch.testing.assert_close(network(x[1:2]), scores[1:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", TINY)
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    network, x = tiny(name), pictures(2, 45, 35, torch.float64).requires_grad_()
    gradient = torch.autograd.grad(network(x).sum(), x)[0]
    assert gradient.dtype == torch.float64
    assert gradient.abs().amin() > 0, "every pixel must count"
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            ends = [network(x + side * 1e-7 * direction).sum() for side in (1, -1)]
        assert (gradient * direction).sum().item() == pytest.approx(float(ends[0] - ends[1]) / 2e-7, rel=1e-5)


def test_brightness_counts_for_the_plain_network_only() -> None:
    x = 0.5 * pictures(2, 32, 32, torch.float64)
    for name in ("photo", "transformer"):
        torch.testing.assert_close(tiny(name)(x + 0.3), tiny(name)(x), rtol=0, atol=1e-9)
    plain = tiny("plain")
    assert (plain(x + 0.3) - plain(x)).abs().amin() > 1e-3


@pytest.mark.parametrize("name", TINY)
def test_a_network_is_rebuilt_from_its_weights_and_too_small_images_are_refused(name: str) -> None:
    network = TINY[name]()
    weights = network.state_dict()
    again = type(network).fitting(weights).state_dict()
    assert {key: value.shape for key, value in again.items()} == {key: value.shape for key, value in weights.items()}
    with pytest.raises(ValueError, match="expected weights of a"):
        type(network).fitting(nn.Linear(2, 2).state_dict())
    with pytest.raises(ValueError, match=r"at least 32, got \(31, 64\)"):
        network(torch.zeros(1, 3, 31, 64))


def test_plain_network_pools_mean_and_deviation_of_the_whole_image() -> None:
    network, x = tiny("plain"), pictures(2, 40, 56, torch.float64)
    features = network.features(torch.cat([x, local_contrast(x)], 1))
    assert features.shape == (2, 6, 10, 14)
    pooled = torch.cat([features.mean((2, 3)), (features.var((2, 3), correction=0) + 1e-5).sqrt()], 1)
    torch.testing.assert_close(network(x), network.head(pooled)[:, 0])


def test_large_images_are_scored_by_the_mean_of_their_windows() -> None:
    network, x = tiny("transformer"), pictures(2, 80, 50, torch.float64)
    parts = [x[:, :, top : top + 40, left : left + 40] for top in (0, 40) for left in (0, 10)]
    torch.testing.assert_close(network(x), torch.stack([network(part) for part in parts]).mean(0))


@pytest.mark.parametrize(("side", "count"), [(96, 1), (97, 4), (299, 16), (500, 36)])
def test_cost_grows_with_the_number_of_pixels_only(side: int, count: int) -> None:
    rows = torch.arange(float(side)).view(1, 1, side, 1).expand(1, 3, side, side)
    parts = windows(rows, 96)
    assert parts.shape == (1, count, 3, 96, 96)
    assert set(parts.unique().tolist()) == set(range(side)), "the windows must cover every row"
    assert TransformerQualityNetwork(16, 1)(torch.rand(1, 3, side, side)).shape == (1,)


def test_sides_that_are_no_multiple_of_a_patch_are_reflected() -> None:
    network, x = tiny("transformer"), pictures(1, 35, 38, torch.float64)
    rows = [*range(35), 33, 32, 31, 30, 29]
    columns = [*range(38), 36, 35]
    torch.testing.assert_close(network(x), network(x[:, :, rows][..., columns]))


def test_attention_is_that_of_torch() -> None:
    ours = tiny("transformer").blocks[0].attention
    theirs = nn.MultiheadAttention(32, 2, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.inputs.weight,
            "in_proj_bias": ours.inputs.bias,
            "out_proj.weight": ours.output.weight,
            "out_proj.bias": ours.output.bias,
        }
    )
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


def test_the_transformer_knows_where_its_patches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lustral.nets.transformer_quality.local_contrast", lambda x: x)
    network, x = tiny("transformer"), pictures(1, 32, 32, torch.float64)
    network.embedding = nn.Conv2d(3, 32, 8, 8, dtype=torch.float64).requires_grad_(False)
    swapped = x.roll(16, 3)  # whole patches
    assert abs(float(network(swapped) - network(x))) > 1e-6
    network.position.weight.data.zero_()
    torch.testing.assert_close(network(swapped), network(x))


def test_sizes_that_do_not_divide_are_refused() -> None:
    for width, window in ((40, 96), (48, 100)):
        with pytest.raises(ValueError, match="width divisible by 16 and a window divisible by 8"):
            TransformerQualityNetwork(width, window=window)
