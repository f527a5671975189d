from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lustral.measures import (
    bonferroni,
    friedman,
    holm,
    kruskal_wallis,
    mcnemar,
    mcnemar_exact,
    pareto_front,
    statistics,
    wilcoxon_one_sided,
)
from tests.measures import plain


def test_mcnemar_equals_the_binomial_test():
    assert mcnemar_exact(0, 0) == 1
    for b, c in product(range(13), repeat=2):
        if b + c:
            assert mcnemar_exact(b, c) == pytest.approx(stats.binomtest(b, b + c).pvalue, rel=1e-12)
    assert mcnemar_exact(np.int64(300), 341) == pytest.approx(stats.binomtest(300, 641).pvalue, rel=1e-9)
    with pytest.raises(ValueError, match="must not be negative"):
        mcnemar_exact(-1, 3)


def test_mcnemar_counts_discordant_images():
    a = np.array([True, True, True, False, False, True])
    b = np.array([True, False, False, True, False, False])
    assert mcnemar(a, b) == (3, 1, 0.625)
    assert mcnemar(b, a) == (1, 3, 0.625)
    for bad in (a[:3], a.astype(float)):
        with pytest.raises(ValueError, match="two boolean arrays"):
            plain(statistics).mcnemar(a, bad)


def test_mcnemar_has_the_power_that_the_protocol_quotes():
    """512 images, 15 % discordant: a gap of 5 points is found with power 0.79, one of 2 points with 0.18."""
    for gap, power in ((0.05, 0.79), (0.02, 0.18)):
        rng = np.random.default_rng(0)
        cells = rng.multinomial(512, [(0.15 + gap) / 2, (0.15 - gap) / 2, 0.85], size=2000)
        found = np.mean([mcnemar_exact(b, c) < 0.05 for b, c, _ in cells])
        assert found == pytest.approx(power, abs=0.04)


@pytest.mark.parametrize("zero_method", ["wilcox", "pratt", "zsplit"])
@pytest.mark.parametrize("alternative", ["less", "greater"])
def test_wilcoxon_equals_scipy(zero_method, alternative):
    rng = np.random.default_rng(0)
    x, y = np.round(rng.normal(size=(2, 80)), 1)
    y[:9] = x[:9]
    expected = stats.wilcoxon(x, y, zero_method=zero_method, alternative=alternative).pvalue
    assert wilcoxon_one_sided(x, y, alternative, zero_method) == pytest.approx(expected, rel=1e-12)


def test_wilcoxon_by_enumeration_of_signs():
    x, y = np.array([1.0, 5.0, 3.0, 9.0, 2.0]), np.array([2.0, 7.0, 6.0, 5.0, 7.0])
    ranks = np.array([1, 2, 3, 4, 5])  # of |x - y| = 1, 2, 3, 4, 5; only the fourth difference is positive
    sums = [sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign) for signs in product((0, 1), repeat=5)]
    assert wilcoxon_one_sided(x, y, "less") == pytest.approx(np.mean(np.array(sums) <= 4))
    assert wilcoxon_one_sided(x, y, "greater") == pytest.approx(np.mean(np.array(sums) >= 4))


@pytest.mark.parametrize("zero_method", ["wilcox", "pratt", "zsplit"])
def test_equal_scores_are_no_evidence(zero_method):
    x = np.linspace(0, 1, 30)
    for alternative in ("less", "greater"):
        assert wilcoxon_one_sided(x, x.copy(), alternative, zero_method) == 1


def test_wilcoxon_refuses_scores_that_are_not_paired_or_finite():
    bare = plain(statistics).wilcoxon_one_sided
    for x, y in ((np.ones(3), np.ones(4)), (np.ones(0), np.ones(0))):
        with pytest.raises(ValueError, match="same images"):
            bare(x, y, "less")
    with pytest.raises(ValueError, match="finite"):
        bare(np.array([1.0, np.nan]), np.ones(2), "less")


def test_corrections_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(bonferroni(p), [0.04, 0.16, 0.12, 0.02])
    np.testing.assert_allclose(holm(p), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(bonferroni(p, m=50), [0.5, 1, 1, 0.25])
    np.testing.assert_allclose(holm(p, m=10), [0.09, 0.28, 0.24, 0.05])
    assert holm(np.array([])).tolist() == []


p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8).map(np.array)


def _rejected_by_holm(p, m: int, level: float):
    """Holm's procedure as it is told: walk up the sorted p-values and stop at the first that fails."""
    rejected = np.zeros(len(p), dtype=bool)
    for place, row in enumerate(np.argsort(p, kind="stable")):
        if p[row] * (m - place) > level:
            break
        rejected[row] = True
    return rejected


@given(p_values, st.integers(0, 5), st.sampled_from([0.01, 0.05, 0.5]))
def test_holm_rejects_what_the_step_down_procedure_rejects(p, more, level):
    m = len(p) + more
    adjusted = holm(p, m)
    np.testing.assert_array_equal(adjusted <= level, _rejected_by_holm(p, m, level))
    assert (p <= adjusted).all()
    assert (adjusted <= bonferroni(p, m)).all()


@given(p_values, p_values)
def test_holm_of_a_part_with_the_whole_m_is_never_bolder_than_of_the_whole(part, rest):
    whole = holm(np.concatenate([part, rest]))[: len(part)]
    assert (holm(part, m=len(part) + len(rest)) >= whole - 1e-15).all()


@pytest.mark.parametrize("correct", [bonferroni, holm])
def test_corrections_refuse_what_is_not_a_family(correct):
    for p in ([0.5, 1.5], [-0.1], [np.nan]):
        with pytest.raises(ValueError, match=r"numbers in \[0, 1\]"):
            correct(np.array(p))
    with pytest.raises(ValueError, match="whole family of tests, at least 3"):
        correct(np.full(3, 0.5), m=2)


def test_kruskal_wallis_equals_scipy_and_survives_equal_scores():
    rng = np.random.default_rng(0)
    groups = [np.round(rng.normal(size=n), 1) for n in (10, 20, 15)]
    expected = stats.kruskal(*groups)
    assert kruskal_wallis(groups) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)
    assert kruskal_wallis([np.ones(4), np.ones(5)]) == (0.0, 1.0)
    bare = plain(statistics).kruskal_wallis
    for bad in ([np.ones(3)], [np.ones(3), np.ones(0)]):
        with pytest.raises(ValueError, match="at least 2 groups"):
            bare(bad)
    with pytest.raises(ValueError, match="finite"):
        bare([np.ones(3), np.full(3, np.nan)])


def test_friedman_equals_scipy_and_survives_equal_scores():
    values = np.round(np.random.default_rng(0).normal(size=(12, 4)), 1)
    expected = stats.friedmanchisquare(*values.T)
    assert friedman(values) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)
    assert friedman(np.repeat([[1.0], [2.0]], 3, axis=1)) == (0.0, 1.0)
    bare = plain(statistics).friedman
    for bad in (np.ones((1, 3)), np.ones((3, 2)), np.ones(3)):
        with pytest.raises(ValueError, match="at least 2 blocks of at least 3 treatments"):
            bare(bad)
    with pytest.raises(ValueError, match="finite"):
        bare(np.array([[1.0, 2.0, np.nan], [1.0, 2.0, 3.0]]))


def test_friedman_sees_a_shift_that_differences_between_blocks_hide_from_kruskal_wallis():
    random = np.random.default_rng(1)
    values = 10 * random.normal(size=(20, 1)) + np.array([0.0, 0.0, 1.0]) + 0.3 * random.normal(size=(20, 3))
    assert friedman(values).p < 1e-4
    assert kruskal_wallis(list(values.T)).p > 0.5


values = st.sampled_from([0.0, 1.0, 2.0, 3.0, np.inf, np.nan])


@given(st.lists(st.tuples(values, values, values), max_size=12), st.tuples(*[st.booleans()] * 3))
def test_pareto_front_equals_brute_force(rows, maximise):
    points = np.array(rows, dtype=float).reshape(-1, 3)

    def beats(a, b):
        gains = [(x - y if up else y - x) if x != y else 0.0 for x, y, up in zip(a, b, maximise, strict=True)]
        return all(gain >= 0 for gain in gains) and any(gain > 0 for gain in gains)

    whole = [not any(np.isnan(row)) for row in rows]
    expected = [
        usable and not any(beats(other, row) for other, fine in zip(rows, whole, strict=True) if fine)
        for row, usable in zip(rows, whole, strict=True)
    ]
    assert pareto_front(points, maximise).tolist() == expected


def test_pareto_front_keeps_ties_and_checks_directions():
    points = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 2.0], [0.0, 1.0]])
    assert pareto_front(points, (True, True)).tolist() == [True, True, True, False]
    with pytest.raises(ValueError, match="one direction per column"):
        pareto_front(points, (True,))


def _false_ranking_share(p_value_of_pair, boards: int, defences: int, images: int, sample) -> float:
    """Share of boards of identical defences on which at least one order would be printed."""
    rng = np.random.default_rng(11)
    pairs = list(combinations(range(defences), 2))
    false = 0
    for _ in range(boards):
        table = sample(rng, (defences, images))
        p = np.array([p_value_of_pair(table[i], table[j]) for i, j in pairs])
        false += bool((holm(p) < 0.05).any())
    return false / boards


def test_identical_classifier_defences_are_rarely_ranked():
    share = _false_ranking_share(
        lambda a, b: mcnemar(a, b).p, 1000, 6, 512, lambda rng, shape: rng.random(shape) < rng.random(shape[1])
    )
    assert share <= 0.05


def test_identical_quality_defences_are_rarely_ranked():
    def smaller_one_sided(a, b):
        return min(1.0, 2 * min(wilcoxon_one_sided(a, b, "less"), wilcoxon_one_sided(a, b, "greater")))

    boards = 200
    share = _false_ranking_share(smaller_one_sided, boards, 4, 60, lambda rng, shape: rng.exponential(size=shape))
    assert share * boards <= stats.binom.ppf(0.99, boards, 0.05)  # the test is exact: its rate is near 5 %
