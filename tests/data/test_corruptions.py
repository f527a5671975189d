"""Corruptions against colorsys and the published parameters, pixel by pixel."""

import colorsys

import numpy as np
import pytest

from lustral.data.corruptions import CORRUPTIONS, corrupt

SHIFTS = {"imagenet": [0.1, 0.2, 0.3, 0.4, 0.5], "cifar": [0.05, 0.1, 0.15, 0.2, 0.3]}
FACTORS = {"imagenet": [0.4, 0.3, 0.2, 0.1, 0.05], "cifar": [0.75, 0.5, 0.4, 0.3, 0.15]}
SATURATIONS = {
    "imagenet": [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
    "cifar": [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
}


def bounded(value):
    return min(max(value, 0.0), 1.0)


def brighter(pixel, shift):
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
    return colorsys.hsv_to_rgb(hue, saturation, bounded(value + shift))


def saturated(pixel, factor, shift):
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
    return colorsys.hsv_to_rgb(hue, bounded(factor * saturation + shift), value)


def expected(image, by, level, strengths):
    """The corrupted picture in levels, not rounded."""
    rgb = image / 255
    if by == "contrast":
        means = rgb.reshape(-1, 3).mean(axis=0)
        made = (rgb - means) * FACTORS[strengths][level - 1] + means
    elif by == "brightness":
        made = np.apply_along_axis(brighter, 2, rgb, SHIFTS[strengths][level - 1])
    else:
        made = np.apply_along_axis(saturated, 2, rgb, *SATURATIONS[strengths][level - 1])
    return 255 * made


@pytest.fixture(scope="module")
def image():
    made = np.random.default_rng(3).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    made[0, :3] = [(0, 0, 0), (90, 90, 90), (255, 255, 255)]  # grey has no hue, black no saturation either
    return made


@pytest.mark.parametrize("strengths", ["imagenet", "cifar"])
@pytest.mark.parametrize("by", CORRUPTIONS)
def test_every_level_is_that_of_the_published_set(image, by, strengths):
    before = image.copy()
    for level in range(1, 6):
        made = corrupt(image, by, level, strengths)
        assert made.dtype == np.uint8
        assert np.abs(made - expected(image, by, level, strengths)).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(image, before)


def test_unknown_corruptions_levels_and_arrays_are_refused(image):
    with pytest.raises(ValueError, match="unknown corruption 'fog'; known: brightness, contrast, saturate"):
        corrupt(image, "fog", 1)
    with pytest.raises(ValueError, match="level must be one of"):
        corrupt(image, "contrast", 6)
    with pytest.raises(ValueError, match=r"image must be uint8 \(h, w, 3\), got float64"):
        corrupt(image / 255, "contrast", 1)
