import numpy as np
import pytest
from skimage.util import crop

from lustral.data import parse_data
from lustral.settings import SettingsError

PHOTOS = "photos:split=test,sources=builtin,side=45,kinds=jpeg,count=4"


def test_a_cropped_set_has_the_middle_of_every_picture_and_the_truth_of_the_whole():
    plain, small = parse_data(PHOTOS).load(), parse_data(f"{PHOTOS} | cropped:side=16").load()
    assert small.ids == tuple(f"{name}/centre-16" for name in plain.ids)
    assert small.name == "photos test, middle 16 x 16"
    np.testing.assert_array_equal(small.truth, plain.truth)
    for before, after in zip(plain.images, small.images, strict=True):
        np.testing.assert_array_equal(after, crop(before, ((14, 15), (14, 15), (0, 0))))
        assert after.flags["C_CONTIGUOUS"]


def test_a_picture_that_is_too_small_is_named():
    data = parse_data(f"{PHOTOS} | cropped:side=46")
    with pytest.raises(ValueError, match=r"photos/builtin/.* has 45 x 45 pixels: side=46 must be 45 or less"):
        data.load()


def test_the_direction_of_the_scores_is_that_of_the_other_set():
    assert parse_data("live_subset | cropped").kind == "quality"
    with pytest.raises(SettingsError, match="side"):
        parse_data("live_subset | cropped:side=0")
