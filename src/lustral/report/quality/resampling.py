"""Bootstrap resamples of the images, shared by everything that was measured on them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lustral.report.quality.facets import Entry
from lustral.report.results import plain_settings
from lustral.settings import canonical, digest

__all__ = ["DRAWS", "Resampler", "resampled_correlation", "resampled_mean"]

Doubles = NDArray[np.float64]

DRAWS = 500
"""Resamples behind every interval."""


class Resampler:
    """How often every image of a data set stands in each resample.

    The images of a data set are drawn once per resample for all targets, attacks and defences together, because the
    scores of one image go up and down together: cells resampled apart would give intervals that are too short, and
    differences between defences would not be paired. Attacks and targets are not resampled: an interval says what
    other images would have given, not other attacks.

    Args:
        entries: rows whose images are drawn.
        draws: number of resamples.
        seed: of the draws, which depend on nothing else but the images of each data set.
    """

    def __init__(self, entries: Iterable[Entry], draws: int = DRAWS, seed: int = 0) -> None:
        self.draws = draws
        images: dict[str, set[str]] = {}
        for entry in entries:
            images.setdefault(_data(entry), set()).update(entry.result.samples.images)
        self._counts: dict[str, Doubles] = {}
        self._places: dict[str, dict[str, int]] = {}
        for name, ids in images.items():
            self._places[name] = {image: place for place, image in enumerate(sorted(ids))}
            generator = np.random.default_rng([seed, int(digest(name)[:15], 16)])
            counts = generator.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=draws)
            self._counts[name] = counts.astype(np.float64)

    def counts(self, entry: Entry) -> Doubles:
        """How often each image of a row stands in each resample (draws, n)."""
        places = self._places[_data(entry)]
        return self._counts[_data(entry)][:, [places[image] for image in entry.result.samples.images]]


def _data(entry: Entry) -> str:
    return canonical(plain_settings(entry.result.settings["data"]))


def resampled_mean(values: Doubles, counts: Doubles) -> Doubles:
    """Mean of values (n,) in every resample (draws,); NaN where it holds none of them."""
    size = counts.sum(axis=1)
    return np.divide(counts @ values, size, out=np.full(len(counts), np.nan), where=size > 0)


def resampled_correlation(x: Doubles, y: Doubles, counts: Doubles, ranks: bool) -> Doubles:
    """Pearson correlation, or that of the ranks, in every resample (draws,); NaN where one side is constant."""
    first, second = (_ranks(side, counts) if ranks else np.broadcast_to(side, counts.shape) for side in (x, y))
    size = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    first = first - (counts * first).sum(axis=1, keepdims=True) / size
    second = second - (counts * second).sum(axis=1, keepdims=True) / size
    product = (counts * first * second).sum(axis=1)
    scale = np.sqrt((counts * first**2).sum(axis=1) * (counts * second**2).sum(axis=1))
    return np.divide(product, scale, out=np.full(len(counts), np.nan), where=scale > 1e-12 * size[:, 0])


def _ranks(values: Doubles, counts: Doubles) -> Doubles:
    """Average rank of every image in every resample (draws, n), as if images were repeated by their counts."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.add.reduceat(counts[:, order], starts, axis=1)
    return (sizes.cumsum(axis=1) - (sizes - 1) / 2)[:, group]
