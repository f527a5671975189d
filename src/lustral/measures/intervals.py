"""Confidence intervals: shares of images, differences of paired shares, and any statistic by the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import index
from typing import Any, Literal, NamedTuple, SupportsFloat, SupportsIndex

import numpy as np
import scipy
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

__all__ = ["Interval", "bootstrap_interval", "clopper_pearson", "paired_interval", "wilson_interval"]

Doubles = NDArray[np.float64]
Rows = Shaped[np.ndarray, "n *columns"]
Differences = Float[np.ndarray, " n"]

_MOST_UNDEFINED = 0.05


class Interval(NamedTuple):
    """Both ends of a confidence interval."""

    low: float
    high: float


def wilson_interval(successes: SupportsIndex, n: SupportsIndex, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a share, the interval printed in tables; ``n = 0`` gives (0, 1).

    Coverage is close to ``confidence`` on average over shares, and may be a few points below it for shares
    near 0 or 1; ``clopper_pearson`` never is.

    Raises:
        ValueError: not 0 <= successes <= n, or confidence outside (0, 1).

    >>> [round(end, 4) for end in wilson_interval(256, 512)]
    [0.4569, 0.5431]
    """
    k, n = _counts(successes, n, confidence)
    if n == 0:
        return Interval(0.0, 1.0)
    z = -float(scipy.special.ndtri((1 - confidence) / 2))
    share = k / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half)


def clopper_pearson(successes: SupportsIndex, n: SupportsIndex, confidence: float = 0.95) -> Interval:
    """Exact interval of a share: covers with at least ``confidence`` for every share; ``n = 0`` gives (0, 1).

    Each end alone is a one-sided bound with error (1 - confidence) / 2: for a lower bound with error alpha,
    as certification needs it, pass ``confidence = 1 - 2 * alpha`` and take ``low``.

    Raises:
        ValueError: not 0 <= successes <= n, or confidence outside (0, 1).

    >>> low, high = clopper_pearson(10, 10)
    >>> round(low, 6), high
    (0.691503, 1.0)
    """
    k, n = _counts(successes, n, confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(scipy.special.betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(scipy.special.betainccinv(k + 1, n - k, tail))
    return Interval(low, high)


def paired_interval(differences: Differences, confidence: float = 0.95) -> Interval:
    """Interval of a difference of two shares over the same images, from the difference of every image.

    Two images are added, one in favour of each side, so that the interval has a width even where no image
    differs; ``n = 0`` gives (-1, 1). Coverage is close to ``confidence``, rarely below it.

    Source: Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions
        based on paired data". Differs: an image's difference may be any number in [-1, 1], such as that of two
        averages over draws; for -1, 0 and 1 the interval is theirs.

    Args:
        differences: share of draws that hold under a, less that under b, per image (n,).
        confidence: in (0, 1).

    Raises:
        ValueError: a difference outside [-1, 1] or NaN, or confidence outside (0, 1).

    >>> low, high = paired_interval(np.array([1.0] * 12 + [-1.0] * 2 + [0.0] * 86))
    >>> round(low, 4), round(high, 4)
    (0.0236, 0.1725)
    """
    _check_confidence(confidence)
    if not (np.abs(differences) <= 1).all():  # also false for NaN
        raise ValueError(f"differences of shares must be in [-1, 1], got {differences}")
    n = len(differences) + 2
    centre = float(differences.sum()) / n
    spread = (float((differences**2).sum()) + 2) / n - centre**2
    half = -float(scipy.special.ndtri((1 - confidence) / 2)) * math.sqrt(spread / n)
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))


def bootstrap_interval(
    values: Rows,
    statistic: Callable[[NDArray[Any]], SupportsFloat],
    seed: int,
    draws: int = 2000,
    confidence: float = 0.95,
    method: Literal["percentile", "bca"] = "percentile",
) -> Interval:
    """Bootstrap interval of ``statistic(values)``; rows are resampled whole, so columns stay paired.

    Resamples on which the statistic is NaN (a correlation with a constant) are left out; if they are more
    than one in twenty, or if the statistic of ``values`` itself is NaN, both ends are NaN.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapters 13 and 14.

    Args:
        values: one row per image (n, ...), for example scores and human scores as two columns.
        statistic: takes an array like ``values`` and returns one number.
        seed: seed of the resampling; equal seeds give equal intervals.
        draws: number of resamples; cost is ``draws`` calls of ``statistic``, and ``n`` more with "bca".
        confidence: in (0, 1).
        method: "percentile", or "bca" (bias corrected and accelerated) for skewed statistics.

    Raises:
        ValueError: fewer than two rows, no draws, or confidence outside (0, 1).

    >>> bootstrap_interval(np.full(5, 0.25), np.mean, seed=0, draws=20)
    Interval(low=0.25, high=0.25)
    """
    _check_confidence(confidence)
    if values.ndim < 1 or len(values) < 2 or draws < 1:
        raise ValueError(f"a bootstrap needs at least 2 rows and 1 draw, got shape {values.shape}, draws={draws}")
    generator = np.random.default_rng(seed)
    n = len(values)
    resampled = np.array([float(statistic(values[generator.integers(n, size=n)])) for _ in range(draws)])
    defined = resampled[~np.isnan(resampled)]
    estimate = float(statistic(values))
    if math.isnan(estimate) or len(defined) < (1 - _MOST_UNDEFINED) * draws:
        return Interval(math.nan, math.nan)
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if method == "bca":
        leave_one_out = np.array([float(statistic(np.delete(values, row, axis=0))) for row in range(n)])
        tails = _bca_tails(tails, defined, estimate, leave_one_out)
    low, high = np.quantile(defined, tails)
    return Interval(float(low), float(high))


def _bca_tails(tails: Doubles, resampled: Doubles, estimate: float, leave_one_out: Doubles) -> Doubles:
    """Quantiles to read instead of ``tails``; unchanged where the correction is not defined."""
    below = (np.mean(resampled < estimate) + np.mean(resampled <= estimate)) / 2
    steps = leave_one_out.mean() - leave_one_out
    spread = np.sum(steps**2)
    if not 0 < below < 1 or not spread > 0:
        return tails
    acceleration = np.sum(steps**3) / (6 * spread**1.5)
    bias = scipy.special.ndtri(below)
    z = bias + scipy.special.ndtri(tails)
    return scipy.special.ndtr(bias + z / (1 - acceleration * z))


def _counts(successes: SupportsIndex, n: SupportsIndex, confidence: float) -> tuple[int, int]:
    k, total = index(successes), index(n)
    if not 0 <= k <= total:
        raise ValueError(f"expected 0 <= successes <= n, got successes={k}, n={total}")
    _check_confidence(confidence)
    return k, total


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), as in 0.95, got {confidence}")
