"""A small sample that looks like the whole set: clusters of complexity, colour and quality, then some of each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lustral.data.tiles import luma

__all__ = ["cluster_labels", "cluster_sample", "colorfulness", "image_features", "spatial_information"]

Image = NDArray[np.uint8]
Features = NDArray[np.float64]
Rows = NDArray[np.int64]

STARTS, ITERATIONS = 10, 100


def spatial_information(image: Image) -> float:
    """How much edge there is in an image (h, w, 3): deviation of the Sobel-filtered luma, in levels of 0 to 255.

    Luma has the BT.601 weights and the full range; the outermost pixels have no gradient and are left out.

    Source: ITU-T Recommendation P.910, section on spatial perceptual information (SI), for a single frame.

    Raises:
        ValueError: a side has fewer than 3 pixels.

    >>> spatial_information(np.full((8, 8, 3), 200, np.uint8))
    0.0
    """
    if min(image.shape[:2]) < 3:
        raise ValueError(f"the Sobel filter needs at least 3 x 3 pixels, got {image.shape[0]} x {image.shape[1]}")
    y = luma(image)
    rows, columns = y[2:] - y[:-2], y[:, 2:] - y[:, :-2]
    down = rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]
    right = columns[:-2] + 2 * columns[1:-1] + columns[2:]
    return float(np.hypot(down, right).std())


def colorfulness(image: Image) -> float:
    """How colourful people find an image (h, w, 3): 0 for grey, about 15 slightly, 82 quite, above 109 extremely.

    Source: Hasler and Suesstrunk, Measuring colourfulness in natural images, Human Vision and Electronic Imaging
        VIII, 2003: the measure M^(3) in sRGB.

    >>> colorfulness(np.full((2, 2, 3), 200, np.uint8))
    0.0
    """
    red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0)
    opponent = np.stack([red - green, (red + green) / 2 - blue]).reshape(2, -1)
    return float(np.linalg.norm(opponent.std(axis=1)) + 0.3 * np.linalg.norm(opponent.mean(axis=1)))


def image_features(images: Iterable[Image], scores: NDArray[np.float64] | NDArray[np.int64] | None = None) -> Features:
    """Spatial information, colourfulness and, if given, the opinion score of every image: (n, 2) or (n, 3).

    Images are looked at one after another, and none is kept.
    """
    seen = np.array([(spatial_information(image), colorfulness(image)) for image in images]).reshape(-1, 2)
    return seen if scores is None else np.column_stack([seen, scores])


def cluster_labels(features: Features, clusters: int, seed: int) -> Rows:
    """The cluster of every image (n,), 0 to clusters - 1: k-means on standardised features (n, k).

    Best of 10 seeded starts by the sum of squared distances. Clusters are numbered by the first feature of their
    centres, so cluster 0 has the simplest images.

    Source: paper 000, appendix A.2, which names k-means (Lloyd 1982) and the three features.
    Differs: features are standardised, which the paper does not say; without it colourfulness and spatial
        information, in the tens, would outweigh scores from 1 to 5.

    Raises:
        ValueError: features that are not finite, or fewer different images than clusters.
    """
    from scipy.cluster.vq import ClusterError, kmeans2

    if not np.isfinite(features).all():
        raise ValueError("features must be finite; leave out images without a score, or the scores")
    spread = features.std(axis=0)
    points = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    different = np.unique(points, axis=0)
    if not 1 <= clusters <= len(different):
        raise ValueError(f"expected 1 to {len(different)} clusters, the number of different images, got {clusters}")
    generator, best = np.random.default_rng(seed), (np.inf, points[:0], np.zeros(0, np.int64))
    for _ in range(STARTS):
        start = different[generator.choice(len(different), clusters, replace=False)]
        try:
            centres, labels = kmeans2(points, start, iter=ITERATIONS, minit="matrix", missing="raise")
        except ClusterError:  # a cluster lost all its images on the way
            continue
        loss = float(np.square(points - centres[labels]).sum())
        if loss < best[0]:
            best = (loss, centres, labels.astype(np.int64))
    if not len(best[2]):
        raise ValueError(f"k-means left a cluster empty in each of {STARTS} starts; ask for fewer than {clusters}")
    return np.argsort(np.lexsort(best[1].T[::-1]))[best[2]]


def cluster_sample(features: Features, clusters: int, each: int, seed: int) -> Rows:
    """Rows of ``each`` images of every cluster, in increasing order; a larger ``each`` contains the smaller.

    Args:
        features: one row per image (n, k).
        clusters: number of clusters; the paper takes 10.
        each: images per cluster; the paper takes 100, 5 or 1.
        seed: the start of k-means and the choice within clusters follow from it.

    Source: paper 000, appendix A.2.

    Raises:
        ValueError: as ``cluster_labels``, or a cluster has fewer than ``each`` images.
    """
    labels = cluster_labels(features, clusters, seed)
    generator, chosen = np.random.default_rng([seed, 1]), list[Rows]()
    for cluster in range(clusters):
        members = np.flatnonzero(labels == cluster)
        if not 1 <= each <= len(members):
            raise ValueError(
                f"expected each=1 to {len(members)}, the size of cluster {cluster} of {clusters}, got {each}; "
                "ask for fewer clusters or fewer of each"
            )
        chosen.append(generator.permutation(members)[:each])
    return np.sort(np.concatenate(chosen))
