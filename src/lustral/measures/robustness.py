"""Robustness of a quality metric behind a purifier: D, D^(D), R and R^(D) of paper 000, per image and as means.

In the symbols of the paper: f is the metric, x the clean image, x' the attacked one, P the purifier.

Bounds convention. ``bounds`` are the two ends of the metric's own range, in the scale of the scores and in
either order (metrics for which lower is better are often listed high end first). Their distance is the
diameter of D, and they are the beta of R. The paper takes the extreme human scores of the data set for beta
instead; to follow it, pass these after mapping them to the scale of the metric. Scores in one scale with
bounds in another give numbers that look plausible and mean nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

__all__ = [
    "R_CAP",
    "R_EPSILON",
    "RScore",
    "d_score",
    "d_score_defended",
    "d_terms",
    "r_score",
    "r_score_defended",
    "r_terms",
]

Scores = Float[np.ndarray, " n"]
Bounds = tuple[float | int, float | int]

R_EPSILON = 1e-6
"""Added to the denominator of R, in units of the score, as in the public code of the AAAI 2024 benchmark."""

R_CAP = 3.0
"""Cap of the capped R: a score that moves by less than a thousandth of the way it could go counts as that."""


class RScore(NamedTuple):
    """R with what is needed to read it.

    Attributes:
        value: mean over the images; larger is better.
        capped: the same with every image's term at most the cap; compare defences by this one.
        tie_fraction: share of images whose score moved by at most epsilon. Their terms say what epsilon
            is (about 6.9 each for scores with a range near 10) and nothing about the defence.
        n: number of images.
    """

    value: float
    capped: float
    tie_fraction: float
    n: int


def d_terms(reference: Scores, attacked: Scores, bounds: Bounds) -> Scores:
    """|attacked - reference| in per cent of the metric's range, per image (n,): the terms of D for paired tests."""
    _check_scores(reference, attacked)
    return 100 * _moves(reference, attacked) / _diameter(bounds)


def d_score(clean: Scores, purified_attacked: Scores, bounds: Bounds) -> float:
    """D: mean of |f(P(x')) - f(x)| in per cent of the range; 0 is best.

    Source: paper 000, equation 6, left.
    Differs: the published code leaves out the factor 100, which some of its tables lack too.

    Args:
        clean: f(x), shape (n,).
        purified_attacked: f(P(x')), shape (n,).
        bounds: ends of the metric's range, in the scale of the scores.

    Raises:
        ValueError: no scores, lengths differ, scores not finite, or bounds without extent.

    >>> d_score(np.array([2.0, 4.0]), np.array([3.0, 4.0]), (0.0, 10.0))
    5.0
    """
    return float(d_terms(clean, purified_attacked, bounds).mean())


def d_score_defended(purified_clean: Scores, purified_attacked: Scores, bounds: Bounds) -> float:
    """D^(D): mean of |f(P(x')) - f(P(x))| in per cent of the range; 0 is best.

    Source: paper 000, equation 6, right.
    Differs: the caller decides whether a random purifier gets the same or fresh noise on x and x'. The
        published code gives both the same, which favours random defences.

    Args:
        purified_clean: f(P(x)), shape (n,).
        purified_attacked: f(P(x')), shape (n,).
        bounds: ends of the metric's range, in the scale of the scores.
    """
    return float(d_terms(purified_clean, purified_attacked, bounds).mean())


def r_terms(
    reference: Scores,
    attacked: Scores,
    bounds: Bounds,
    *,
    numerator_scores: Scores | None = None,
    epsilon: float = R_EPSILON,
) -> Scores:
    """log10 of how far the score could have moved over how far it moved, per image (n,).

    At most log10(diameter / epsilon): a score outside the bounds must not gain from being there.

    Args:
        reference: scores without the attack (n,).
        attacked: scores under the attack (n,).
        bounds: the paper's beta_1 and beta_2, in the scale of the scores, in either order.
        numerator_scores: scores whose distance to the farther bound is the numerator; ``reference`` if None.
        epsilon: added to the denominator, in units of the score.
    """
    start = reference if numerator_scores is None else numerator_scores
    _check_scores(reference, attacked, start)
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive, got {epsilon}")
    possible = np.maximum(_moves(start, bounds[0]), _moves(start, bounds[1]))
    terms = np.log10(possible / (_moves(reference, attacked) + epsilon))
    return np.minimum(terms, np.log10(_diameter(bounds) / epsilon))


def r_score(
    clean: Scores, purified_attacked: Scores, bounds: Bounds, *, epsilon: float = R_EPSILON, cap: float | int = R_CAP
) -> RScore:
    """R: mean of log10(max(beta_1 - f(x), f(x) - beta_2) / (|f(x) - f(P(x'))| + epsilon)); larger is better.

    Source: paper 000, equation 5 (after Zhang et al. 2022).
    Differs: the paper prints "log" without a base and no epsilon. Base 10 and epsilon 1e-6 in units of the
        score are what its table of certified defences needs: there scores are class numbers from 0 to 11,
        a D of 1.2 means that at least 87 % of the images did not move at all, and only these two choices
        give the printed R of 6.2. So R of quantised scores measures epsilon: read ``capped``, and
        ``tie_fraction``. Epsilon is absolute, so R changes with the scale of the scores; ``capped``
        hardly does.

    Args:
        clean: f(x), shape (n,).
        purified_attacked: f(P(x')), shape (n,).
        bounds: beta_1 and beta_2; see the top of this module.
        epsilon: added to the denominator, in units of the score.
        cap: largest term of one image in ``RScore.capped``.

    Raises:
        ValueError: no scores, lengths differ, scores not finite, bounds without extent, epsilon not positive.

    >>> result = r_score(np.array([5.0, 5.0]), np.array([5.05, 5.0]), (0.0, 10.0))
    >>> round(result.value, 3), round(result.capped, 3), result.tie_fraction
    (4.349, 2.5, 0.5)
    """
    terms = r_terms(clean, purified_attacked, bounds, epsilon=epsilon)
    return _summary(terms, clean, purified_attacked, epsilon, cap)


def r_score_defended(
    purified_clean: Scores,
    purified_attacked: Scores,
    bounds: Bounds,
    *,
    numerator_scores: Scores | None = None,
    epsilon: float = R_EPSILON,
    cap: float | int = R_CAP,
) -> RScore:
    """R^(D): R with the purified clean image in the place of the clean one; larger is better.

    Source: paper 000, section 3.5: "differs only in applying purification P to x_i and x'_i".
    Differs: nothing, but the sentence can be read in two ways. Default: f(P(x)) in numerator and
        denominator. Pass ``numerator_scores=f(x)`` to purify in the denominator only.

    Args:
        purified_clean: f(P(x)), shape (n,).
        purified_attacked: f(P(x')), shape (n,).
        bounds: beta_1 and beta_2; see the top of this module.
        numerator_scores: f(x), shape (n,), for the second reading.
        epsilon: added to the denominator, in units of the score.
        cap: largest term of one image in ``RScore.capped``.
    """
    terms = r_terms(purified_clean, purified_attacked, bounds, numerator_scores=numerator_scores, epsilon=epsilon)
    return _summary(terms, purified_clean, purified_attacked, epsilon, cap)


def _summary(terms: Scores, reference: Scores, attacked: Scores, epsilon: float, cap: float | int) -> RScore:
    ties = _moves(reference, attacked) <= epsilon
    return RScore(float(terms.mean()), float(np.minimum(terms, cap).mean()), float(ties.mean()), len(terms))


def _moves(before: Scores, after: Scores | float | int) -> Scores:
    return np.abs(np.asarray(after, dtype=np.float64) - before.astype(np.float64))


def _diameter(bounds: Bounds) -> float:
    diameter = abs(float(bounds[1]) - float(bounds[0]))
    if not 0 < diameter < np.inf:
        raise ValueError(f"bounds must be two different finite numbers, got {bounds}")
    return diameter


def _check_scores(*arrays: NDArray[Any]) -> None:
    shapes = {scores.shape for scores in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1 or arrays[0].size == 0:
        raise ValueError(f"expected score arrays of one length, at least 1, got shapes {sorted(shapes)}")
    if not all(np.isfinite(scores).all() for scores in arrays):
        raise ValueError("scores must be finite; drop images without a score (abstentions) and say how many")
