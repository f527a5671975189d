"""One order from several scores: a weighted mean of ranks, with what other images could change about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from lustral.report.quality.aggregate import Measured, average, cells_of, resampled_average
from lustral.report.quality.facets import Mode
from lustral.report.quality.scores import SCORES
from lustral.report.quality.tables import fullest_mode

__all__ = ["WEIGHTS", "Composite", "Ranked", "composite_rank"]

WEIGHTS: dict[str, float] = {"srocc_attacked": 1.0, "d_defended": 1.0, "r": 1.0, "psnr": 1.0, "milliseconds": 1.0}
"""Weights unless others are asked for: all scores alike."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Ranked:
    """Place of one defence.

    Attributes:
        preset: its settings as canonical JSON.
        mean: weighted mean of its ranks, 1 is best.
        low, high: 95 % interval of that mean over resamples of the images.
        first, last: places that the data back: defences whose intervals overlap share places.
        ranks: rank by each score.
        values: value of each score.
    """

    preset: str
    mean: float
    low: float
    high: float
    first: int
    last: int
    ranks: dict[str, float]
    values: dict[str, float]


@dataclass(frozen=True)
class Composite:
    """The order, best first.

    Attributes:
        mode: of the attacks that scores are taken from.
        weights: of the scores that all defences have; they sum to 1.
        dropped: scores that some or all defences lack.
        left_out: settings of defences that did not meet every attack of the others.
        cells: cells that every mean is over.
    """

    mode: Mode
    weights: dict[str, float]
    ranked: tuple[Ranked, ...]
    dropped: tuple[str, ...]
    left_out: tuple[str, ...]
    cells: int


def composite_rank(
    measured: Sequence[Measured], weights: Mapping[str, float] = WEIGHTS, mode: Mode | None = None
) -> Composite | None:
    """Rank defences by several scores at once; None if there are no two to rank.

    Args:
        measured: rows of all defences.
        weights: keys of ``SCORES`` with weights that are not negative; larger counts more.
        mode: attacks that count; None takes those that most defences met, of equally many those of the strongest
            attacker.

    Source: paper 000, appendix A.1, limitation 3, which asks for such a rank and gives none.

    Raises:
        ValueError: an unknown score, a negative weight, or weights that are all zero.
    """
    if unknown := sorted(weights.keys() - SCORES.keys()):
        raise ValueError(f"unknown scores {unknown}; known: {', '.join(SCORES)}")
    if min(weights.values(), default=0.0) < 0 or not sum(weights.values()) > 0:
        raise ValueError(f"weights must not be negative and not all zero, got {dict(weights)}")
    chosen = mode or fullest_mode(measured)
    if chosen is None:
        return None
    own = [one for one in measured if one.facets.mode == chosen]
    cells = cells_of(own)
    most = max(cells.values(), key=len, default=set())
    presets = [preset for preset, met in cells.items() if met >= most]
    groups = [[one for one in own if one.facets.preset == preset and one.facets.cell in most] for preset in presets]
    if len(groups) < 2:
        return None
    values = {key: np.array([average(group, key).value for group in groups]) for key in weights if weights[key] > 0}
    kept = [key for key, found in values.items() if np.isfinite(found).all()]
    if not kept:
        return None
    total = sum(weights[key] for key in kept)
    shares = {key: weights[key] / total for key in kept}
    ranked = _ranked(presets, groups, shares, {key: values[key] for key in kept})
    dropped = tuple(key for key in values if key not in kept)
    left_out = tuple(preset for preset in cells if preset not in presets)
    return Composite(chosen, shares, ranked, dropped, left_out, len(most))


def _ranked(
    presets: Sequence[str],
    groups: Sequence[Sequence[Measured]],
    weights: Mapping[str, float],
    values: Mapping[str, Doubles],
) -> tuple[Ranked, ...]:
    ranks = {key: _ranks(key, found[:, None])[:, 0] for key, found in values.items()}
    drawn = {key: _ranks(key, np.stack([resampled_average(group, key) for group in groups])) for key in values}
    mean = np.sum([weight * ranks[key] for key, weight in weights.items()], axis=0)
    resampled = np.sum([weight * drawn[key] for key, weight in weights.items()], axis=0)  # (defences, draws)
    low, high = np.nanquantile(resampled, [0.025, 0.975], axis=1)
    low, high = np.minimum(low, mean), np.maximum(high, mean)
    found = [
        Ranked(
            presets[place],
            float(mean[place]),
            float(low[place]),
            float(high[place]),
            1 + int((high < low[place]).sum()),
            len(presets) - int((low > high[place]).sum()),
            {key: float(ranks[key][place]) for key in weights},
            {key: float(values[key][place]) for key in weights},
        )
        for place in range(len(presets))
    ]
    return tuple(sorted(found, key=lambda one: (one.mean, one.preset)))


def _ranks(key: str, values: Doubles) -> Doubles:
    """Ranks down each column, 1 is best, ties by average; a defence without a value ranks last."""
    worst = np.where(np.isfinite(values), values if SCORES[key].better == "down" else -values, np.inf)
    return scipy.stats.rankdata(worst, axis=0)
