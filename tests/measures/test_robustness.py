from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lustral.measures import d_score, d_score_defended, d_terms, r_score, r_score_defended, r_terms, robustness
from tests.measures import plain

CLEAN = np.array([2.0, 5.0, 9.0])
PURIFIED_CLEAN = np.array([3.0, 5.0, 8.0])
PURIFIED_ATTACKED = np.array([4.0, 5.5, 8.1])
BOUNDS = (0.0, 10.0)


def test_d_by_hand():
    assert d_score(CLEAN, PURIFIED_ATTACKED, BOUNDS) == pytest.approx(100 * (2 + 0.5 + 0.9) / 3 / 10)
    assert d_score_defended(PURIFIED_CLEAN, PURIFIED_ATTACKED, BOUNDS) == pytest.approx(100 * (1 + 0.5 + 0.1) / 3 / 10)
    np.testing.assert_allclose(d_terms(CLEAN, PURIFIED_ATTACKED, BOUNDS), [20, 5, 9])


def test_r_by_hand():
    expected = (math.log10(8 / 2) + math.log10(5 / 0.5) + math.log10(9 / 0.9)) / 3
    result = r_score(CLEAN, PURIFIED_ATTACKED, BOUNDS)
    assert result.value == pytest.approx(expected, abs=1e-5)
    assert result.capped == result.value
    assert (result.tie_fraction, result.n) == (0.0, 3)


def test_r_defended_by_hand_in_both_readings():
    both = (math.log10(7 / 1) + math.log10(5 / 0.5) + math.log10(8 / 0.1)) / 3
    below = (math.log10(8 / 1) + math.log10(5 / 0.5) + math.log10(9 / 0.1)) / 3
    assert r_score_defended(PURIFIED_CLEAN, PURIFIED_ATTACKED, BOUNDS).value == pytest.approx(both, abs=1e-5)
    other = r_score_defended(PURIFIED_CLEAN, PURIFIED_ATTACKED, BOUNDS, numerator_scores=CLEAN)
    assert other.value == pytest.approx(below, abs=1e-5)


def test_an_exact_tie_contributes_about_seven_and_the_cap_limits_it():
    result = r_score(np.array([8.0, 5.0]), np.array([8.0, 6.0]), (0.0, 11.0))
    assert r_terms(np.array([8.0]), np.array([8.0]), (0.0, 11.0))[0] == pytest.approx(math.log10(8e6))  # 6.90
    assert result.tie_fraction == 0.5
    assert result.value == pytest.approx((math.log10(8e6) + math.log10(6)) / 2, abs=1e-6)
    assert result.capped == pytest.approx((3 + math.log10(6)) / 2, abs=1e-6)


def test_published_r_of_quantised_scores_needs_base_ten_and_this_epsilon():
    """Table of certified defences: DDRS has D = 1.20, R = 6.21 on class numbers 0 to 11; DP 1.09 and 6.20."""
    rng = np.random.default_rng(0)
    clean = rng.integers(3, 10, 100_000).astype(float)
    moved = rng.random(len(clean)) < 0.012 * 11  # every move is one class: D = 100 * share / 11
    attacked = clean + moved
    result = r_score(clean, attacked, (0.0, 11.0))
    assert d_score(clean, attacked, (0.0, 11.0)) == pytest.approx(1.20, abs=0.03)
    assert result.value == pytest.approx(6.21, abs=0.25)
    natural = result.value * math.log(10)
    rescaled = r_score(clean / 11, attacked / 11, (0.0, 1.0)).value
    assert natural > 13
    assert rescaled < 5.6
    assert result.tie_fraction == pytest.approx(1 - 0.132, abs=0.01)


def test_r_depends_on_the_scale_of_the_scores_only_through_ties():
    def both(attacked):
        one = r_score(CLEAN, attacked, BOUNDS)
        hundred = r_score(100 * CLEAN, 100 * attacked, (0.0, 1000.0))
        return one, hundred

    one, hundred = both(PURIFIED_ATTACKED)
    assert hundred.value == pytest.approx(one.value, abs=1e-4)
    one, hundred = both(CLEAN)
    assert hundred.value == pytest.approx(one.value + 2)
    assert hundred.capped == one.capped == 3.0


def test_order_of_the_bounds_does_not_matter():
    assert d_score(CLEAN, PURIFIED_ATTACKED, (10.0, 0.0)) == d_score(CLEAN, PURIFIED_ATTACKED, BOUNDS)
    assert r_score(CLEAN, PURIFIED_ATTACKED, (10.0, 0.0)) == r_score(CLEAN, PURIFIED_ATTACKED, BOUNDS)


def test_a_score_outside_the_bounds_gains_nothing():
    assert r_terms(np.array([50.0]), np.array([50.0]), BOUNDS)[0] == pytest.approx(math.log10(10 / 1e-6))


def test_single_precision_scores_and_whole_bounds_give_the_same():
    clean, attacked = CLEAN.astype(np.float32), PURIFIED_ATTACKED.astype(np.float32)
    double_clean, double_attacked = clean.astype(np.float64), attacked.astype(np.float64)
    assert r_score(clean, attacked, (0, 10), cap=3) == r_score(double_clean, double_attacked, BOUNDS)
    assert d_score(clean, attacked, (0, 10)) == d_score(double_clean, double_attacked, BOUNDS)


def test_ties_include_moves_within_epsilon():
    clean = np.full(4, 5.0)
    attacked = clean + np.array([0.0, 1e-9, -1e-9, 1e-3])
    assert r_score(clean, attacked, BOUNDS).tie_fraction == 0.75
    assert r_score(clean, attacked, BOUNDS, epsilon=1e-2).tie_fraction == 1.0


scores = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=20).map(np.array)


@given(scores)
def test_ranges_for_all_scores_inside_the_bounds(pairs):
    clean, attacked = pairs[:, 0].copy(), pairs[:, 1].copy()
    assert 0 <= d_score(clean, attacked, BOUNDS) <= 100
    result = r_score(clean, attacked, BOUNDS)
    assert -1e-6 <= result.capped <= result.value <= 7 + 1e-12
    assert result.capped <= 3


def test_bad_scores_and_bounds_are_refused():
    module = plain(robustness)
    for bare in (module.d_score, module.d_score_defended, module.r_score, module.r_score_defended):
        with pytest.raises(ValueError, match="one length"):
            bare(CLEAN, CLEAN[:2], BOUNDS)
        with pytest.raises(ValueError, match="at least 1"):
            bare(CLEAN[:0], CLEAN[:0], BOUNDS)
        with pytest.raises(ValueError, match="finite"):
            bare(CLEAN, np.array([1.0, np.nan, 2.0]), BOUNDS)
        for bounds in ((1.0, 1.0), (0.0, math.inf), (math.nan, 1.0)):
            with pytest.raises(ValueError, match="two different finite numbers"):
                bare(CLEAN, CLEAN, bounds)
    with pytest.raises(ValueError, match="epsilon must be positive"):
        r_score(CLEAN, CLEAN, BOUNDS, epsilon=0.0)
