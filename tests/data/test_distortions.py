import hashlib
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from lustral.data.builtin import photograph, resized_to
from lustral.data.distortions import DISTORTIONS, LEVELS, distort
from lustral.data.similarity import similarity


@pytest.fixture(scope="module")
def crop():
    return resized_to(photograph("coffee"), 400 * 600)[100:164, 200:264].copy()


def test_there_are_at_least_eight_kinds_of_five_strengths():
    assert len(DISTORTIONS) >= 8
    assert all(len(distortion.strengths) == len(LEVELS) == 5 for distortion in DISTORTIONS.values())


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_levels_grow_and_the_input_stays(crop, kind):
    before = crop.copy()
    ladder = [distort(crop, kind, level, seed=7) for level in LEVELS]
    assert all(image.shape == crop.shape and image.dtype == np.uint8 for image in ladder)
    quality = [similarity(crop, image) for image in ladder]
    assert quality == sorted(quality, reverse=True)
    assert quality[0] < 1
    assert quality[-1] < quality[0] - 0.05
    np.testing.assert_array_equal(crop, before)


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_the_seed_decides_and_nothing_else(crop, kind):
    state = np.random.get_state()[1].copy()  # noqa: NPY002 the global generator must stay untouched
    first, again, other = (distort(crop, kind, 4, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    random = {"motion_blur", "white_noise", "speckle", "impulse_noise", "colour_shift", "jitter"}
    assert np.array_equal(first, other) == (kind not in random)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_odd_sizes_keep_their_size(kind):
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert all(distort(image, kind, level, 0).shape == (9, 7, 3) for level in LEVELS)


@pytest.mark.parametrize("kind", ["gaussian_blur", "lens_blur", "motion_blur", "pixelate", "jitter", "colour_shift"])
def test_what_moves_pixels_leaves_a_constant_picture_alone(kind):
    image = np.full((20, 20, 3), 77, np.uint8)
    np.testing.assert_array_equal(distort(image, kind, 5, 0), image)


def test_jpeg_is_what_pillow_writes(crop):
    file = io.BytesIO()
    Image.fromarray(crop).save(file, "JPEG", quality=16, subsampling=0)
    np.testing.assert_array_equal(distort(crop, "jpeg", 3, 0), np.asarray(Image.open(file)))


def test_white_noise_has_the_stated_standard_deviation():
    grey = np.full((128, 128, 3), 128, np.uint8)
    for level in (1, 2, 3):
        sigma = DISTORTIONS["white_noise"].strengths[level - 1]
        noise = distort(grey, "white_noise", level, 0).astype(float) - 128
        assert noise.std() == pytest.approx(sigma, rel=0.02)
        assert abs(noise.mean()) < 4 * sigma / np.sqrt(noise.size)


def test_impulse_noise_hits_the_stated_share():
    hit = distort(np.full((128, 128, 3), 128, np.uint8), "impulse_noise", 5, 0) != 128
    assert hit.mean() == pytest.approx(0.3, abs=0.01)


def test_a_point_spreads_over_the_disc_and_along_the_path():
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    disc = distort(point, "lens_blur", 2, 0)[..., 0]
    assert (disc > 0).sum() == 13  # whole points within distance 2
    path = distort(point, "motion_blur", 3, 0)[..., 0]
    assert 5 <= (path > 0).sum() <= 9


def test_point_wise_kinds_follow_their_formula():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    values = np.arange(256.0).reshape(16, 16)
    for kind, expected in {
        "darken": values * 0.2,
        "brighten": 255 - (255 - values) * 0.25,
        "contrast": 127.5 + 0.12 * (values - 127.5),
        "posterise": np.where(values < 127.5, 0, 255),
    }.items():
        np.testing.assert_allclose(distort(image, kind, 5, 0)[..., 1], expected, atol=0.5 + 1e-9)


def test_desaturated_pictures_are_grey_and_keep_their_luma(crop):
    image = distort(crop, "saturation", 4, 0).astype(int)
    assert (image == image[..., :1]).all()
    assert np.abs(image[..., 0] - crop @ [0.299, 0.587, 0.114]).max() <= 0.5 + 1e-9


def test_bad_arguments_say_what_is_known(crop):
    with pytest.raises(ValueError, match="unknown distortion 'blur'; known: gaussian_blur"):
        distort(crop, "blur", 1, 0)
    with pytest.raises(ValueError, match="level must be one of"):
        distort(crop, "jpeg", 6, 0)
    with pytest.raises(ValueError, match="uint8"):
        distort(crop.astype(float), "jpeg", 1, 0)


def test_similarity_is_one_for_the_same_picture_and_lower_for_any_other(crop):
    assert similarity(crop, crop) == pytest.approx(1)
    assert similarity(crop, 255 - crop) < 0.3
    with pytest.raises(ValueError, match="one size"):
        similarity(crop, crop[:50])
    with pytest.raises(ValueError, match="at least 44"):
        similarity(crop[:40], crop[:40])


def test_similarity_sees_colour_that_luma_does_not():
    image = np.full((48, 48, 3), 128, np.uint8)
    tinted = image.copy()
    tinted[..., 0] += 58
    tinted[..., 2] -= 24
    tinted[..., 1] -= 25
    assert similarity(image, tinted) < 0.95


def test_noise_is_the_same_in_another_process():
    code = (
        "import numpy as np, hashlib; from lustral.data.distortions import distort;"
        "i = np.full((32, 32, 3), 90, np.uint8);"
        "print(hashlib.sha256(distort(i, 'speckle', 3, 5).tobytes()).hexdigest())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    )
    here = distort(np.full((32, 32, 3), 90, np.uint8), "speckle", 3, 5)
    assert run.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()
