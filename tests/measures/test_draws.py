from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from lustral.measures import average_broken, draws, majority_broken, worst_of
from tests.measures import plain


@pytest.fixture
def broken():
    return np.random.default_rng(0).random((30, 7)) < np.linspace(0, 1, 30)[:, None]


@pytest.mark.parametrize("m", range(1, 8))
def test_estimators_equal_enumeration_of_all_choices_of_draws(broken, m):
    choices = [broken[:, list(chosen)].sum(axis=1) for chosen in combinations(range(7), m)]
    np.testing.assert_allclose(worst_of(broken, m), np.mean([count >= 1 for count in choices], axis=0), atol=1e-12)
    votes = np.mean([2 * count >= m for count in choices], axis=0)
    np.testing.assert_allclose(majority_broken(broken, m), votes, atol=1e-12)


def test_average_is_the_share_of_broken_draws(broken):
    np.testing.assert_allclose(average_broken(broken), broken.mean(axis=1), atol=1e-12)
    np.testing.assert_array_equal(average_broken(broken), worst_of(broken, 1))


def test_all_draws_leave_nothing_to_chance(broken):
    np.testing.assert_array_equal(worst_of(broken, 7), broken.any(axis=1))
    np.testing.assert_array_equal(majority_broken(broken, 7), broken.sum(axis=1) >= 4)


def test_a_tied_vote_is_broken():
    tie = np.array([[True, False]])
    assert majority_broken(tie, 2).tolist() == [1.0]


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5])
def test_noisy_classifier_of_known_failure_rate(p):
    """Every draw fails with probability p, so ten submissions fail with 1 - (1 - p)^10."""
    images, scored, m = 20_000, 20, 10
    estimate = worst_of(np.random.default_rng(7).random((images, scored)) < p, m)
    truth = 1 - (1 - p) ** m
    assert abs(estimate.mean() - truth) < 2.576 * estimate.std() / np.sqrt(images)  # 99 % of samples
    plug_in = 1 - (1 - np.random.default_rng(7).binomial(scored, p, images) / scored) ** m
    assert plug_in.mean() < truth  # the obvious estimator flatters the defence


def test_more_submissions_never_help_the_defence(broken):
    curve = np.array([worst_of(broken, m) for m in range(1, 8)])
    assert (np.diff(curve, axis=0) >= 0).all()


def test_large_tables_do_not_overflow():
    table = np.zeros((1, 2000), dtype=bool)
    table[0, :3] = True
    assert worst_of(table, 1000)[0] == pytest.approx(1 - 0.5**3, abs=1e-3)


@pytest.mark.parametrize("function", [worst_of, majority_broken])
def test_too_few_draws_are_refused(broken, function):
    for m in (8, 0, -1):
        with pytest.raises(ValueError, match="at most 7 draws"):
            function(broken, m)
    with pytest.raises(ValueError, match="at most 0 draws"):
        average_broken(broken[:, :0])


def test_tables_that_are_not_boolean_are_refused(broken):
    for table in (broken.astype(float), broken[0]):
        with pytest.raises(ValueError, match="boolean table"):
            plain(draws).average_broken(table)
