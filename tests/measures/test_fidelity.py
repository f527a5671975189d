from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lustral.measures import fidelity, l2, linf, mae, mse, psnr, ssim_gaussian, ssim_uniform
from tests.measures import plain

MEASURES = (mse, mae, linf, l2, psnr, ssim_uniform, ssim_gaussian)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:23, 0:37] / 37
    smooth = np.stack([rows, columns, (rows + columns) / 2], axis=-1)[None] * rng.uniform(0.5, 1, (5, 1, 1, 3))
    return smooth, np.clip(smooth + 0.1 * rng.normal(size=smooth.shape), 0, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ssim_equals_scikit_image(pair, dtype):
    a, b = (x.astype(dtype) for x in pair)
    references = {
        ssim_uniform: {},
        ssim_gaussian: {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    }
    for ours, options in references.items():
        theirs = [
            structural_similarity(x.astype(float), y.astype(float), data_range=1.0, channel_axis=2, **options)
            for x, y in zip(a, b, strict=True)
        ]
        np.testing.assert_allclose(ours(a, b), theirs, rtol=0, atol=1e-10)
    assert np.abs(ssim_uniform(a, b) - ssim_gaussian(a, b)).min() > 1e-3  # the variants are different numbers


def test_ssim_at_the_smallest_size_is_one_window(pair):
    for measure, side in ((ssim_uniform, 7), (ssim_gaussian, 11)):
        a, b = (x[0, :side, :side] for x in pair)
        assert -1 <= float(measure(a, b)) < 1
        with pytest.raises(ValueError, match=f"at least {side} pixels, got {side - 1} x {side}"):
            measure(a[1:], b[1:])


def test_ssim_does_not_depend_on_how_the_batch_is_cut(pair, monkeypatch):
    whole = [ssim_uniform(*pair), ssim_gaussian(*pair)]
    monkeypatch.setattr(fidelity, "_BLOCK", 2 * pair[0][0].size)
    np.testing.assert_array_equal([ssim_uniform(*pair), ssim_gaussian(*pair)], whole)


def test_psnr_equals_scikit_image(pair):
    theirs = [peak_signal_noise_ratio(x, y, data_range=1.0) for x, y in zip(*pair, strict=True)]
    np.testing.assert_allclose(psnr(*pair), theirs, rtol=1e-12)


def test_identical_images_have_the_best_value_of_every_measure(pair):
    a, _ = pair
    for measure in (mse, mae, linf, l2):
        assert (measure(a, a) == 0).all()
    assert (psnr(a, a) == 100).all()
    assert (psnr(a, a, cap=60.0) == 60).all()
    assert (psnr(a, a, cap=math.inf) == math.inf).all()
    np.testing.assert_allclose([ssim_uniform(a, a), ssim_gaussian(a, a)], 1.0, rtol=0, atol=1e-12)


def test_norms_of_one_changed_pixel():
    a = np.zeros((2, 4, 5, 3))
    b = a.copy()
    b[1, 2, 3] = (0.3, 0.0, 0.4)
    np.testing.assert_allclose(linf(a, b), [0, 0.4])
    np.testing.assert_allclose(l2(a, b), [0, 0.5])
    np.testing.assert_allclose(mae(a, b), [0, 0.7 / 60])
    np.testing.assert_allclose(mse(a, b), [0, 0.25 / 60])


@pytest.mark.parametrize("measure", MEASURES)
def test_a_batch_is_its_images(pair, measure):
    a, b = pair
    together = measure(a, b)
    assert together.shape == (5,)
    singles = [measure(x, y) for x, y in zip(a, b, strict=True)]
    assert singles[0].shape == ()
    np.testing.assert_allclose(together, singles, rtol=1e-12)


def test_eight_levels_in_float32_are_eight_levels():
    a = np.full((1, 3, 3, 3), 100 / 255, dtype=np.float32)
    b = np.full((1, 3, 3, 3), 108 / 255, dtype=np.float32)
    np.testing.assert_allclose(linf(a, b), 8 / 255, atol=1e-7)


@pytest.mark.parametrize("measure", MEASURES)
def test_bad_images_are_refused_with_the_reason(measure):
    bare = getattr(plain(fidelity), measure.__name__)
    good = np.full((2, 16, 16, 3), 0.5)
    with pytest.raises(ValueError, match="one shape"):
        bare(good, good[:1])
    with pytest.raises(TypeError, match="divide 8-bit images by 255"):
        bare(good, np.zeros(good.shape, np.uint8))
    with pytest.raises(ValueError, match=r"\(\.\.\., h, w, 3\)"):
        bare(good.transpose(0, 3, 1, 2), good.transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match="not be empty"):
        bare(good[:0], good[:0])
    for bad in (np.nan, np.inf, -0.01, 255.0):
        with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
            bare(good, np.full(good.shape, bad))
