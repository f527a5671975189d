from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from lustral.measures import correlation, krocc, plcc, srocc
from tests.measures import plain

REFERENCES = {srocc: stats.spearmanr, krocc: stats.kendalltau, plcc: stats.pearsonr}


def _scores(seed: int, levels: int | None):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=60)
    predicted = truth + rng.normal(size=60)
    return (predicted, truth) if levels is None else (np.round(predicted * levels), np.round(truth * levels))


@pytest.mark.parametrize("measure", REFERENCES)
@pytest.mark.parametrize("levels", [None, 3, 1], ids=["no ties", "ties", "many ties"])
def test_equals_scipy_with_and_without_ties(measure, levels):
    for seed in range(20):
        predicted, truth = _scores(seed, levels)
        assert abs(measure(predicted, truth) - REFERENCES[measure](predicted, truth).statistic) < 1e-12


def test_hand_computed_values():
    x, y = np.array([1, 2, 3, 4]), np.array([1, 3, 2, 9])
    assert srocc(x, y) == pytest.approx(1 - 6 * 2 / (4 * 15), abs=1e-12)
    assert krocc(x, y) == pytest.approx((5 - 1) / 6, abs=1e-12)
    assert plcc(x, y) == pytest.approx(11.5 / math.sqrt(5 * 38.75), abs=1e-12)


@pytest.mark.parametrize("measure", [*REFERENCES, lambda x, y: plcc(x, y, fit="logistic4")])
def test_a_constant_side_gives_nan(measure):
    moving, still = np.arange(8.0), np.full(8, 0.1)
    assert math.isnan(measure(moving, still))
    assert math.isnan(measure(still, moving))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
@pytest.mark.parametrize("sign", [1, -1])
def test_logistic_fit_undoes_a_logistic_distortion(scale, sign):
    x = np.random.default_rng(0).uniform(0, 100, 80)
    truth = scale * (1 + 4 / (1 + np.exp(-(x - 60) / 7)))
    assert plcc(sign * x, truth, fit="logistic4") == pytest.approx(1, abs=1e-9)
    assert abs(plcc(sign * x, truth)) < 0.97


def test_logistic_fit_finds_the_optimum_of_an_independent_fit():
    rng = np.random.default_rng(1)
    x = rng.uniform(-3, 3, 100)
    truth = 2 * np.tanh(x) + 0.5 * rng.normal(size=100)

    def curve(v, low, high, centre, width):
        return low + (high - low) / (1 + np.exp(-(v - centre) / width))

    found, _ = optimize.curve_fit(curve, x, truth, p0=[-2, 2, 0, 0.5])
    expected = stats.pearsonr(curve(x, *found), truth).statistic
    assert plcc(x, truth, fit="logistic4") == pytest.approx(expected, abs=1e-6)


def test_logistic_fit_of_a_line_or_a_step_is_no_worse_than_none():
    x = np.arange(30.0)
    assert plcc(x, 3 * x - 1, fit="logistic4") == pytest.approx(1, abs=1e-6)
    assert plcc(x, (x > 11).astype(float), fit="logistic4") == pytest.approx(1, abs=1e-6)


def test_logistic_fit_of_unrelated_scores_is_near_the_best_of_a_dense_search():
    for seed in range(6):
        x, y = np.random.default_rng(seed).normal(size=(2, 30))
        dense = max(
            abs(plcc(1 / (1 + np.exp(-(x - centre) / width)), y))
            for centre in np.linspace(x.min(), x.max(), 60)
            for width in (0.02, 0.1, 0.3, 1.0, 3.0, 100.0)
        )
        assert plcc(x, y, fit="logistic4") >= dense - 0.01


@pytest.mark.parametrize("measure", REFERENCES)
def test_bad_scores_are_refused(measure):
    bare = getattr(plain(correlation), measure.__name__)
    for x, y in ((np.arange(3.0), np.arange(4.0)), (np.ones(1), np.ones(1)), (np.ones((2, 2)), np.ones((2, 2)))):
        with pytest.raises(ValueError, match="two score arrays of one length"):
            bare(x, y)
    with pytest.raises(ValueError, match="predicted scores must be finite"):
        bare(np.array([0.0, np.nan, 1.0]), np.arange(3.0))
    with pytest.raises(ValueError, match="truth scores must be finite"):
        bare(np.arange(3.0), np.array([0.0, np.inf, 1.0]))


def test_logistic_fit_needs_more_scores_than_parameters():
    with pytest.raises(ValueError, match="needs more scores"):
        plcc(np.arange(4.0), np.array([0.0, 1.0, 5.0, 6.0]), fit="logistic4")
