"""Promotion and the front against the plain definition of dominance; rungs are nested and spread."""

from __future__ import annotations

import itertools
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from lustral.settings import SettingsError
from lustral.tuning.rungs import RUNGS, cells_of_rung, check_chunks, promote
from lustral.tuning.scores import Estimate, Score
from lustral.tuning.search import Outcome, recommend
from lustral.tuning.space import Candidate

POINTS = np.random.default_rng(5).integers(0, 6, (40, 3)) / 5.0


def beats(a, b):
    """Clean and robust at least as high, passes at most as many, and one of them better."""
    return a[0] >= b[0] and a[1] >= b[1] and a[2] <= b[2] and tuple(a) != tuple(b)


def cells(count, suite="s"):
    return [SimpleNamespace(suite=suite, settings={"start": 4 * place}) for place in range(count)]


def outcome(number, point, state="finished"):
    clean, robust, passes = point
    score = Score(Estimate(clean), Estimate(robust), passes, 8)
    return Outcome(Candidate(number, {}, None, ""), state, (score,))


@pytest.mark.parametrize("keep", [1, 5, 20, 39])
def test_as_many_go_on_as_asked_and_none_that_a_loser_beats(keep):
    chosen = promote(POINTS, keep)
    assert len(chosen) == keep
    losers = [row for row in range(len(POINTS)) if row not in chosen]
    assert not any(beats(POINTS[loser], POINTS[row]) for loser in losers for row in chosen)


def test_both_ends_of_a_front_go_on_and_what_has_no_score_never_does():
    line = np.array([[1 - t, t, 0] for t in np.linspace(0, 1, 9)])
    assert {0, 8} <= set(promote(line, 4))
    line[0] = np.nan
    assert promote(line, 9) == list(range(1, 9))
    assert promote(np.empty((0, 3)), 3) == []


def test_the_front_is_what_nothing_beats():
    marked = recommend([outcome(number, point) for number, point in enumerate(POINTS)], clean_loss=5)
    for found in marked:
        point = found.scores[-1].point
        assert found.on_front == (not any(beats(other, point) for other in POINTS))


@pytest.mark.parametrize("clean_loss", [0, 20, 45, 100])
def test_the_recommended_one_is_the_most_robust_within_the_loss(clean_loss):
    marked = recommend([outcome(number, point) for number, point in enumerate(POINTS)], clean_loss)
    (chosen,) = [found for found in marked if found.recommended]
    allowed = [point for point in POINTS if point[0] >= POINTS[:, 0].max() - clean_loss / 100 - 1e-12]
    robust = max(point[1] for point in allowed)
    ties = [point for point in allowed if point[1] == robust]
    fewest = min(point[2] for point in ties)
    cleanest = max(point[0] for point in ties if point[2] == fewest)
    assert chosen.scores[-1].point == (cleanest, robust, fewest)


def test_only_candidates_that_saw_all_images_compete():
    stopped, finished = outcome(0, (1.0, 1.0, 0), "stopped"), outcome(1, (0.5, 0.5, 9))
    first, second = recommend([stopped, finished], clean_loss=0)
    assert (first.on_front, first.recommended) == (False, False)
    assert (second.on_front, second.recommended) == (True, True)
    assert not any(found.recommended for found in recommend([stopped], clean_loss=0))


@pytest.mark.parametrize("count", [4, 5, 12, 16, 33])
def test_rungs_are_nested_and_spread_over_the_suite(count):
    taken = [[cell.settings["start"] // 4 for cell in cells_of_rung(cells(count), share)] for share in RUNGS]
    assert [len(rung) for rung in taken] == [-(-count * share.numerator // share.denominator) for share in RUNGS]
    for small, large in itertools.pairwise(taken):
        assert set(small) < set(large)
    places = sorted(taken[0])
    gaps = np.diff([*places, places[0] + count])
    assert gaps.max() <= 2 * -(-count // len(places))  # no stretch of the data set is left out


def test_a_suite_is_cut_by_its_own_chunks():
    rung = cells_of_rung(cells(8, "a") + cells(4, "b"), Fraction(1, 4))
    assert sorted(cell.suite for cell in rung) == ["a", "a", "b"]


def test_too_few_chunks_are_refused_with_what_to_change():
    check_chunks(cells(4), 4)
    with pytest.raises(SettingsError, match=r"needs at least 4 chunks of images, suite 's' has 1 .*chunk=16"):
        check_chunks(cells(1), 64)
