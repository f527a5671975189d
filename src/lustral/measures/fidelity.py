"""How far one image is from another: PSNR, two SSIMs with the variant in their name, and plain norms.

Arrays are floating point, channels last, values in [0, 1]. Leading axes are a batch and come back as the
shape of the result: (n, h, w, 3) gives (n,), a single image (h, w, 3) gives an array without axes.
Arithmetic is in float64 whatever came in. Nothing is rounded to 8 bits here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from jaxtyping import Float
from numpy.typing import NDArray

__all__ = ["PSNR_CAP", "l2", "linf", "mae", "mse", "psnr", "ssim_gaussian", "ssim_uniform"]

Images = Float[np.ndarray, "*n h w 3"]
PerImage = Float[np.ndarray, "*n"]
Doubles = NDArray[np.float64]

PSNR_CAP = 100.0
"""Decibels given to identical images, so that a mean over images stays finite."""

_TOLERANCE = 1e-6  # float error of honest arithmetic; more than that is a mistake of the caller
_UNIFORM_SIDE = 7
_GAUSSIAN_SIDE = 11
_GAUSSIAN_SIGMA = 1.5
_BLOCK = 2**21  # numbers filtered at once: SSIM needs about ten arrays of this size


def mse(a: Images, b: Images) -> PerImage:
    """Mean squared error per image, in [0, 1].

    >>> float(mse(np.zeros((4, 4, 3)), np.full((4, 4, 3), 0.5)))
    0.25
    """
    return _over_image(np.mean, _difference(a, b) ** 2)


def mae(a: Images, b: Images) -> PerImage:
    """Mean absolute error per image, in [0, 1]."""
    return _over_image(np.mean, np.abs(_difference(a, b)))


def linf(a: Images, b: Images) -> PerImage:
    """Largest absolute difference over pixels and channels per image, in [0, 1]; 8/255 is eight levels."""
    return _over_image(np.max, np.abs(_difference(a, b)))


def l2(a: Images, b: Images) -> PerImage:
    """Euclidean norm of the difference per image, in units of the [0, 1] range (not divided by size)."""
    return np.asarray(np.sqrt(_over_image(np.sum, _difference(a, b) ** 2)))


def psnr(a: Images, b: Images, cap: float | int = PSNR_CAP) -> PerImage:
    """Peak signal-to-noise ratio per image in dB for a peak of 1, at most ``cap``.

    Identical images have no finite value; they get ``cap``. Pass ``cap=math.inf`` for the bare formula.

    Source: paper 000, section 3.5 (quality scores).
    Differs: the published code leaves identical images at infinity, which makes the mean infinite.

    >>> round(float(psnr(np.zeros((4, 4, 3)), np.full((4, 4, 3), 0.1))), 6)
    20.0
    """
    error = mse(a, b)
    with np.errstate(divide="ignore"):
        return np.asarray(np.minimum(-10 * np.log10(error), cap))


def ssim_uniform(a: Images, b: Images) -> PerImage:
    """SSIM per image in [-1, 1]: 7x7 uniform window, sample covariance, mean over the three channels.

    This is the default of ``skimage.metrics.structural_similarity`` and what paper 000 reports. It is not
    the SSIM of Wang et al.: on the same pair the two differ by several hundredths.

    Raises:
        ValueError: a side is shorter than 7 pixels.
    """

    def window(x: Doubles) -> Doubles:
        return scipy.ndimage.uniform_filter(x, size=(1, _UNIFORM_SIDE, _UNIFORM_SIDE, 1))

    samples = _UNIFORM_SIDE**2
    return _ssim(a, b, window, _UNIFORM_SIDE, samples / (samples - 1))


def ssim_gaussian(a: Images, b: Images) -> PerImage:
    """SSIM per image in [-1, 1]: 11x11 Gaussian window of sigma 1.5, mean over the three channels.

    Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
    Differs: computed on R, G and B and averaged, where Wang et al. use luma only; no downsampling.

    Raises:
        ValueError: a side is shorter than 11 pixels.
    """

    def window(x: Doubles) -> Doubles:
        sigma = (0, _GAUSSIAN_SIGMA, _GAUSSIAN_SIGMA, 0)
        return scipy.ndimage.gaussian_filter(x, sigma=sigma, radius=(0, _GAUSSIAN_SIDE // 2, _GAUSSIAN_SIDE // 2, 0))

    return _ssim(a, b, window, _GAUSSIAN_SIDE, 1.0)


def _ssim(a: Images, b: Images, window: Callable[[Doubles], Doubles], side: int, unbias: float) -> PerImage:
    _check_pair(a, b)
    height, width = a.shape[-3:-1]
    if min(height, width) < side:
        raise ValueError(
            f"this SSIM needs sides of at least {side} pixels, got {height} x {width}; "
            "use psnr, or resize both images in a way that you report"
        )
    left, right = (x.reshape(-1, height, width, 3) for x in (a, b))  # (n, h, w, 3)
    block = max(1, _BLOCK // left[0].size)
    parts: list[Doubles] = []
    for start in range(0, len(left), block):
        x, y = (images[start : start + block].astype(np.float64) for images in (left, right))
        parts.append(_ssim_block(x, y, window, side, unbias))
    return np.concatenate(parts).reshape(a.shape[:-3])


def _ssim_block(x: Doubles, y: Doubles, window: Callable[[Doubles], Doubles], side: int, unbias: float) -> Doubles:
    stable_mean, stable_variance = 0.01**2, 0.03**2  # K1 = 0.01 and K2 = 0.03 of Wang et al. for a range of 1
    mean_x, mean_y = window(x), window(y)
    variance_x = unbias * (window(x * x) - mean_x * mean_x)
    variance_y = unbias * (window(y * y) - mean_y * mean_y)
    covariance = unbias * (window(x * y) - mean_x * mean_y)
    above = (2 * mean_x * mean_y + stable_mean) * (2 * covariance + stable_variance)
    below = (mean_x**2 + mean_y**2 + stable_mean) * (variance_x + variance_y + stable_variance)
    edge = side // 2  # only windows that lie inside the image count
    inside = (above / below)[:, edge : x.shape[1] - edge, edge : x.shape[2] - edge]
    return inside.mean(axis=(1, 2, 3))


def _over_image(reduce: Callable[..., Any], values: Doubles) -> Doubles:
    return np.asarray(reduce(values, axis=(-3, -2, -1)))


def _difference(a: NDArray[Any], b: NDArray[Any]) -> Doubles:
    _check_pair(a, b)
    return a.astype(np.float64) - b.astype(np.float64)


def _check_pair(a: NDArray[Any], b: NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise ValueError(f"both images must have one shape, got {a.shape} and {b.shape}; resize one of them first")
    for x in (a, b):
        if not np.issubdtype(x.dtype, np.floating):
            raise TypeError(f"images must be floating point in [0, 1], got {x.dtype}; divide 8-bit images by 255 first")
        if x.ndim < 3 or x.shape[-1] != 3 or x.size == 0:
            raise ValueError(f"images must have shape (..., h, w, 3) and not be empty, got {x.shape}")
        low, high = float(x.min()), float(x.max())
        if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # also true for NaN
            raise ValueError(f"images must be finite and lie in [0, 1], got values from {low:.4g} to {high:.4g}")
