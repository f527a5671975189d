"""Ways to spoil a photograph in five grades, in the manner of KADID-10k; pure functions of 8-bit arrays."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter  # pyright: ignore[reportUnknownVariableType]

from lustral.data.tiles import luma
from lustral.settings import digest

__all__ = ["DISTORTIONS", "LEVELS", "Distortion", "distort"]

LEVELS = (1, 2, 3, 4, 5)
Levels = NDArray[np.float64]  # (h, w, 3), 8-bit levels as floats, may leave 0..255
Apply = Callable[[Levels, float, np.random.Generator], Levels]


@dataclass(frozen=True)
class Distortion:
    """What is done to the picture and how much of it at levels 1 to 5.

    Attributes:
        apply: function of (picture in levels, strength, generator).
        strengths: five values, from hardly visible to very strong.
        unit: what the strengths mean.
        harshness: exponent of ``similarity`` that puts kinds on one scale: people mind a blur or blocks
            more, and noise less, than structural similarity does. See ``DISTORTIONS``.
    """

    apply: Apply
    strengths: tuple[float, float, float, float, float]
    unit: str
    harshness: float


def _average(pixels: Levels, offsets: list[tuple[int, int]]) -> Levels:
    """Mean of shifted copies, borders reflected."""
    height, width = pixels.shape[:2]
    reach = max(max(abs(down), abs(right)) for down, right in offsets)
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    total = np.zeros_like(pixels)
    for down, right in offsets:
        total += padded[reach + down : reach + down + height, reach + right : reach + right + width]
    return total / len(offsets)


def _gaussian_blur(pixels: Levels, sigma: float, _: np.random.Generator) -> Levels:
    return np.asarray(gaussian_filter(pixels, (sigma, sigma, 0)), dtype=np.float64)


def _lens_blur(pixels: Levels, radius: float, _: np.random.Generator) -> Levels:
    reach = range(-math.floor(radius), math.floor(radius) + 1)
    return _average(pixels, [(y, x) for y in reach for x in reach if y * y + x * x <= radius * radius])


def _motion_blur(pixels: Levels, length: float, generator: np.random.Generator) -> Levels:
    angle = generator.uniform(0, math.pi)
    along = np.linspace(-(length - 1) / 2, (length - 1) / 2, int(length))
    return _average(pixels, [(round(step * math.sin(angle)), round(step * math.cos(angle))) for step in along])


def _jpeg_with(subsampling: int) -> Apply:
    def apply(pixels: Levels, quality: float, _: np.random.Generator) -> Levels:
        file = io.BytesIO()
        Image.fromarray(_to_uint8(pixels)).save(file, "JPEG", quality=int(quality), subsampling=subsampling)
        with Image.open(file, formats=("JPEG",)) as picture:
            return np.asarray(picture, dtype=np.float64)

    return apply


def _white_noise(pixels: Levels, sigma: float, generator: np.random.Generator) -> Levels:
    return pixels + sigma * generator.standard_normal(pixels.shape)


def _speckle(pixels: Levels, sigma: float, generator: np.random.Generator) -> Levels:
    return pixels * (1 + sigma * generator.standard_normal(pixels.shape))


def _impulse_noise(pixels: Levels, share: float, generator: np.random.Generator) -> Levels:
    place, colour = generator.random((2, *pixels.shape))
    return np.where(place < share, np.where(colour < 0.5, 0.0, 255.0), pixels)


def _contrast(pixels: Levels, factor: float, _: np.random.Generator) -> Levels:
    centre = pixels.mean()
    return centre + factor * (pixels - centre)


def _brighten(pixels: Levels, factor: float, _: np.random.Generator) -> Levels:
    return 255 - (255 - pixels) * factor


def _darken(pixels: Levels, factor: float, _: np.random.Generator) -> Levels:
    return pixels * factor


def _saturation(pixels: Levels, factor: float, _: np.random.Generator) -> Levels:
    grey = luma(pixels)[..., None]  # (h, w, 1)
    return grey + factor * (pixels - grey)


def _colour_shift(pixels: Levels, distance: float, generator: np.random.Generator) -> Levels:
    angle, reach = generator.uniform(0, 2 * math.pi), math.ceil(distance)
    down, right = round(distance * math.sin(angle)), round(distance * math.cos(angle))
    padded = np.pad(pixels[..., 1], reach, mode="symmetric")
    height, width = pixels.shape[:2]
    moved = padded[reach + down : reach + down + height, reach + right : reach + right + width]
    return np.stack([pixels[..., 0], moved, pixels[..., 2]], axis=-1)


def _posterise(pixels: Levels, shades: float, _: np.random.Generator) -> Levels:
    step = 255 / (shades - 1)
    return np.rint(pixels / step) * step


def _pixelate(pixels: Levels, block: float, _: np.random.Generator) -> Levels:
    height, width = pixels.shape[:2]
    size = (max(1, round(width / block)), max(1, round(height / block)))
    small = Image.fromarray(_to_uint8(pixels)).resize(size, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST), dtype=np.float64)


def _oversharpen(pixels: Levels, amount: float, generator: np.random.Generator) -> Levels:
    return pixels + amount * (pixels - _gaussian_blur(pixels, 1.5, generator))


def _jitter(pixels: Levels, reach: float, generator: np.random.Generator) -> Levels:
    height, width = pixels.shape[:2]
    moves = np.rint(generator.uniform(-reach, reach, (2, height, width))).astype(np.int64)
    rows = np.clip(np.arange(height)[:, None] + moves[0], 0, height - 1)
    columns = np.clip(np.arange(width)[None, :] + moves[1], 0, width - 1)
    return pixels[rows, columns]


DISTORTIONS: dict[str, Distortion] = {
    "gaussian_blur": Distortion(_gaussian_blur, (0.6, 1.0, 1.8, 3.0, 5.0), "standard deviation in pixels", 6.0),
    "lens_blur": Distortion(_lens_blur, (1.0, 2.0, 3.0, 5.0, 8.0), "radius of the disc in pixels", 6.0),
    "motion_blur": Distortion(_motion_blur, (3, 5, 9, 15, 25), "length of the path in pixels, random direction", 9.0),
    "jpeg": Distortion(_jpeg_with(0), (60, 30, 16, 8, 4), "Pillow quality, colour at full resolution", 6.0),
    "jpeg_420": Distortion(_jpeg_with(2), (60, 30, 16, 8, 4), "Pillow quality, colour at half resolution (4:2:0)", 6.0),
    "white_noise": Distortion(_white_noise, (6, 13, 26, 51, 102), "standard deviation in 8-bit levels", 3.0),
    "speckle": Distortion(_speckle, (0.06, 0.12, 0.24, 0.45, 0.8), "standard deviation as a share of the value", 3.5),
    "impulse_noise": Distortion(_impulse_noise, (0.003, 0.01, 0.03, 0.1, 0.3), "share of values set to 0 or 255", 4.0),
    "contrast": Distortion(_contrast, (0.8, 0.6, 0.42, 0.25, 0.12), "factor about the mean of the picture", 2.0),
    "brighten": Distortion(_brighten, (0.88, 0.74, 0.58, 0.42, 0.25), "factor of the distance from white", 2.0),
    "darken": Distortion(_darken, (0.85, 0.68, 0.5, 0.34, 0.2), "factor", 2.0),
    "saturation": Distortion(_saturation, (0.75, 0.5, 0.25, 0.0, -0.5), "factor of the distance from grey", 7.0),
    "colour_shift": Distortion(_colour_shift, (1, 2, 4, 7, 12), "pixels by which green moves, random direction", 3.0),
    "posterise": Distortion(_posterise, (24, 12, 7, 4, 2), "shades per channel", 3.0),
    "pixelate": Distortion(_pixelate, (2, 3, 4, 6, 10), "pixels per block", 6.0),
    "oversharpen": Distortion(_oversharpen, (0.5, 1.0, 2.0, 4.0, 8.0), "weight of the detail that is added", 4.0),
    "jitter": Distortion(_jitter, (0.6, 1.0, 1.6, 2.6, 4.5), "pixels by which each pixel may move", 4.0),
}
"""Name -> distortion. Kinds and grading follow KADID-10k (Lin, Hosu, Saupe, QoMEX 2019).

Differs: strengths are ours, with stronger noise, so that the worst are as bad as the worst of LIVE. The
    harshness of blurs, JPEG, noises, saturation and colour shift was fitted by hand and rounded, so that
    similarity to that power orders the mean opinions which KADID-10k publishes per kind and level. KADID's
    own strengths were approximated for that fit, so it is no measured agreement with KADID-10k; the
    harshness of the other kinds is an estimate.
"""


def _to_uint8(pixels: Levels) -> NDArray[np.uint8]:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def distort(image: NDArray[np.uint8], kind: str, level: int, seed: int) -> NDArray[np.uint8]:
    """The picture spoilt by one distortion; the same arguments always give the same pixels.

    Args:
        image: uint8 (h, w, 3).
        kind: key of ``DISTORTIONS``.
        level: 1 (hardly visible) to 5 (very strong).
        seed: whole number; kind is mixed into it. Level is not: the five levels of one seed are the same
            accident (same direction, same pattern of noise), ever stronger.

    Returns:
        uint8 (h, w, 3), rounded to nearest.

    Raises:
        ValueError: unknown kind, level outside 1..5, or not uint8 (h, w, 3).

    >>> distort(np.full((4, 4, 3), 100, np.uint8), "darken", 3, seed=0)[0, 0].tolist()
    [50, 50, 50]
    """
    if kind not in DISTORTIONS:
        raise ValueError(f"unknown distortion {kind!r}; known: {', '.join(DISTORTIONS)}")
    if level not in LEVELS:
        raise ValueError(f"level must be one of {LEVELS}, got {level!r}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 (h, w, 3), got {image.dtype} {image.shape}")
    distortion = DISTORTIONS[kind]
    # Not lustral.seeds.seed_of, whose module imports torch.
    generator = np.random.default_rng(int(digest([seed, kind])[:15], 16))
    return _to_uint8(distortion.apply(image.astype(np.float64), distortion.strengths[level - 1], generator))
