"""What repeated scoring of a random defence says: average, worst of m resubmissions, majority vote.

Every function reads a table ``broken`` (n, draws): was image i broken in draw k of the scoring phase, each
draw with fresh randomness. The result per image is the mean over all ways to choose the draws that a person
would have made, so it uses every draw and does not depend on their order. It is unbiased as long as there
are at least as many draws as resubmissions; with fewer no unbiased estimate exists (DiffHammer, NeurIPS
2024, theorem 2).
The mean over images of one minus the result is the robust accuracy.
"""

from __future__ import annotations

from math import comb

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["average_broken", "majority_broken", "worst_of"]

Broken = Bool[np.ndarray, "n draws"]
PerImage = Float[np.ndarray, " n"]


def average_broken(broken: Broken) -> PerImage:
    """Probability that one submission breaks the image, in [0, 1], shape (n,).

    Raises:
        ValueError: not a table (n, draws) with at least one draw.
    """
    return _at_least(broken, submitted=1, needed=1)


def worst_of(broken: Broken, m: int) -> PerImage:
    """Probability that at least one of ``m`` submissions breaks the image, in [0, 1], shape (n,).

    With k of N draws broken this is 1 - C(N - k, m) / C(N, m), the hypergeometric estimator.

    Source: DiffHammer (NeurIPS 2024), theorem 2.

    Args:
        broken: (n, N) table with N >= m.
        m: number of submissions the attacker may make.

    Raises:
        ValueError: fewer draws than submissions, or m below 1.

    >>> worst_of(np.array([[True, False, False, False]]), 2).tolist()
    [0.5]
    """
    return _at_least(broken, submitted=m, needed=1)


def majority_broken(broken: Broken, k: int) -> PerImage:
    """Probability that a vote over ``k`` draws ends broken, in [0, 1], shape (n,); 0 or 1 if k is all draws.

    Tie rule: a tie is broken, so an even ``k`` favours the attacker. Draws vote "broken" or "not broken";
    a vote over class labels can still be right where less than half of the draws are, so for more than two
    classes this is an upper bound of the broken share of the label vote.

    Raises:
        ValueError: fewer draws than votes, or k below 1.
    """
    return _at_least(broken, submitted=k, needed=(k + 1) // 2)


def _at_least(broken: Broken, submitted: int, needed: int) -> PerImage:
    if broken.ndim != 2 or broken.dtype != np.bool_:
        raise ValueError(f"broken must be a boolean table (n, draws), got {broken.dtype} of shape {broken.shape}")
    draws = broken.shape[1]
    if not 1 <= submitted <= draws:
        raise ValueError(
            f"{submitted} submissions need at least 1 and at most {draws} draws per image, which is what was scored; "
            "score more draws, an estimate from fewer is biased in favour of the defence"
        )
    ways = comb(draws, submitted)
    counts, image = np.unique(broken.sum(axis=1), return_inverse=True)
    lost = [  # exact integers until the last division
        ways - sum(comb(k, j) * comb(draws - k, submitted - j) for j in range(needed)) for k in counts.tolist()
    ]
    return np.array([count / ways for count in lost], dtype=np.float64)[image]
