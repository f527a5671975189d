"""How much of a photograph is left after a distortion: the truth of graded sets that no person has judged."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lustral.data.tiles import luma

__all__ = ["SMALLEST", "similarity"]

SMALLEST = 44  # pixels; a quarter of it must hold one 11 x 11 window
_SCALES = (0.2, 0.4, 0.4)  # weights of full, half and quarter size
_COLOUR = 0.2  # weight of colour against luma
_COLOUR_FLOOR = 550.0  # squared levels: differences of nearly grey pixels do not count

Plane = NDArray[np.float64]


def _halved(planes: Plane) -> Plane:
    """Mean of 2 x 2 blocks over the last two axes."""
    height, width = planes.shape[-2] // 2, planes.shape[-1] // 2
    even = planes[..., : 2 * height, : 2 * width]
    return even.reshape(*planes.shape[:-2], height, 2, width, 2).mean(axis=(-3, -1))


def _colour(image: NDArray[np.uint8]) -> Plane:
    """Blue and red minus luma at a quarter of the size, (2, h / 4, w / 4): the eye sees colour coarsely."""
    blue_red = image[..., [2, 0]].astype(np.float64) - luma(image)[..., None]
    return _halved(_halved(np.moveaxis(blue_red, -1, 0)))


def _structure(a: Plane, b: Plane) -> float:
    """SSIM of Wang et al. 2004: Gaussian window of 11 x 11, sigma 1.5, levels 0..255."""
    from skimage.metrics import structural_similarity

    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(cast(float, structural_similarity(a, b, data_range=255, **options)))


def similarity(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Full-reference quality in [0, 1]: 1 for the reference itself, lower the more is spoilt.

    The weighted mean of SSIM of luma at full, half and quarter size (weights 0.2, 0.4, 0.4) times
    ``0.8 + 0.2 c``, where c in [-1, 1] compares colour differences at a quarter of the size as SSIM
    compares means; below 0 it counts as 0.

    Args:
        reference: uint8 (h, w, 3), both sides at least 44 pixels.
        image: uint8 of the same shape.

    Raises:
        ValueError: shapes differ or are too small.

    Source: Wang, Bovik, Sheikh, Simoncelli, Image quality assessment, IEEE TIP 13(4), 2004, for SSIM and its
        constants; the colour term has the form and the constant of MDSI (Ziaei Nafchi et al., IEEE Access 2016).
    Differs: the sum over scales and the colour term are ours; weights were chosen with the 63 pictures of
        ``LiveSubset`` in view, so its correlation there is not an independent check.
    """
    if reference.shape != image.shape or min(reference.shape[:2]) < SMALLEST:
        raise ValueError(
            f"expected two images of one size, sides at least {SMALLEST}, got {reference.shape} and {image.shape}"
        )
    a, b, total = luma(reference), luma(image), 0.0
    for weight in _SCALES:
        total += weight * _structure(a, b)
        a, b = _halved(a), _halved(b)
    tint, other = _colour(reference), _colour(image)
    energy = (tint**2 + other**2).sum(axis=0)
    agreement = ((2 * (tint * other).sum(axis=0) + _COLOUR_FLOOR) / (energy + _COLOUR_FLOOR)).mean()
    return float(np.clip(total * (1 - _COLOUR + _COLOUR * agreement), 0, 1))
