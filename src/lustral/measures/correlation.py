"""Agreement of predicted scores with human scores: SROCC, PLCC (bare or after a logistic fit), KROCC.

A correlation with a constant is not defined; these functions then return NaN and warn nobody, so that a
metric stuck at one value shows up in a table as NaN. Leave such rows out of means and say how many.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import scipy
from jaxtyping import Real
from numpy.typing import NDArray

__all__ = ["krocc", "plcc", "srocc"]

Scores = Real[np.ndarray, " n"]
Doubles = NDArray[np.float64]

_FIT_PARAMETERS = 4
_WIDEST = 6  # natural logarithm of the width in standard deviations: almost a line


def srocc(predicted: Scores, truth: Scores) -> float:
    """Spearman rank correlation in [-1, 1], ties by average rank; NaN if either side is constant.

    Raises:
        ValueError: lengths differ, fewer than two scores, or scores that are not finite.

    >>> round(srocc(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])), 6)
    0.5
    """
    if _is_degenerate(predicted, truth):
        return math.nan
    return float(scipy.stats.spearmanr(predicted, truth).statistic)


def krocc(predicted: Scores, truth: Scores) -> float:
    """Kendall rank correlation tau-b in [-1, 1]; NaN if either side is constant.

    Raises:
        ValueError: lengths differ, fewer than two scores, or scores that are not finite.
    """
    if _is_degenerate(predicted, truth):
        return math.nan
    return float(scipy.stats.kendalltau(predicted, truth).statistic)


def plcc(predicted: Scores, truth: Scores, fit: Literal["logistic4"] | None = None) -> float:
    """Pearson linear correlation in [-1, 1]; NaN if either side is constant.

    Args:
        predicted: scores of the metric (n,).
        truth: human scores (n,).
        fit: None takes the scores as they are. "logistic4" first maps ``predicted`` to the scale of
            ``truth`` by least squares through ``low + (high - low) / (1 + exp(-(x - centre) / width))``;
            the sign is then lost, because a falling curve fits as well as a rising one.

    Source: VQEG final report on FR-TV, phase I (the four-parameter logistic).
    Differs: the centre stays within the scores and the width below 400 of their standard deviations, which
        is a line; several fixed starts replace the starting values that the report leaves to the user.

    Raises:
        ValueError: lengths differ, fewer than two scores (five with a fit), or scores that are not finite.
    """
    if _is_degenerate(predicted, truth):
        return math.nan
    if fit is None:
        return float(scipy.stats.pearsonr(predicted, truth).statistic)
    if len(predicted) <= _FIT_PARAMETERS:
        raise ValueError(f"a fit of {_FIT_PARAMETERS} parameters needs more scores than that, got {len(predicted)}")
    return _logistic_correlation(predicted.astype(np.float64), truth.astype(np.float64))


def _logistic_correlation(predicted: Doubles, truth: Doubles) -> float:
    """Correlation after the best logistic map.

    The ends of the curve are an affine map, which correlation does not see, so that least squares over
    four parameters is the search for the centre and the width with the largest correlation. It starts
    from several widths, each with its best centre, because noisy scores have many local optima;
    on scores without any relation it can still end up to 0.03 below the best.
    """
    x = (predicted - predicted.mean()) / predicted.std()
    y = (truth - truth.mean()) / np.linalg.norm(truth - truth.mean())

    def loss(point: tuple[float, float] | Doubles) -> float:
        centre, log_width = point
        curve = scipy.special.expit((x - centre) * math.exp(-log_width))
        curve -= curve.mean()
        length = float(np.linalg.norm(curve))
        return -abs(float(curve @ y)) / length if length > 0 else 0.0

    centres: list[float] = np.unique(np.quantile(x, np.linspace(0, 1, 21))).tolist()
    limits = [(x.min(), x.max()), (-10, _WIDEST)]
    options = {"xatol": 1e-9, "fatol": 1e-13}
    best = 0.0
    for width in range(-6, _WIDEST + 1, 2):
        start = min(((centre, float(width)) for centre in centres), key=loss)
        found = scipy.optimize.minimize(loss, start, method="Nelder-Mead", bounds=limits, options=options)
        best = max(best, -float(found.fun))
    return min(1.0, best)


def _is_degenerate(predicted: NDArray[Any], truth: NDArray[Any]) -> bool:
    if predicted.ndim != 1 or predicted.shape != truth.shape or len(predicted) < 2:
        raise ValueError(
            f"expected two score arrays of one length, at least 2, got shapes {predicted.shape} and {truth.shape}"
        )
    for name, scores in (("predicted", predicted), ("truth", truth)):
        if not np.isfinite(scores).all():
            raise ValueError(f"{name} scores must be finite; drop the images without a score and say how many")
    return bool(np.ptp(predicted) == 0 or np.ptp(truth) == 0)
