"""Random and classical input transformations, each against an independent computation of the same thing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.fft
import scipy.optimize
import skimage.data
import torch
from skimage.restoration import denoise_wavelet
from torch import Tensor
from torch.nn.functional import interpolate, pad

from lustral.purifiers import (
    FeatureDistillation,
    PixelDeflection,
    PurifierSettings,
    RandomResizePad,
    TotalVariationMinimisation,
)
from lustral.purifiers.total_variation_minimisation import minimise
from lustral.seeds import Noise
from lustral.settings import SettingsError
from lustral.steps import checkpointing
from lustral.tensors import from_uint8
from tests.contracts.purifiers import PurifierContract


class TestVariants(PurifierContract):
    """What neither the defaults nor the presets cover."""

    cases = (
        FeatureDistillation(backward="surrogate"),
        PixelDeflection(share=0.5, window=3, sigma=None),
        RandomResizePad(smallest=0.5, canvas=1.5, flip=True),
    )


def noise_for(x: Tensor, seed: int = 0) -> Noise:
    return Noise(seed, "test", [str(row) for row in range(len(x))])


def apply(purifier: PurifierSettings, x: Tensor) -> Tensor:
    return purifier.build()(x, noise_for(x))


def photographs(height: int = 32, width: int = 40) -> Tensor:
    """Two crops of photographs at a quarter of their size, (2, 3, height, width), float64."""
    crops = [skimage.data.astronaut()[:256, 160:480], skimage.data.coffee()[120:376, 200:520]]
    small = np.stack(crops).reshape(2, 64, 4, 80, 4, 3).mean(axis=(2, 4))
    return from_uint8(small.round().astype(np.uint8)).double()[:, :, :height, :width]


# Random resizing and padding


def test_resize_and_pad_is_that_of_torch_at_the_sizes_and_places_that_were_drawn() -> None:
    x = photographs(30, 40)
    drawn = noise_for(x).numbers(4).double()
    for image, y, (size, top, left, side) in zip(x, apply(RandomResizePad(flip=True), x), drawn.tolist(), strict=True):
        canvas = (33, 44)  # 30 and 40 times 331 / 299, rounded
        height, width = (low + int(size * (high - low)) for low, high in zip((30, 40), canvas, strict=True))
        above, before = int(top * (canvas[0] - height + 1)), int(left * (canvas[1] - width + 1))
        placed = pad(
            interpolate(image[None], (height, width), mode="nearest"),
            (before, canvas[1] - width - before, above, canvas[0] - height - above),
        )
        placed = placed.flip(3) if side < 0.5 else placed
        torch.testing.assert_close(y[None], interpolate(placed, (30, 40), mode="bilinear", antialias=True))


def test_all_sizes_of_the_paper_occur_equally_often_and_everywhere_on_the_canvas() -> None:
    white = torch.ones(600, 1, 299, 1)
    size, offset = noise_for(white).numbers(2).double().split(1, dim=1)
    y = RandomResizePad()._stretch(white, 2, size, offset)[:, 0, :, 0]  # (600, 331), before it is reduced
    sizes = y.sum(dim=1)
    assert (y[:, 0] == 1).any()
    assert (y[:, 330] == 1).any()
    assert sizes.min() == 299
    assert sizes.max() == 330
    assert len(sizes.unique()) == 32
    assert abs(sizes.double().mean() - 314.5) < 4 * 9.2 / 600**0.5


def test_resize_and_pad_keeps_proportions_and_mirrors_half_of_the_images() -> None:
    x = torch.zeros(400, 3, 16, 16)
    x[:, :, :, :8] = 1
    y = RandomResizePad(flip=True).purify(x, noise_for(x))
    mirrored = (y[:, 0, :, 12:].mean(dim=(1, 2)) > y[:, 0, :, :4].mean(dim=(1, 2))).double().mean()
    assert abs(mirrored - 0.5) < 4 * 0.5 / 20
    assert (RandomResizePad().purify(x, noise_for(x))[:, :, :, 12:] == 0).all()


def test_a_canvas_that_is_not_larger_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"larger than the smallest size, 1\.5"):
        RandomResizePad.make(smallest=1.5, canvas=1.2)


# Pixel deflection


def test_deflections_are_copies_of_neighbours_one_after_the_other() -> None:
    settings, x = PixelDeflection(share=2.0, window=2), photographs(9, 7)
    found = settings.origins(x, noise_for(x))
    drawn = noise_for(x).numbers(12 * 126).view(2, 4, 3, 126).tolist()
    for image, channel in itertools.product(range(2), range(3)):
        rows, up, columns, left = (drawn[image][kind][channel] for kind in range(4))
        shown = [[(row, column) for column in range(7)] for row in range(9)]
        for k in range(126):
            row, column = int(rows[k] * 9), int(columns[k] * 7)
            near = [r for r in range(9) if abs(r - row) <= 2], [c for c in range(7) if abs(c - column) <= 2]
            source = near[0][int(up[k] * len(near[0]))], near[1][int(left[k] * len(near[1]))]
            shown[row][column] = shown[source[0]][source[1]]
        expected = [row * 7 + column for line in shown for row, column in line]
        assert found[image, channel].tolist() == expected


def test_pixel_deflection_moves_the_share_of_the_paper_and_then_denoises_as_scikit_image() -> None:
    x = photographs()
    origins = PixelDeflection().origins(x, noise_for(x))
    own = torch.arange(32 * 40)
    assert ((origins != own).sum(dim=2) <= 5).all()  # 200 / 224^2 of 1280 pixels
    assert (origins != own).any(dim=2).all()
    far = torch.stack(((origins // 40 - own // 40).abs(), (origins % 40 - own % 40).abs()))
    assert 0 < far.max() <= 10
    deflected = x.flatten(2).gather(2, origins).view_as(x).permute(0, 2, 3, 1).numpy()
    expected = [denoise_wavelet(image, sigma=0.04, channel_axis=-1, convert2ycbcr=True) for image in deflected]
    assert np.array_equal(apply(PixelDeflection(), x).permute(0, 2, 3, 1).numpy(), np.stack(expected).clip(0, 1))


def test_gradient_of_a_deflection_goes_to_the_pixel_that_is_seen() -> None:
    x, settings = photographs().requires_grad_(), PixelDeflection(share=0.5)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    gradient = torch.autograd.grad((weights * settings.purify(x, noise_for(x))).sum(), x)[0]
    expected = torch.zeros(2, 3, 32 * 40, dtype=x.dtype).scatter_add(
        2, settings.origins(x, noise_for(x)), weights.flatten(2)
    )
    torch.testing.assert_close(gradient.flatten(2), expected)


# Total variation minimisation


def objective(y: np.ndarray, x: np.ndarray, kept: np.ndarray, strength: float, smooth: float = 0.0) -> float:
    down, right = np.zeros_like(y), np.zeros_like(y)
    down[:-1], right[:, :-1] = np.diff(y, axis=0), np.diff(y, axis=1)
    return float(np.sqrt(down**2 + right**2 + smooth).sum() + (kept * (y - x) ** 2).sum() / (2 * strength))


def test_nothing_is_lower_than_the_minimum_of_total_variation() -> None:
    rng = np.random.default_rng(0)
    x, kept = rng.random((6, 7)), (rng.random((6, 7)) < 0.5).astype(float)
    given = (torch.from_numpy(values)[None, None] for values in (x, kept))
    found = minimise(*given, strength=0.05, iterations=3000)[0, 0].numpy()
    rough = scipy.optimize.minimize(
        lambda y: objective(y.reshape(6, 7), x, kept, 0.05, 1e-10), found.ravel(), method="L-BFGS-B",
        options={"maxfun": 100_000, "maxiter": 2000},
    )  # fmt: skip
    start = scipy.optimize.minimize(
        lambda y: objective(y.reshape(6, 7), x, kept, 0.05, 1e-6), np.full(42, 0.5), method="L-BFGS-B",
        options={"maxfun": 100_000, "maxiter": 2000},
    )  # fmt: skip
    best = objective(found, x, kept, 0.05)
    assert best <= objective(rough.x.reshape(6, 7), x, kept, 0.05) + 1e-7
    assert best <= objective(start.x.reshape(6, 7), x, kept, 0.05) + 1e-7
    assert best >= objective(start.x.reshape(6, 7), x, kept, 0.05) - 0.01  # it came to about the same place


def test_halves_of_a_picture_approach_each_other_by_strength_times_border_over_area() -> None:
    x = torch.zeros(1, 1, 6, 8, dtype=torch.float64)
    x[..., 4:] = 1
    y = minimise(x, torch.ones_like(x), strength=0.2, iterations=2000)
    expected = x * (1 - 0.2 / 2) + 0.2 / 4
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)


def test_dropped_values_have_no_influence_and_half_are_dropped() -> None:
    x, settings = photographs(), TotalVariationMinimisation()
    dropped = noise_for(x).uniform(x) >= 0.5
    assert abs(dropped.double().mean() - 0.5) < 4 * 0.5 / x.numel() ** 0.5
    other = torch.where(dropped, 1 - x, x)
    y = apply(settings, x)
    assert torch.equal(y, apply(settings, other))
    leaf = x.clone().requires_grad_()
    gradient = torch.autograd.grad(apply(settings, leaf).square().sum(), leaf)[0]
    assert not gradient[dropped].any()
    assert gradient[~dropped].any()


def test_a_hundred_iterations_are_near_the_minimum() -> None:
    x = photographs()
    found, exact = (apply(TotalVariationMinimisation(iterations=count), x) for count in (100, 1500))
    assert (found - exact).abs().mean() < 1 / 3 / 255
    kept = noise_for(x).uniform(x).lt(0.5).double().flatten(0, 1).numpy()
    heights = [
        sum(
            objective(*planes, 0.03)
            for planes in zip(y.flatten(0, 1).numpy(), x.flatten(0, 1).numpy(), kept, strict=True)
        )
        for y in (found, exact)
    ]
    assert heights[1] < heights[0] < 1.005 * heights[1]


@pytest.mark.parametrize("iterations", [7, 45])
def test_checkpointing_leaves_the_gradient_of_total_variation_as_it_is(iterations: int) -> None:
    x, settings = photographs(12, 12).requires_grad_(), TotalVariationMinimisation(iterations=iterations)
    gradients = []
    for active in (False, True):
        with checkpointing(active):
            gradients.append(torch.autograd.grad(apply(settings, x).square().sum(), x)[0])
    assert torch.equal(*gradients)


# Feature distillation


def distilled(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """(h, w) in 0..255, block by block with scipy."""
    height, width = image.shape
    padded = np.pad(image, ((0, -height % 8), (0, -width % 8)), mode="reflect")
    steps = np.full((8, 8), high)
    steps[:4, :4] = low
    for row, column in itertools.product(range(0, padded.shape[0], 8), range(0, padded.shape[1], 8)):
        block = padded[row : row + 8, column : column + 8]
        levels = np.round(np.round(scipy.fft.dctn(block, norm="ortho") / steps, 9))
        block[:] = scipy.fft.idctn(levels * steps, norm="ortho")
    return padded[:height, :width]


@pytest.mark.parametrize(("height", "width"), [(32, 40), (13, 9), (5, 3)])
@pytest.mark.parametrize("steps", [(25.0, 30.0), (10.0, 60.0)])
def test_feature_distillation_equals_scipy_block_by_block(height: int, width: int, steps: tuple[float, float]) -> None:
    x = photographs(height, width)
    expected = np.stack([[distilled(channel, *steps) for channel in image] for image in x.numpy() * 255]) / 255
    y = apply(FeatureDistillation(low=steps[0], high=steps[1]), x)
    np.testing.assert_allclose(y, expected.clip(0, 1), rtol=0, atol=1e-9)


def test_distilling_twice_changes_nothing_more() -> None:
    x = 0.25 + 0.5 * photographs()
    y = FeatureDistillation().purify(x, noise_for(x))
    torch.testing.assert_close(FeatureDistillation().purify(y, noise_for(y)), y, rtol=0, atol=1e-9)


def test_surrogate_of_distillation_is_the_derivative_of_soft_rounding() -> None:
    x = 0.25 + 0.5 * photographs(16, 16)
    leaf = x.clone().requires_grad_()
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    real, soft = FeatureDistillation(), FeatureDistillation(backward="surrogate")
    y = soft.purify(leaf, noise_for(x))
    assert torch.equal(y.detach(), real.purify(x, noise_for(x)))
    gradient = torch.autograd.grad((weights * y).sum(), leaf)[0]
    identity = torch.autograd.grad((weights * real.purify(leaf, noise_for(x))).sum(), leaf)[0]
    assert torch.equal(identity, weights)
    steps = np.full((8, 8), 30.0)
    steps[:4, :4] = 25.0
    blocks, slopes = (
        values.numpy().reshape(2, 3, 2, 8, 2, 8).swapaxes(3, 4) for values in (x * 255, weights)
    )  # fmt: skip
    level = scipy.fft.dctn(blocks, norm="ortho", axes=(4, 5)) / steps
    passed = 3 * (level - level.round()) ** 2 * scipy.fft.dctn(slopes, norm="ortho", axes=(4, 5))
    expected = scipy.fft.idctn(passed, norm="ortho", axes=(4, 5)).swapaxes(3, 4).reshape(x.shape)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-9)
