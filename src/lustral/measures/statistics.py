"""Is a difference between defences real: paired tests, corrections for many tests, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, Literal, NamedTuple, SupportsIndex

import numpy as np
import scipy
from jaxtyping import Bool, Float
from numpy.typing import NDArray

__all__ = [
    "Friedman",
    "KruskalWallis",
    "McNemar",
    "bonferroni",
    "friedman",
    "holm",
    "kruskal_wallis",
    "mcnemar",
    "mcnemar_exact",
    "pareto_front",
    "wilcoxon_one_sided",
]

PValues = Float[np.ndarray, " tests"]
Scores = Float[np.ndarray, " n"]
Broken = Bool[np.ndarray, " n"]
Points = Float[np.ndarray, "n d"]
Front = Bool[np.ndarray, " n"]
Group = Float[np.ndarray, " _"]
Blocks = Float[np.ndarray, "blocks treatments"]


class McNemar(NamedTuple):
    """Paired comparison of two defences on the same images.

    Attributes:
        only_a: images broken under a and not under b.
        only_b: images broken under b and not under a.
        p: two-sided exact p-value.
    """

    only_a: int
    only_b: int
    p: float


class KruskalWallis(NamedTuple):
    """H statistic and p-value of a Kruskal-Wallis test."""

    statistic: float
    p: float


class Friedman(NamedTuple):
    """Chi-square statistic and p-value of a Friedman test."""

    statistic: float
    p: float


def mcnemar_exact(b: SupportsIndex, c: SupportsIndex) -> float:
    """Two-sided exact McNemar p-value from the two discordant counts; 1 if nothing is discordant.

    Raises:
        ValueError: a count is negative.

    >>> mcnemar_exact(0, 5)
    0.0625
    """
    fewer, more = sorted((index(b), index(c)))
    if fewer < 0:
        raise ValueError(f"discordant counts must not be negative, got {index(b)} and {index(c)}")
    return min(1.0, 2 * float(scipy.special.bdtr(fewer, fewer + more, 0.5)))


def mcnemar(broken_a: Broken, broken_b: Broken) -> McNemar:
    """Exact McNemar test on the same images under two defences.

    Raises:
        ValueError: not two boolean arrays of one length.
    """
    if broken_a.ndim != 1 or broken_a.shape != broken_b.shape or {broken_a.dtype, broken_b.dtype} != {np.dtype(bool)}:
        raise ValueError(
            f"expected two boolean arrays over the same images, got {broken_a.dtype} {broken_a.shape} "
            f"and {broken_b.dtype} {broken_b.shape}"
        )
    only_a = int(np.sum(broken_a & ~broken_b))
    only_b = int(np.sum(broken_b & ~broken_a))
    return McNemar(only_a, only_b, mcnemar_exact(only_a, only_b))


def wilcoxon_one_sided(
    x: Scores,
    y: Scores,
    alternative: Literal["less", "greater"],
    zero_method: Literal["wilcox", "pratt", "zsplit"] = "wilcox",
) -> float:
    """P-value of the one-sided Wilcoxon signed-rank test on paired scores.

    Args:
        x: scores under the first defence (n,).
        y: scores of the same images under the second (n,).
        alternative: "less" asks whether x tends to lie below y (for D), "greater" above (for PSNR).
        zero_method: what to do with images that are equal under both. "wilcox" drops them. State it: on
            rounded scores the choice can move p by 0.1 and more.

    Returns:
        p in [0, 1]; 1 if all pairs are equal, which is no evidence.

    Source: paper 000, appendix A.9.
    Differs: the paper does not state the zero method, nor the number of tests it corrects for; pass the
        p-values of a whole table to ``holm`` or ``bonferroni`` with its m.

    Raises:
        ValueError: lengths differ, no pairs, or scores that are not finite.
    """
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise ValueError(f"expected scores of the same images, got shapes {x.shape} and {y.shape}")
    difference = x.astype(np.float64) - y.astype(np.float64)
    if not np.isfinite(difference).all():
        raise ValueError("scores must be finite; drop the image from both sides and say how many")
    if not difference.any():
        return 1.0
    return float(scipy.stats.wilcoxon(difference, zero_method=zero_method, alternative=alternative).pvalue)


def bonferroni(p: PValues, m: int | None = None) -> PValues:
    """P-values times the number of tests, at most 1, in the order given.

    Args:
        p: p-values (tests,).
        m: number of tests of the whole family, stated beside the table; the number of p-values if None.

    Raises:
        ValueError: p outside [0, 1] or NaN, or m below the number of p-values.

    >>> bonferroni(np.array([0.01, 0.04]), m=30).round(6).tolist()
    [0.3, 1.0]
    """
    return np.minimum(1.0, p * _family(p, m))


def holm(p: PValues, m: int | None = None) -> PValues:
    """Holm's step-down p-values, never larger than Bonferroni's, in the order given.

    Args:
        p: p-values (tests,).
        m: number of tests of the whole family. If it exceeds the number of p-values, the missing ones are
            taken to be larger than all given, which can only make the result more careful.

    Raises:
        ValueError: p outside [0, 1] or NaN, or m below the number of p-values.

    >>> holm(np.array([0.04, 0.01, 0.03])).round(6).tolist()
    [0.06, 0.03, 0.06]
    """
    order = np.argsort(p, kind="stable")
    multipliers = _family(p, m) - np.arange(len(p))
    stepped = np.minimum(1.0, np.maximum.accumulate(p[order] * multipliers))
    adjusted = np.empty(len(p))
    adjusted[order] = stepped
    return adjusted


def kruskal_wallis(groups: Sequence[Group]) -> KruskalWallis:
    """Do independent groups of scores come from one distribution; p = 1 if all scores are equal.

    Used to ask whether a result depends on which images were sampled.

    Source: paper 000, appendix A.2 (ten samples of 50 images).

    Raises:
        ValueError: fewer than two groups, an empty group, or scores that are not finite.
    """
    if len(groups) < 2 or any(group.ndim != 1 or group.size == 0 for group in groups):
        raise ValueError(f"expected at least 2 groups of scores, none empty, got {[group.shape for group in groups]}")
    everything = np.concatenate(list(groups))
    if not np.isfinite(everything).all():
        raise ValueError("scores must be finite; drop images without a score and say how many")
    if np.ptp(everything) == 0:
        return KruskalWallis(0.0, 1.0)
    result = scipy.stats.kruskal(*groups)
    return KruskalWallis(float(result.statistic), float(result.pvalue))


def friedman(values: Blocks) -> Friedman:
    """Do treatments, compared within every block, rank alike; p = 1 if no block tells them apart.

    P comes from the chi-square distribution, which is rough below about ten blocks.

    Args:
        values: one row per block, one column per treatment. Blocks are taken to be independent.

    Source: Friedman 1937, doi:10.1080/01621459.1937.10503522.

    Raises:
        ValueError: fewer than two blocks or three treatments, or scores that are not finite.
    """
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 3:
        raise ValueError(f"expected at least 2 blocks of at least 3 treatments, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite; drop blocks without a score and say how many")
    if not np.ptp(values, axis=1).any():
        return Friedman(0.0, 1.0)
    result = scipy.stats.friedmanchisquare(*values.T)
    return Friedman(float(result.statistic), float(result.pvalue))


def pareto_front(points: Points, maximise: Sequence[bool]) -> Front:
    """Which rows no other row beats: at least as good everywhere and better somewhere.

    Equal rows stay or go together. A row with a NaN is never on the front and beats nothing.

    Args:
        points: one row per defence, one column per goal (n, d).
        maximise: per column, whether more is better.

    Raises:
        ValueError: ``maximise`` does not have one entry per column.

    >>> points = np.array([[0.9, 10.0], [0.9, 20.0], [0.5, 5.0]])  # robust accuracy, milliseconds
    >>> pareto_front(points, maximise=(True, False)).tolist()
    [True, False, True]
    """
    if points.ndim != 2 or len(maximise) != points.shape[1]:
        raise ValueError(f"expected one direction per column of (n, d), got {len(maximise)} for shape {points.shape}")
    goals = np.where(np.array(maximise, dtype=bool), points, -points)
    on_front = np.asarray(~np.isnan(goals).any(axis=1))
    for row in np.flatnonzero(on_front):
        as_good = (goals >= goals[row]).all(axis=1)
        better = (goals > goals[row]).any(axis=1)
        on_front[row] = not (as_good & better).any()
    return on_front


def _family(p: NDArray[Any], m: int | None) -> int:
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():  # also false for NaN
        raise ValueError(f"p-values must be an array of numbers in [0, 1], got {p}")
    size = len(p) if m is None else m
    if size < len(p):
        raise ValueError(f"m must count the whole family of tests, at least {len(p)} here, got {size}")
    return size
