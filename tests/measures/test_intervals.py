from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lustral.measures import bootstrap_interval, clopper_pearson, paired_interval, srocc, wilson_interval

METHODS = {"wilson": wilson_interval, "exact": clopper_pearson}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.998])
def test_intervals_of_shares_equal_scipy(method, confidence):
    for n in (1, 2, 10, 137):
        for k in range(n + 1):
            expected = stats.binomtest(k, n).proportion_ci(confidence, method=method)
            assert METHODS[method](k, n, confidence) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-12)


def _coverage(interval, n: int, shares):
    """Exact probability that the interval covers, by summing over all outcomes."""
    ends = np.array([interval(k, n) for k in range(n + 1)])
    covered = (ends[:, 0] <= shares[:, None]) & (shares[:, None] <= ends[:, 1])
    return (stats.binom.pmf(np.arange(n + 1), n, shares[:, None]) * covered).sum(axis=1)


@pytest.mark.parametrize("n", [10, 100, 512])
def test_coverage_by_exact_binomial_sums(n):
    shares = np.linspace(0, 1, 203)
    exact = _coverage(clopper_pearson, n, shares)
    wilson = _coverage(wilson_interval, n, shares)
    assert exact.min() >= 0.95 - 1e-12
    assert wilson.mean() == pytest.approx(0.95, abs=0.01)
    assert wilson.min() > 0.83
    assert wilson[exact < 1].mean() < exact[exact < 1].mean()  # what the exact guarantee costs


def test_one_sided_bound_for_certification():
    alpha, n = 0.001, 100
    assert clopper_pearson(n, n, 1 - 2 * alpha).low == pytest.approx(alpha ** (1 / n))
    shares = np.linspace(0, 1, 203)
    bounds = np.array([clopper_pearson(k, n, 1 - 2 * alpha).low for k in range(n + 1)])
    covered = (stats.binom.pmf(np.arange(n + 1), n, shares[:, None]) * (bounds <= shares[:, None])).sum(axis=1)
    assert covered.min() >= 1 - alpha


@pytest.mark.parametrize(("n", "points"), [(100, 9.6), (256, 6.1), (512, 4.3), (1000, 3.1)])
def test_half_widths_that_the_protocol_quotes(n, points):
    low, high = wilson_interval(n // 2, n)
    assert 50 * (high - low) == pytest.approx(points, abs=0.05)


@pytest.mark.parametrize("interval", METHODS.values())
def test_edges_and_counts_from_numpy(interval):
    assert interval(0, 0) == (0.0, 1.0)
    assert interval(0, 20).low == 0.0
    assert interval(20, 20).high == 1.0
    assert interval(np.int64(3), np.int64(20)) == interval(3, 20)
    for arguments in ((5, 4), (-1, 4), (2, 4, 0.0), (2, 4, 95.0)):
        with pytest.raises(ValueError, match=r"expected 0 <= successes|confidence must be"):
            interval(*arguments)


@pytest.mark.parametrize(("method", "theirs"), [("percentile", "percentile"), ("bca", "BCa")])
def test_bootstrap_equals_scipy(method, theirs):
    values = np.random.default_rng(1).exponential(size=40)
    expected = stats.bootstrap(
        (values,), np.mean, vectorized=False, n_resamples=300, method=theirs, random_state=np.random.default_rng(3)
    ).confidence_interval
    assert bootstrap_interval(values, np.mean, 3, 300, method=method) == pytest.approx(tuple(expected), rel=1e-9)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_covers_by_simulation(method):
    rng = np.random.default_rng(5)
    covered = []
    for trial in range(200):
        low, high = bootstrap_interval(rng.exponential(size=80), _mean, seed=trial, draws=200, method=method)
        covered.append(low <= 1 <= high)
    assert 0.90 <= np.mean(covered) <= 0.98  # 95 % nominal, 200 trials, a skewed statistic of 80 rows


def _mean(values):
    return values.sum() / len(values)


def test_bootstrap_keeps_rows_together():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=60)
    table = np.stack([truth, truth + 0.1 * rng.normal(size=60)], axis=1)
    low, high = bootstrap_interval(table, lambda rows: srocc(rows[:, 0], rows[:, 1]), seed=0, draws=200)
    assert 0.95 < low < high <= 1  # shuffled columns would give an interval around 0


def test_bootstrap_is_determined_by_its_seed_and_leaves_global_randomness_alone():
    values = np.random.default_rng(2).normal(size=30)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 looked at, not used
    assert bootstrap_interval(values, np.median, 1, 99) == bootstrap_interval(values, np.median, 1, 99)
    assert bootstrap_interval(values, np.median, 1, 99) != bootstrap_interval(values, np.median, 2, 99)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_of_a_statistic_that_cannot_vary_is_a_point(method):
    assert bootstrap_interval(np.ones(9, dtype=bool), np.mean, 0, 50, method=method) == (1.0, 1.0)


def test_bootstrap_says_nan_where_the_statistic_is_undefined():
    def correlation(rows):
        return srocc(rows[:, 0], rows[:, 1])

    constant = np.stack([np.arange(20.0), np.ones(20)], axis=1)
    assert all(math.isnan(end) for end in bootstrap_interval(constant, correlation, 0, 40))
    nearly = constant.copy()
    nearly[0, 1] = 2.0  # about a third of the resamples miss this row
    assert all(math.isnan(end) for end in bootstrap_interval(nearly, correlation, 0, 40))


def test_bootstrap_refuses_what_it_cannot_do():
    for values, draws in ((np.ones(1), 10), (np.ones(5), 0)):
        with pytest.raises(ValueError, match="at least 2 rows and 1 draw"):
            bootstrap_interval(values, np.mean, 0, draws)
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_interval(np.ones(5), np.mean, 0, 10, confidence=95.0)


@pytest.mark.parametrize(("only_a", "only_b"), [(0.05, 0.05), (0.3, 0.1), (0.02, 0.0), (0.5, 0.2)])
def test_coverage_of_paired_differences_by_exact_multinomial_sums(only_a, only_b):
    n = 40
    covered = 0.0
    for a in range(n + 1):
        for b in range(n + 1 - a):
            low, high = paired_interval(np.repeat([1.0, -1.0, 0.0], [a, b, n - a - b]))
            chance = stats.multinomial.pmf([a, b, n - a - b], n, [only_a, only_b, 1 - only_a - only_b])
            covered += chance * (low <= only_a - only_b <= high)
    assert covered >= 0.935


def test_a_paired_interval_has_a_width_where_no_image_differs_and_narrows_with_averages():
    low, high = paired_interval(np.zeros(100))
    assert low == pytest.approx(-high)
    assert 0.01 < high < 0.04
    whole = paired_interval(np.array([1.0, -1.0] * 50))
    halves = paired_interval(np.array([0.5, -0.5] * 50))
    assert whole.low < halves.low < 0 < halves.high < whole.high
    assert paired_interval(np.zeros(0)) == (-1.0, 1.0)
    with pytest.raises(ValueError, match="must be in"):
        paired_interval(np.array([0.0, np.nan]))
