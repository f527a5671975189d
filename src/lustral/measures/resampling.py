"""Would another sample of images have given another result: many small samples of one large one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["shared_fraction", "stratified_samples"]

Rows = NDArray[np.int64]


def stratified_samples(clusters: NDArray[np.int64], size: int, times: int, seed: int) -> Rows:
    """Rows (times, size) of samples that have about equally many images of every cluster.

    Images are dealt like cards, cluster by cluster: none comes again before the others of its cluster have come, and
    none twice in one sample. So samples share no image where there are enough, and as few as possible otherwise. A
    cluster that is smaller than its part gives all it has, and the others fill up.

    Args:
        clusters: cluster of every image (n,); equal numbers give samples without regard to clusters.
        size: images per sample.
        times: number of samples.
        seed: the order of the images follows from it.

    Raises:
        ValueError: a size outside 1 to n, or no samples.
    """
    if not 1 <= size <= len(clusters) or times < 1:
        raise ValueError(f"expected samples of 1 to {len(clusters)} images, got {times} samples of {size}")
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(clusters == cluster) for cluster in np.unique(clusters)]
    parts = _parts([len(rows) for rows in members], size)
    decks = [list[int]() for _ in members]
    samples: list[list[int]] = []
    for _ in range(times):
        hand: list[int] = []
        for rows, part, deck in zip(members, parts, decks, strict=True):
            taken = deck[:part]
            del deck[:part]
            if len(taken) < part:
                fresh = [int(row) for row in random.permutation(rows)]
                wanted = [row for row in fresh if row not in taken][: part - len(taken)]
                deck += [row for row in fresh if row not in wanted]
                taken += wanted
            hand += taken
        samples.append(hand)
    return np.array(samples, dtype=np.int64)


def _parts(sizes: list[int], size: int) -> list[int]:
    """How many images each cluster gives: one after another in turn, as long as it has any."""
    parts = [0] * len(sizes)
    while sum(parts) < size:
        for cluster, most in enumerate(sizes):
            if parts[cluster] < most and sum(parts) < size:
                parts[cluster] += 1
    return parts


def shared_fraction(samples: Rows) -> float:
    """Mean share of its images that a sample has in common with another one: 0 if all are disjoint, 1 if all equal.

    >>> shared_fraction(np.array([[0, 1], [1, 2]]))
    0.5
    """
    pairs = [len(set(a) & set(b)) / samples.shape[1] for a, b in combinations(samples.tolist(), 2)]
    return float(np.mean(pairs)) if pairs else 0.0
