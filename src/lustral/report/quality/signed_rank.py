"""Both one-sided p-values of the Wilcoxon signed-rank test at once, exact for few images even where ranks are tied."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

__all__ = ["signed_rank"]

Doubles = NDArray[np.float64]

_EXACT = 50


def signed_rank(x: Doubles, y: Doubles) -> tuple[float, float]:
    """P-values that paired x tends to lie below y, and above; images that are equal under both are dropped.

    Exact given the ranks for up to 50 images that differ, else the normal approximation with its correction for ties.
    The same as ``lustral.measures.wilcoxon_one_sided`` where that is exact, but a matrix needs thousands of them and
    that one enumerates all signs where ranks are tied.

    Args:
        x: finite scores (n,).
        y: of the same images (n,).

    >>> signed_rank(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    (0.125, 1.0)
    """
    difference = x - y
    difference = difference[difference != 0]
    if not len(difference):
        return 1.0, 1.0
    doubled = np.rint(2 * scipy.stats.rankdata(np.abs(difference))).astype(np.int64)
    above = int(doubled[difference > 0].sum())
    if len(doubled) <= _EXACT:
        below = _distribution(tuple(sorted(doubled.tolist())))
        # All sums are symmetric about their mean: at least ``above`` is at most the rest.
        return float(below[above]), float(below[int(doubled.sum()) - above])
    n = len(doubled)
    ties = np.unique(doubled, return_counts=True)[1].astype(np.float64)
    variance = n * (n + 1) * (2 * n + 1) / 24 - float((ties**3 - ties).sum()) / 48
    z = (above / 2 - n * (n + 1) / 4) / math.sqrt(variance)
    return float(scipy.special.ndtr(z)), float(scipy.special.ndtr(-z))


@lru_cache(maxsize=1024)
def _distribution(doubled: tuple[int, ...]) -> Doubles:
    """Probability that the sum of the ranks with a positive sign is at most s / 2, for every s."""
    chance = np.zeros(sum(doubled) + 1)
    chance[0] = 1.0
    for rank in doubled:
        chance[rank:] = (chance[rank:] + chance[:-rank]) / 2
        chance[:rank] /= 2
    return np.minimum(1.0, chance.cumsum())
