"""Which pixels of an image tell a colorization network their colour."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as functional
from torch import Tensor

from lustral.seeds import Noise

__all__ = ["choose_hints", "entropies", "k_means"]

_BLUR = 3.0  # pixels; colours are smoothed before they are grouped
_ROUNDS = 20


def k_means(points: Tensor, clusters: int, numbers: Tensor) -> Tensor:
    """Group points (p, d) by the nearest of ``clusters`` means; labels (p,).

    A cluster that loses all its points keeps its mean; there may be fewer different points than clusters.

    Args:
        points: of one image.
        clusters: number of means; the first ones are drawn far apart (k-means++).
        numbers: uniform numbers (clusters,) that stand for the draws.

    Source: Lloyd's algorithm; Arthur and Vassilvitskii 2007 for the first means.
    """
    points = points.double()
    chosen = [int(float(numbers[0]) * len(points))]
    far = (points - points[chosen[0]]).square().sum(1)
    for number in numbers[1:].double():
        reach = far.cumsum(0)
        chosen.append(min(int(torch.searchsorted(reach, number * reach[-1], right=True)), len(points) - 1))
        far = torch.minimum(far, (points - points[chosen[-1]]).square().sum(1))
    means, labels = points[chosen], torch.zeros(len(points), dtype=torch.int64)
    for _ in range(_ROUNDS):
        labels = (points[:, None] - means).square().sum(2).argmin(1)
        member = functional.one_hot(labels, clusters).double()
        counts = member.sum(0)[:, None]
        means = torch.where(counts > 0, member.T @ points / counts.clamp_min(1), means)
    return labels


def entropies(logits: Tensor, height: int, width: int) -> Tensor:
    """Entropy in nats of the distribution over colours at every pixel (n, height, width), from coarser logits."""
    spread = torch.distributions.Categorical(logits=logits.movedim(1, -1), validate_args=False).entropy()
    return functional.interpolate(spread[:, None], size=(height, width), mode="nearest")[:, 0]


def choose_hints(colors: Tensor, entropy: Tensor, noise: Noise, *, clusters: int, chosen: int, count: int) -> Tensor:
    """Random pixels of the groups of colours that a network is surest of: flags (n, 1, h, w).

    Args:
        colors: a and b of the images (n, 2, h, w).
        entropy: of the network's colours without hints (n, h, w).
        noise: one stream per image.
        clusters: groups of colours per image.
        chosen: how many of them, those of the smallest mean entropy, give hints.
        count: hints per image; fewer where these groups have fewer pixels.

    Source: Bhattad et al., arXiv:1904.06347, section 3.1.
    """
    smooth = scipy.ndimage.gaussian_filter(colors.double().cpu().numpy(), (0, 0, _BLUR, _BLUR))
    points = torch.from_numpy(np.ascontiguousarray(smooth)).flatten(2).movedim(1, 2)  # (n, h * w, 2)
    numbers, order = noise.numbers(clusters), noise.numbers(entropy[0].numel())
    flags = torch.zeros(len(colors), entropy[0].numel(), dtype=torch.bool)
    for row, spread in enumerate(entropy.double().cpu().flatten(1)):
        labels = k_means(points[row], clusters, numbers[row])
        sizes = labels.bincount(minlength=clusters)
        means = labels.bincount(spread, minlength=clusters) / sizes  # empty groups: not a number, which sorts last
        surest = means.argsort()[:chosen]
        rank = order[row].masked_fill(~torch.isin(labels, surest), 2.0)
        first = rank.argsort()[:count]
        flags[row, first[rank[first] < 1]] = True
    return flags.view(-1, 1, *entropy.shape[1:]).to(colors.device)
