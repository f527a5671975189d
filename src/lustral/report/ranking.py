"""Which order of defences the data back: paired tests, and ties where they say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lustral.measures import holm, mcnemar
from lustral.report.samples import Samples, common

__all__ = ["SIGNIFICANT", "Place", "rank"]

SIGNIFICANT = 0.05


class Place(NamedTuple):
    """Places ``first`` to ``last`` of a defence; equal for those whose order is not known. ``tests`` is Holm's m."""

    first: int
    last: int
    tests: int


def rank(boards: Sequence[Samples], averages: Sequence[float]) -> list[Place]:
    """Places of the defences of one leaderboard (one suite, one attack).

    All pairs are compared by exact McNemar tests on "broken in at least half of the fresh draws" of the
    images both have, corrected by Holm for the number of pairs. Defences are sorted by average; a line is
    drawn between two neighbours only if every defence above it is significantly better than every defence
    below it, so every order that is printed has p < 0.05.

    Args:
        boards: samples with the column ``broken``, one per defence.
        averages: robust share of each, by which the better one of a pair is told.
    """
    count = len(boards)
    if count < 2:
        return [Place(1, 1, 0)] * count
    order = sorted(range(count), key=lambda row: -averages[row])
    backed = _backed([boards[row] for row in order])
    starts = [0, *(cut for cut in range(1, count) if backed[:cut, cut:].all()), count]
    places = [Place(1, count, 0)] * count
    for start, stop in pairwise(starts):
        for position in range(start, stop):
            places[order[position]] = Place(start + 1, stop, count * (count - 1) // 2)
    return places


def _backed(boards: Sequence[Samples]) -> NDArray[np.bool_]:
    """Whether row i is significantly better than row j, for i before j; True elsewhere."""
    pairs = list(combinations(range(len(boards)), 2))
    tests = [_compare(boards[a], boards[b]) for a, b in pairs]
    adjusted = holm(np.array([p for p, _ in tests]))
    backed = np.ones((len(boards), len(boards)), dtype=bool)
    for (a, b), (_, better), p in zip(pairs, tests, adjusted, strict=True):
        backed[a, b] = better and p < SIGNIFICANT
    return backed


def _compare(a: Samples, b: Samples) -> tuple[float, bool]:
    images = common((a, b))
    if not images:
        return 1.0, False
    test = mcnemar(*(part.take(images).flags("broken").mean(axis=1) >= 0.5 for part in (a, b)))
    return test.p, test.only_b > test.only_a
