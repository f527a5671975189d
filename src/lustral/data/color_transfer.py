"""Colour transfer: give a picture the colours of a photograph. Pure functions of numpy arrays."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ColorStatistics", "from_lab", "recolor", "statistics_of", "to_lab", "transfer"]

Pixels = NDArray[np.float64]  # (..., 3)

_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])  # RGB to cone responses
_AXES = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]])  # brightness, yellow-blue, red-green
_OPPONENT = _AXES / np.array([[math.sqrt(3)], [math.sqrt(6)], [math.sqrt(2)]])  # orthonormal: the transpose undoes it
_DARKEST = 1 / 255  # black has no logarithm
_FLAT = 1e-9  # rounding noise is below it, one 8-bit level in one of a million pixels above


class ColorStatistics(NamedTuple):
    """What is transferred: mean and standard deviation of l, alpha and beta over the pixels, (3,) each."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def to_lab(rgb: Pixels) -> Pixels:
    """l, alpha, beta (..., 3) of RGB (..., 3) whose cone responses are positive.

    Source: Reinhard et al. 2001, section "Decorrelated color space".
    """
    return np.log10(rgb @ _LMS.T) @ _OPPONENT.T


def from_lab(lab: Pixels) -> Pixels:
    """RGB (..., 3) of l, alpha, beta (..., 3), the inverse of ``to_lab``; may leave [0, 1]."""
    return 10.0 ** (lab @ _OPPONENT) @ np.linalg.inv(_LMS).T


def _lab_of(image: NDArray[np.uint8]) -> Pixels:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 (h, w, 3), got {image.dtype} {image.shape}")
    return to_lab(np.maximum(image / 255, _DARKEST))


def _summary(lab: Pixels) -> ColorStatistics:
    return ColorStatistics(lab.mean(axis=(0, 1)), lab.std(axis=(0, 1)))


def statistics_of(image: NDArray[np.uint8]) -> ColorStatistics:
    """Colour statistics of a picture, uint8 (h, w, 3).

    Raises:
        ValueError: not uint8 (h, w, 3).
    """
    return _summary(_lab_of(image))


def transfer(image: NDArray[np.uint8], target: ColorStatistics) -> Pixels:
    """The picture with the target's colour statistics, before clipping.

    A channel without variation (alpha and beta of a grey picture) takes the target's mean and stays without.

    Args:
        image: uint8 (h, w, 3).
        target: statistics that the result shall have.

    Returns:
        RGB (h, w, 3), 1 is white; what the screen cannot show lies outside [0, 1].

    Raises:
        ValueError: not uint8 (h, w, 3).
    """
    lab = _lab_of(image)
    own = _summary(lab)
    varies = own.deviation > _FLAT
    factor = np.where(varies, target.deviation / np.where(varies, own.deviation, 1.0), 1.0)
    return from_lab((lab - own.mean) * factor + target.mean)


def recolor(image: NDArray[np.uint8], target: ColorStatistics) -> NDArray[np.uint8]:
    """The picture in the target's colours, uint8 (h, w, 3), clipped and rounded to nearest.

    Args:
        image: uint8 (h, w, 3).
        target: of the photograph whose colours are wanted, from ``statistics_of``.

    Raises:
        ValueError: not uint8 (h, w, 3).

    Source: Reinhard, Ashikhmin, Gooch, Shirley, Color transfer between images, IEEE Computer Graphics and
        Applications 21(5), 2001, section "Statistics and color correction".
    Differs: black counts as 1/255, because it has no logarithm; the way back to RGB is the exact inverse, from
        which the printed numbers differ by up to 0.017.

    >>> plain = np.full((2, 2, 3), 128, np.uint8)
    >>> recolor(plain, statistics_of(np.full((1, 1, 3), (200, 100, 50), np.uint8)))[0, 0].tolist()
    [200, 100, 50]
    """
    return np.clip(np.rint(255 * transfer(image, target)), 0, 255).astype(np.uint8)
