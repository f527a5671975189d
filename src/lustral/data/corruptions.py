"""The colour corruptions of ImageNet-C and CIFAR-10-C at their five levels; pure functions of 8-bit arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lustral.data.distortions import LEVELS

__all__ = ["CORRUPTIONS", "Corruption", "Strengths", "corrupt"]

Pixels = NDArray[np.float64]  # (h, w, 3), RGB in [0, 1], may leave it
Strengths = Literal["imagenet", "cifar"]


@dataclass(frozen=True)
class Corruption:
    """What is done to the picture, and with which parameters at levels 1 to 5.

    Attributes:
        apply: function of the picture and the parameters.
        imagenet: parameters of ImageNet-C.
        cifar: parameters of CIFAR-10-C and CIFAR-100-C.
    """

    apply: Callable[..., Pixels]
    imagenet: tuple[tuple[float, ...], ...]
    cifar: tuple[tuple[float, ...], ...]


def _or_one(divisor: Pixels) -> Pixels:
    return np.where(divisor > 0, divisor, 1.0)


def _brightness(rgb: Pixels, shift: float) -> Pixels:
    """Raise the value V = max(R, G, B) of HSV, so that hue and saturation stay; black becomes grey."""
    value = rgb.max(axis=-1, keepdims=True)  # (h, w, 1)
    brighter = np.minimum(value + shift, 1)
    return np.where(value > 0, rgb * brighter / _or_one(value), brighter)


def _contrast(rgb: Pixels, factor: float) -> Pixels:
    """Bring every channel closer to its mean over the picture."""
    mean = rgb.mean(axis=(0, 1))
    return mean + factor * (rgb - mean)


def _saturate(rgb: Pixels, factor: float, shift: float) -> Pixels:
    """Change the saturation S = 1 - min / max of HSV; hue and value stay. The hue of grey is red, as HSV has it."""
    value = rgb.max(axis=-1, keepdims=True)  # (h, w, 1)
    saturation = (value - rgb.min(axis=-1, keepdims=True)) / _or_one(value)
    wanted = np.clip(factor * saturation + shift, 0, 1)
    colored = value - (value - rgb) * wanted / _or_one(saturation)
    reddened = value * (1 - wanted * np.array([0.0, 1.0, 1.0]))  # (h, w, 3)
    return np.where(saturation > 0, colored, reddened)


CORRUPTIONS: dict[str, Corruption] = {
    "brightness": Corruption(
        _brightness, ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)), ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,))
    ),
    "contrast": Corruption(
        _contrast, ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)), ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,))
    ),
    "saturate": Corruption(
        _saturate,
        ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),
        ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
    ),
}
"""Name -> corruption. ``saturate`` takes colour away at levels 1 and 2 and adds colour at levels 3 to 5.

Source: Hendrycks, Dietterich, Benchmarking neural network robustness to common corruptions and perturbations,
    ICLR 2019; the parameters are those of their published programs for ImageNet-C and CIFAR-10-C.
Differs: results are rounded to nearest and kept as they are, where the published sets are cut off to whole levels
    and ImageNet-C is stored as JPEG of quality 85.
"""


def corrupt(image: NDArray[np.uint8], by: str, level: int, strengths: Strengths = "imagenet") -> NDArray[np.uint8]:
    """The picture under one corruption; nothing is random.

    Args:
        image: uint8 (h, w, 3).
        by: key of ``CORRUPTIONS``.
        level: 1 to 5, the severity of the paper.
        strengths: parameters of ImageNet-C, or the milder ones of CIFAR-10-C.

    Returns:
        uint8 (h, w, 3), rounded to nearest.

    Raises:
        ValueError: unknown corruption, level outside 1..5, or not uint8 (h, w, 3).

    >>> corrupt(np.full((2, 2, 3), (100, 40, 0), np.uint8), "brightness", 2)[0, 0].tolist()
    [151, 60, 0]
    """
    if by not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {by!r}; known: {', '.join(CORRUPTIONS)}")
    if level not in LEVELS:
        raise ValueError(f"level must be one of {LEVELS}, got {level!r}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 (h, w, 3), got {image.dtype} {image.shape}")
    corruption = CORRUPTIONS[by]
    parameters = (corruption.imagenet if strengths == "imagenet" else corruption.cifar)[level - 1]
    return np.clip(np.rint(255 * corruption.apply(image / 255, *parameters)), 0, 255).astype(np.uint8)
