"""Numbers of one row: shares with intervals, quality scores, distortions."""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from lustral.measures import (
    d_score,
    d_score_defended,
    majority_broken,
    r_score,
    r_score_defended,
    srocc,
    wilson_interval,
    worst_of,
)
from lustral.report.results import Aim
from lustral.report.samples import Samples

__all__ = ["Quality", "Share", "attacked_share", "clean_share", "quality_scores"]

_NAN = math.nan


class Share(TypedDict):
    """Share of images in [0, 1]: over draws, its Wilson 95 % interval, after M resubmissions, by majority vote."""

    average: float
    low: float
    high: float
    worst: float
    vote: float


class Quality(TypedDict):
    """Scores of a quality target; NaN for a classifier."""

    srocc_clean: float
    srocc_attacked: float
    d: float
    d_defended: float
    d_paired: float
    r: float
    r_defended: float
    r_paired: float
    r_capped: float
    tie_fraction: float
    gain: float


NO_SHARE = Share(average=_NAN, low=_NAN, high=_NAN, worst=_NAN, vote=_NAN)
NO_QUALITY = Quality(
    srocc_clean=_NAN,
    srocc_attacked=_NAN,
    d=_NAN,
    d_defended=_NAN,
    d_paired=_NAN,
    r=_NAN,
    r_defended=_NAN,
    r_paired=_NAN,
    r_capped=_NAN,
    tie_fraction=_NAN,
    gain=_NAN,
)


def clean_share(samples: Samples, aim: Aim, worst: int, votes: int) -> Share:
    """Share of purified clean images that are right; NaN for a quality target, which has no right answer."""
    if aim.kind != "classifier" or "correct" not in samples.columns or not len(samples):
        return NO_SHARE
    wrong = ~samples.flags("correct")
    return _share(wrong, samples, "purified_clean", worst, votes)


def attacked_share(samples: Samples, aim: Aim, worst: int, votes: int) -> Share:
    """Share of attacked images that are not broken."""
    if not len(samples):
        return NO_SHARE
    return _share(
        samples.flags("broken"), samples, "purified_attacked" if aim.kind == "classifier" else "", worst, votes
    )


def _share(broken: NDArray[np.bool_], samples: Samples, classes: str, worst: int, votes: int) -> Share:
    n, draws = broken.shape
    lost = float(broken.mean(axis=1).sum())
    # A sum over draws need not be whole: round outwards, so that the interval never becomes too short.
    low = wilson_interval(n - math.ceil(lost - 1e-9), n).low
    high = wilson_interval(n - math.floor(lost + 1e-9), n).high
    m = 1 if draws == 1 else worst
    ballots = broken[:, :votes]
    voted = _label_vote(samples, classes, votes) if classes else majority_broken(ballots, ballots.shape[1]) > 0
    return Share(
        average=1 - lost / n,
        low=low,
        high=high,
        worst=1 - float(worst_of(broken, m).mean()) if m <= draws else _NAN,
        vote=1 - float(voted.mean()),
    )


def _label_vote(samples: Samples, column: str, votes: int) -> NDArray[np.bool_]:
    """Whether the most frequent class of the first draws is wrong; a tie with the right class is wrong."""
    answers = samples.floats(column)[:, :votes]
    truth = samples.floats("truth")
    right = (answers == truth[:, None]).sum(axis=1)
    counts = (answers[:, :, None] == answers[:, None, :]).sum(axis=2)
    rival = np.where(answers == truth[:, None], 0, counts).max(axis=1)
    return rival >= right


def quality_scores(samples: Samples, aim: Aim, is_random: bool = True, sign: int = 1) -> Quality:
    """SROCC, D, D^(D), R, R^(D), and the mean movement in the attacker's direction as a share of the range.

    D and R are means over images and draws; a random defence purifies the clean and the attacked image
    with fresh noise each. ``d_paired`` and ``r_paired`` are D^(D) and R^(D) with the same noise for both, NaN if that
    was not drawn. SROCC takes every image's mean score over draws, and ``sign`` turns it where good scores of the data
    are low ones of the target. ``r_capped`` and ``tie_fraction`` belong to ``r``.
    """
    if aim.kind != "quality" or not len(samples):
        return NO_QUALITY
    clean, attacked = samples.floats("purified_clean"), samples.floats("purified_attacked")
    draws = min(clean.shape[1], attacked.shape[1])
    before, after = clean[:, :draws].ravel(), attacked[:, :draws].ravel()
    bare = np.repeat(samples.floats("bare_clean"), draws)
    if not (np.isfinite(before).all() and np.isfinite(after).all() and np.isfinite(bare).all()):
        return NO_QUALITY
    truth = samples.floats("truth")
    low, high = aim.range
    moved = (attacked.mean(axis=1) - clean.mean(axis=1)) / (high - low)
    r = r_score(bare, after, aim.range)
    paired = samples.floats("purified_attacked_paired" if is_random else "purified_attacked")
    again = paired[:, :draws].ravel() if paired.ndim == 2 else paired
    has_paired = again.shape == before.shape and bool(np.isfinite(again).all())
    return Quality(
        srocc_clean=sign * _srocc(clean.mean(axis=1), truth),
        srocc_attacked=sign * _srocc(attacked.mean(axis=1), truth),
        d=d_score(bare, after, aim.range),
        d_defended=d_score_defended(before, after, aim.range),
        d_paired=d_score_defended(before, again, aim.range) if has_paired else _NAN,
        r=r.value,
        r_defended=r_score_defended(before, after, aim.range).value,
        r_paired=r_score_defended(before, again, aim.range).value if has_paired else _NAN,
        r_capped=r.capped,
        tie_fraction=r.tie_fraction,
        gain=float((moved * aim.sign if aim.sign else np.abs(moved)).mean()),
    )


def _srocc(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    judged = np.isfinite(truth)
    return srocc(scores[judged], truth[judged]) if judged.sum() >= 2 else _NAN
