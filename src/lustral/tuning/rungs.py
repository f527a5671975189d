"""Successive halving over several goals: which images a rung takes, and who goes on. No torch here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lustral.bench.plan import Cell
from lustral.measures import pareto_front
from lustral.settings import SettingsError

__all__ = ["GOALS", "RUNGS", "cells_of_rung", "check_chunks", "promote"]

RUNGS = (Fraction(1, 4), Fraction(1, 2), Fraction(1))
"""Shares of the images; every rung holds the images of the one before, so no work is done twice."""

GOALS = (True, True, False)
"""Which of clean, robust and passes is better when it is more."""


def cells_of_rung(cells: Iterable[Cell], share: Fraction) -> tuple[Cell, ...]:
    """The cells of a share of each suite's chunks (rounded up), spread evenly over the suite.

    A data set is in the order of its classes or photographs, so that its first chunks would be no fair sample.
    """
    cells = tuple(cells)
    starts: dict[str, set[int]] = defaultdict(set)
    for cell in cells:
        starts[cell.suite].add(cell.settings["start"])
    taken = {suite: set(_spread(sorted(every))[: math.ceil(share * len(every))]) for suite, every in starts.items()}
    return tuple(cell for cell in cells if cell.settings["start"] in taken[cell.suite])


def _spread(starts: Sequence[int]) -> list[int]:
    """The chunks in van der Corput's order, every prefix of which is spread over the whole."""
    bits = (len(starts) - 1).bit_length()
    order = sorted(range(len(starts)), key=lambda place: f"{place:0{bits}b}"[::-1])
    return [starts[place] for place in order]


def check_chunks(cells: Iterable[Cell], chunk: int) -> None:
    """Refuse to halve what has too few chunks.

    Raises:
        SettingsError: names the suite and what to change.
    """
    starts: dict[str, set[int]] = defaultdict(set)
    for cell in cells:
        starts[cell.suite].add(cell.settings["start"])
    least = max(share.denominator for share in RUNGS)
    for suite, every in starts.items():
        if len(every) < least:
            raise SettingsError(
                f"halving needs at least {least} chunks of images, suite {suite!r} has {len(every)} (chunk = {chunk}); "
                f"take more images or smaller chunks, such as --change chunk={max(1, chunk * len(every) // least)}"
            )


def promote(points: NDArray[np.float64], keep: int) -> list[int]:
    """Rows that go on to the next rung, in ascending order.

    Fronts are peeled off one after the other; of the last one that does not fit as a whole, rows with the largest
    crowding distance go on (they keep the ends of the front: the cheapest, the cleanest, the most robust), then the
    earlier ones. Rows with NaN never go on.

    Args:
        points: clean, robust and passes of every candidate (n, 3).
        keep: how many.

    Source: non-dominated sorting and crowding distance of Deb et al., NSGA-II, IEEE TEVC 6(2), 2002; the share that
        goes on per rung follows successive halving, Jamieson and Talwalkar, AISTATS 2016. Optuna prunes studies of
        one goal only.
    """
    left = np.flatnonzero(~np.isnan(points).any(axis=1))
    chosen: list[int] = []
    while len(left) and len(chosen) < keep:
        on_front = pareto_front(points[left], GOALS)
        front = left[on_front]
        crowding = _crowding(points[front])
        order = sorted(range(len(front)), key=lambda row: (-crowding[row], row))
        chosen += [int(front[row]) for row in order[: keep - len(chosen)]]
        left = left[~on_front]
    return sorted(chosen)


def _crowding(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over goals of the distance between both neighbours, over the range; infinite at the ends."""
    distance = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        width = column[order[-1]] - column[order[0]]
        if width > 0:
            distance[order[[0, -1]]] = np.inf
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / width
    return distance
