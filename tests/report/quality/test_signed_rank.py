"""The signed-rank test against the slow one and against an enumeration of all signs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy

from lustral.measures import wilcoxon_one_sided
from lustral.report.quality.signed_rank import signed_rank


@pytest.mark.parametrize("n", [5, 30, 80])
def test_without_ties_it_is_the_other_one(n: int):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=n), rng.normal(0.3, size=n)
    assert signed_rank(x, y) == pytest.approx((wilcoxon_one_sided(x, y, "less"), wilcoxon_one_sided(x, y, "greater")))


def test_ties_are_exact_given_the_ranks():
    x = np.array([1.0, 2.0, 2.0, -2.0, 5.0, -1.0, 0.0, 3.0])
    ranks = scipy.stats.rankdata(np.abs(x[x != 0]))
    sums = np.array([ranks[np.array(signs, dtype=bool)].sum() for signs in product((0, 1), repeat=len(ranks))])
    seen = ranks[x[x != 0] > 0].sum()
    assert signed_rank(x, np.zeros(8)) == pytest.approx((np.mean(sums <= seen), np.mean(sums >= seen)))


def test_many_ties_follow_the_normal_approximation():
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 5, 200).astype(float)
    wanted = tuple(wilcoxon_one_sided(x, np.zeros(200), side) for side in ("less", "greater"))
    assert signed_rank(x, np.zeros(200)) == pytest.approx(wanted)


def test_equal_scores_are_no_evidence():
    assert signed_rank(np.ones(9), np.ones(9)) == (1.0, 1.0)
