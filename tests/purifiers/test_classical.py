"""Classical denoisers: the library's result to the last bit, less noise, and a substitute gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import skimage.data
import torch
from skimage.restoration import denoise_nl_means, denoise_tv_bregman, denoise_tv_chambolle, denoise_wavelet
from torch import Tensor

from lustral.measures.fidelity import psnr
from lustral.purifiers import NonLocalMeans, PurifierSettings, TotalVariation, Wavelet
from lustral.seeds import Noise
from lustral.tensors import from_uint8

LIBRARY: dict[PurifierSettings, Callable[[np.ndarray], np.ndarray]] = {
    Wavelet(): lambda x: denoise_wavelet(x, channel_axis=-1, convert2ycbcr=True),
    Wavelet(wavelet="db2", sigma=0.04): lambda x: denoise_wavelet(
        x, sigma=0.04, wavelet="db2", channel_axis=-1, convert2ycbcr=True
    ),
    TotalVariation(): lambda x: denoise_tv_chambolle(x, 0.02, channel_axis=-1),
    TotalVariation(strength=0.015, solver="bregman"): lambda x: np.stack(
        [denoise_tv_bregman(np.ascontiguousarray(x[..., channel]), 1 / 0.03) for channel in range(3)], axis=-1
    ),
    NonLocalMeans(): lambda x: denoise_nl_means(x, 3, 5, 0.6 * 8 / 255, sigma=8 / 255, channel_axis=-1),
    NonLocalMeans(patch=5, distance=4, sigma=0.1, strength=0.8): lambda x: denoise_nl_means(
        x, 5, 4, 0.08, sigma=0.1, channel_axis=-1
    ),
}


def noise_for(x: Tensor) -> Noise:
    return Noise(0, "test", [str(row) for row in range(len(x))])


def photographs() -> Tensor:
    """Two crops of photographs at a quarter of their size, (2, 3, 32, 40), float64."""
    crops = [skimage.data.astronaut()[:128, 160:320], skimage.data.coffee()[120:248, 200:360]]
    small = np.stack(crops).reshape(2, 32, 4, 40, 4, 3).mean(axis=(2, 4))
    return from_uint8(small.round().astype(np.uint8)).double()


def channels_last(x: Tensor) -> np.ndarray:
    return x.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("settings", LIBRARY, ids=str)
def test_result_is_that_of_the_library(settings: PurifierSettings) -> None:
    x = photographs()
    expected = np.stack([LIBRARY[settings](image) for image in channels_last(x)]).clip(0, 1)
    assert np.array_equal(channels_last(settings.build()(x, noise_for(x))), expected)


@pytest.mark.parametrize("deviation", [8 / 255, 25 / 255])
@pytest.mark.parametrize("settings", [Wavelet(), TotalVariation(), NonLocalMeans()], ids=str)
def test_noise_on_a_photograph_is_removed(settings: PurifierSettings, deviation: float) -> None:
    x = photographs()
    if isinstance(settings, NonLocalMeans):
        settings = NonLocalMeans(sigma=deviation)
    noisy = (x + deviation * noise_for(x).normal(x)).clamp(0, 1)
    before, after = (psnr(channels_last(y), channels_last(x)) for y in (noisy, settings.build()(noisy, noise_for(x))))
    assert (after > before + 1).all(), (before, after)


@pytest.mark.parametrize("settings", LIBRARY, ids=str)
def test_more_strength_removes_more(settings: PurifierSettings) -> None:
    field = "sigma" if "sigma" in type(settings).model_fields else "strength"
    x = photographs()
    weak, strong = (
        settings.model_copy(update={field: value}).build()(x, noise_for(x)) for value in (0.01, 0.1)
    )  # fmt: skip
    assert (strong - x).square().mean() > 1.5 * (weak - x).square().mean()


@pytest.mark.parametrize("settings", LIBRARY, ids=str)
def test_gradient_passes_unchanged(settings: PurifierSettings) -> None:
    x = photographs().requires_grad_()
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    assert settings.gradient == "bpda"
    y = settings.purify(x, noise_for(x))  # before the clamp, whose gradient is 0 outside
    assert torch.equal(torch.autograd.grad((weights * y).sum(), x)[0], weights)


@pytest.mark.parametrize("settings", LIBRARY, ids=str)
@pytest.mark.parametrize(("height", "width"), [(7, 9), (16, 8), (33, 31)])
def test_odd_sizes_and_constant_images_are_fine(settings: PurifierSettings, height: int, width: int) -> None:
    photograph = photographs()[:1, :, :height, :width]
    photograph = torch.nn.functional.pad(photograph, (0, 0, 0, height - photograph.shape[2]), mode="replicate")
    x = torch.cat([photograph, torch.full_like(photograph, 0.5)])
    y = settings.build()(x, noise_for(x))
    assert y.shape == x.shape
    torch.testing.assert_close(y[1], x[1], rtol=0, atol=1e-9)
