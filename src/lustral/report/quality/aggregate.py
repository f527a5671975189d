"""Means over cells of the benchmark, as paper 000 takes them, with intervals over images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lustral.measures import plcc, srocc
from lustral.report.quality.facets import Entry, Facets
from lustral.report.quality.resampling import Resampler, resampled_correlation, resampled_mean
from lustral.report.quality.scores import CORRELATIONS, SCORES, image_values, opinions

__all__ = ["NO_MEAN", "Mean", "Measured", "average", "cells_of", "measure", "resampled_average"]

Doubles = NDArray[np.float64]

_TAILS = (0.025, 0.975)


@dataclass(frozen=True, eq=False)
class Measured:
    """One defence under one attack on one target and data set.

    Attributes:
        images: how many have a score.
        values: every score, a mean or a correlation over the images; NaN if it is not defined.
        resampled: the same in every resample (draws,).
        per_image: scores that are means, for every image (n,).
    """

    facets: Facets
    images: int
    values: dict[str, float]
    resampled: dict[str, Doubles]
    per_image: dict[str, Doubles]
    ids: tuple[str, ...]


class Mean(NamedTuple):
    """A mean over cells.

    Attributes:
        low, high: 95 % percentile interval of the bootstrap over images.
        spread: standard deviation of the means of the suites (targets and data sets); 0 for one.
        cells: how many the mean is over.
        images: values for single images in these cells.
        left_out: cells without a value, such as correlations with a constant.
    """

    value: float
    low: float
    high: float
    spread: float
    cells: int
    images: int
    left_out: int


NO_MEAN = Mean(math.nan, math.nan, math.nan, math.nan, 0, 0, 0)


def measure(entries: Sequence[Entry], seed: int = 0) -> list[Measured]:
    """Every score of every row, also in every resample of the images."""
    resampler = Resampler(entries, seed=seed)
    return [_measured(entry, resampler) for entry in entries]


def _measured(entry: Entry, resampler: Resampler) -> Measured:
    counts, images = resampler.counts(entry), image_values(entry)
    milliseconds = entry.result.traits.milliseconds
    values, resampled = {"milliseconds": milliseconds}, {"milliseconds": np.full(resampler.draws, milliseconds)}
    for key, found in images.items():
        judged = np.isfinite(found)
        values[key] = float(found[judged].mean()) if judged.any() else math.nan
        resampled[key] = resampled_mean(found[judged], counts[:, judged])
    for key, (kind, what) in CORRELATIONS.items():
        predicted, truth = opinions(entry, what)
        judged = np.isfinite(predicted) & np.isfinite(truth)
        enough = int(judged.sum()) >= 2
        x, y, drawn = predicted[judged], truth[judged], counts[:, judged]
        values[key] = (srocc if kind == "srocc" else plcc)(x, y) if enough else math.nan
        nothing = np.full(resampler.draws, np.nan)
        resampled[key] = resampled_correlation(x, y, drawn, kind == "srocc") if enough else nothing
    samples = entry.result.samples
    return Measured(entry.facets, len(samples), values, resampled, images, samples.images)


def average(group: Iterable[Measured], key: str) -> Mean:
    """Mean of a score over cells, each with the same weight however many images it has.

    A cell is one attack at one strength on one target and data set, before one defence; of scores that no attack
    changes it is one target and data set. Cells without a value are left out and counted.
    """
    cells = sorted(group, key=lambda one: (one.facets.suite, one.facets.label, one.facets.preset))
    if SCORES[key].common:
        cells = _once(cells)
    known = [one for one in cells if math.isfinite(one.values[key])]
    if not known:
        return NO_MEAN._replace(left_out=len(cells))
    values = np.array([one.values[key] for one in known])
    low, high = _interval(np.stack([one.resampled[key] for one in known]))
    images = sum(one.images for one in known)
    return Mean(float(values.mean()), low, high, _spread(known, key), len(known), images, len(cells) - len(known))


def _once(cells: Sequence[Measured]) -> list[Measured]:
    """One cell of every suite and defence, that with the most images."""
    found = {(one.facets.suite, one.facets.preset): one for one in sorted(cells, key=lambda one: one.images)}
    return list(found.values())


def _spread(cells: Sequence[Measured], key: str) -> float:
    suites: dict[str, list[float]] = {}
    for one in cells:
        suites.setdefault(one.facets.suite, []).append(one.values[key])
    return float(np.std([float(np.mean(found)) for found in suites.values()]))


def resampled_average(group: Sequence[Measured], key: str) -> Doubles:
    """The mean over cells in every resample (draws,), over the cells that have a value there."""
    cells = _once(group) if SCORES[key].common else group
    return _over_cells(np.stack([one.resampled[key] for one in cells]))


def _over_cells(resampled: Doubles) -> Doubles:
    known = np.isfinite(resampled)
    count = known.sum(axis=0)
    total = np.where(known, resampled, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(resampled.shape[1], np.nan), where=count > 0)


def _interval(resampled: Doubles) -> tuple[float, float]:
    drawn = _over_cells(resampled)
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return math.nan, math.nan
    low, high = np.quantile(drawn, _TAILS)
    return float(low), float(high)


def cells_of(measured: Iterable[Measured]) -> dict[str, set[tuple[str, str]]]:
    """The cells of every defence, by its settings."""
    cells: dict[str, set[tuple[str, str]]] = {}
    for one in measured:
        cells.setdefault(one.facets.preset, set()).add(one.facets.cell)
    return cells
