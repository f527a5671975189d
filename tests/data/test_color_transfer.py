"""Colour transfer against its definition, written out channel by channel."""

import math

import numpy as np
import pytest

from lustral.data.builtin import photograph, resized_to
from lustral.data.color_transfer import from_lab, recolor, statistics_of, to_lab, transfer


def lab(red, green, blue):
    """The three equations of the paper for one pixel or for planes."""
    long = np.log10(0.3811 * red + 0.5783 * green + 0.0402 * blue)
    medium = np.log10(0.1967 * red + 0.7244 * green + 0.0782 * blue)
    short = np.log10(0.0241 * red + 0.1288 * green + 0.8444 * blue)
    return np.array(
        [
            (long + medium + short) / math.sqrt(3),
            (long + medium - 2 * short) / math.sqrt(6),
            (long - medium) / math.sqrt(2),
        ]
    )


@pytest.fixture(scope="module")
def pictures():
    return [resized_to(photograph(name), 40 * 60) for name in ("coffee", "rocket")]


def test_the_space_is_that_of_the_paper():
    pixel = np.array([0.9, 0.2, 0.4])
    np.testing.assert_allclose(to_lab(pixel), lab(*pixel), atol=1e-14)
    np.testing.assert_allclose(from_lab(lab(*pixel)), pixel, atol=1e-14)


def test_the_way_back_is_that_of_the_paper_to_its_rounding():
    """The nine numbers printed for it are not the exact inverse: the worst is off by 0.017."""
    printed = [[4.4679, -3.5873, 0.1193], [-1.2186, 2.3809, -0.1624], [0.0497, -0.2439, 1.2045]]
    cones = np.diag([1 - 1e-9] * 3) + 1e-9  # one response, hardly any of the others
    long, medium, short = np.log10(cones)
    opponent = [
        (long + medium + short) / math.sqrt(3),
        (long + medium - 2 * short) / math.sqrt(6),
        (long - medium) / math.sqrt(2),
    ]
    np.testing.assert_allclose(from_lab(np.transpose(opponent)).T, printed, atol=0.02)


def test_mean_and_deviation_of_every_channel_become_those_of_the_target(pictures):
    image, target = pictures
    moved = lab(*np.moveaxis(transfer(image, statistics_of(target)), -1, 0)).reshape(3, -1)
    wanted = lab(*np.moveaxis(np.maximum(target, 1) / 255, -1, 0)).reshape(3, -1)
    own = lab(*np.moveaxis(np.maximum(image, 1) / 255, -1, 0)).reshape(3, -1)
    np.testing.assert_allclose(moved.mean(axis=1), wanted.mean(axis=1), atol=1e-10)
    np.testing.assert_allclose(moved.std(axis=1), wanted.std(axis=1), atol=1e-10)
    assert np.abs(own.mean(axis=1) - wanted.mean(axis=1)).max() > 0.05
    # Nothing but a rescaling of each channel: the picture stays the same picture.
    for before, after in zip(own, moved, strict=True):
        assert np.corrcoef(before, after)[0, 1] > 1 - 1e-9


def test_its_own_colours_leave_a_picture_as_it_is_but_for_black(pictures):
    for image in pictures:
        np.testing.assert_array_equal(recolor(image, statistics_of(image)), np.maximum(image, 1))


def test_a_grey_picture_takes_one_tint_without_noise():
    grey = np.repeat(np.random.default_rng(0).integers(1, 256, (6, 5, 1), dtype=np.uint8), 3, axis=2)
    tint = statistics_of(np.full((1, 1, 3), (200, 100, 50), np.uint8))
    moved = to_lab(transfer(grey, tint))
    np.testing.assert_allclose(moved[..., 1:].std(axis=(0, 1)), 0, atol=1e-9)
    np.testing.assert_allclose(moved.mean(axis=(0, 1)), tint.mean, atol=1e-9)


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)])
def test_other_arrays_are_refused(bad):
    with pytest.raises(ValueError, match=r"image must be uint8 \(h, w, 3\), got"):
        statistics_of(bad)
