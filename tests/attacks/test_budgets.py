"""Sizes of perturbations."""

import math

import numpy as np
import pytest

from lustral.attacks.budgets import l2_of_normalised, normalised_of_l2
from lustral.measures import psnr


@pytest.mark.parametrize("normalised", [0.005, 0.01])
@pytest.mark.parametrize("shape", [(8, 8), (5, 11)])
def test_normalised_l2_is_the_root_mean_square_that_psnr_measures(normalised, shape):
    generator = np.random.default_rng(0)
    x, d = generator.uniform(0.3, 0.7, (1, *shape, 3)), generator.standard_normal((1, *shape, 3))
    moved = x + d * l2_of_normalised(normalised, *shape) / np.linalg.norm(d)
    assert float(psnr(x, moved)[0]) == pytest.approx(-20 * math.log10(normalised), abs=1e-6)


def test_the_two_ways_are_inverse():
    assert normalised_of_l2(l2_of_normalised(0.01, 224, 200), 224, 200) == pytest.approx(0.01)


def test_sizes_are_positive():
    with pytest.raises(ValueError, match="at least 1, got 0 x 5"):
        l2_of_normalised(0.01, 0, 5)
