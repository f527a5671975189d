"""Fusion of sensitivity maps of several scales into one. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["WEIGHTS", "fuse", "stretch"]

WEIGHTS = (0.2, 0.3, 0.5)
"""Weights of the coarse, middle and fine scale, table 5.6 of paper 001."""


def stretch(maps: Tensor) -> Tensor:
    """Each map (h, w) of ``maps`` (..., h, w) moved and scaled to the range [0, 1]; constant ones become 0.

    >>> import torch
    >>> stretch(torch.tensor([[[-1.0, 0.0, 3.0]], [[2.0, 2.0, 2.0]]])).tolist()
    [[[0.0, 0.25, 1.0]], [[0.0, 0.0, 0.0]]]
    """
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low).where(high > low, 1.0)


def fuse(maps: Tensor, labels: Tensor, weights: Sequence[float] = WEIGHTS) -> Tensor:
    """Average the weighted maps over each region of one segmentation.

    A region gets ``w_1 mean(S_1) + w_2 mean(S_2) + ...`` with the means over the region's pixels, so that a finer
    superpixel counts by the area that it shares with the region.

    Args:
        maps: sensitivities (s, h, w), one map per scale.
        labels: int64 (h, w), the regions, numbered from 0: the coarsest segmentation in the paper. With the
            finest one the result keeps its detail, which matters where the coarsest has only two or three regions.
        weights: of the scales, in the order of ``maps``. The defaults are for coarse, middle, fine.

    Returns:
        (h, w), constant on every region, of the dtype and on the device of ``maps``; differentiable in ``maps``.

    Raises:
        ValueError: shapes that do not belong together.

    Source: paper 001, section 4.3.4, equation 4.1, listing D.2.
    Differs: the listing pairs regions of different segmentations that bear the same number, wherever they lie; here
        those that overlap count, by area, as its mean over pixels intends and "corresponding areas" says. The
        text wants coarse maps to weigh most, table 5.6 the fine ones; the defaults follow the table. The
        listing brings each map to one range before, and the result after: that is ``stretch``, left to the caller.
    """
    if maps.ndim != 3 or labels.shape != maps.shape[1:] or len(weights) != len(maps):
        raise ValueError(
            f"expected maps (s, h, w), labels (h, w) and s weights, "
            f"got {tuple(maps.shape)}, {tuple(labels.shape)} and {len(weights)} weights"
        )
    values = maps.cpu().double()  # sums over regions depend on the order on graphics cards
    weighted = values.new_tensor(weights)[:, None, None].mul(values).sum(0)  # means are linear: one for all scales
    places = labels.cpu()
    sizes = places.flatten().bincount()
    sums = values.new_zeros(len(sizes)).index_add(0, places.flatten(), weighted.flatten())
    return (sums / sizes)[places].to(maps)
