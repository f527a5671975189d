"""Quilting: the patches of a bank nearest to those of an image, sewn together along the cheapest seams.

Everything is whole numbers of 8-bit levels, so that no result depends on the batch or on the order of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

__all__ = ["PatchBank", "cut_patches", "right_of_seam", "stitch"]

_SCORES = 2**22  # distances held at one time
_EXACT = 2**24  # up to here float32 holds every whole number
_GROUP = 64  # patches that stand for one another in the first round of the search


def cut_patches(pictures: Sequence[NDArray[np.uint8]], side: int, count: int) -> NDArray[np.uint8]:
    """``count`` patches (count, 3, side, side), evenly spread over all overlapping ones, picture by picture.

    Args:
        pictures: (h, w, 3); those smaller than a patch are passed over.
        side: of a patch, in pixels.
        count: how many; all, if there are fewer.

    Raises:
        ValueError: no picture has a whole patch.
    """
    large = [picture for picture in pictures if min(picture.shape[:2]) >= side]
    shapes = [(picture.shape[0] - side + 1, picture.shape[1] - side + 1) for picture in large]
    ends = np.cumsum([rows * columns for rows, columns in shapes], dtype=np.int64)
    if not large:
        raise ValueError(f"no picture is as large as a patch of {side} x {side} pixels; give larger pictures")
    count = min(count, int(ends[-1]))
    chosen = np.arange(count, dtype=np.int64) * int(ends[-1]) // count
    pieces: list[NDArray[np.uint8]] = []
    for picture, (rows, columns), end in zip(large, shapes, ends, strict=True):
        here = chosen[(chosen >= end - rows * columns) & (chosen < end)] - (end - rows * columns)
        windows = sliding_window_view(picture, (side, side), axis=(0, 1))  # (rows, columns, 3, side, side)
        pieces.append(windows[here // columns, here % columns])
    return np.concatenate(pieces)


class PatchBank(nn.Module):
    """Patches (m, 3, side, side) uint8 to search in; the search is exact, by comparing with every one of them."""

    patches: Tensor
    _table: Tensor
    _squares: Tensor

    def __init__(self, patches: NDArray[np.uint8]) -> None:
        super().__init__()
        flat = torch.from_numpy(patches).flatten(1)
        whole = torch.float32 if 2 * flat.shape[1] * 255**2 < _EXACT else torch.float64
        table, missing = flat.to(whole), -len(flat) % _GROUP
        squares = pad(table.square().sum(dim=1), (0, missing), value=torch.inf)
        self.register_buffer("patches", torch.from_numpy(patches))
        self.register_buffer("_table", pad(table.T, (0, missing)), persistent=False)  # (d, m up to whole groups)
        self.register_buffer("_squares", squares, persistent=False)

    def nearest(self, wanted: Tensor, neighbours: int) -> Tensor:
        """Indices (q, neighbours) of the patches nearest to ``wanted`` (q, 3, side, side) uint8, nearest first.

        Distances are Euclidean over all pixels and channels.
        """
        flat = wanted.flatten(1).to(self._table)
        found: list[Tensor] = []
        for some in flat.split(max(1, _SCORES // len(self._squares))):
            scores = torch.addmm(self._squares, some, self._table, alpha=-2)  # squared distance, less |some|^2
            groups = scores.view(len(some), -1, _GROUP)
            # The nearest k lie in the k groups whose nearest ones are nearest.
            count = min(neighbours, groups.shape[1])
            best = groups.amin(dim=2).topk(count, largest=False).indices[:, :, None]  # (q, count, 1)
            inside = groups.gather(1, best.expand(-1, -1, _GROUP)).flatten(1)  # (q, count group)
            place = inside.topk(neighbours, largest=False).indices
            found.append(best[:, :, 0].gather(1, place // _GROUP) * _GROUP + place % _GROUP)
        return torch.cat(found)


def right_of_seam(error: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the right one of two overlapping patches is to be seen: on the cheapest seam and to the right of it.

    A seam has one pixel per row, those of neighbouring rows touch at least at a corner; its cost is the sum of
    ``error`` along it. Among equally cheap ones the leftmost is taken, from the bottom up.

    Args:
        error: (..., length, width), not negative, whole numbers.

    Returns:
        Same shape.
    """
    length, width = error.shape[-2:]
    ends = [(0, 0)] * (error.ndim - 2) + [(1, 1)]
    total, moves = error[..., 0, :].astype(np.int64), []
    for row in range(1, length):
        walled = np.pad(total, ends, constant_values=2**40)
        above = np.stack([walled[..., step : step + width] for step in range(3)])  # left of it, straight, right of it
        moves.append(above.argmin(axis=0) - 1)
        total = error[..., row, :] + above.min(axis=0)
    seam = [total.argmin(axis=-1)[..., None]]
    for move in reversed(moves):
        seam.append(seam[-1] + np.take_along_axis(move, seam[-1], axis=-1))
    return np.arange(width) >= np.stack(seam[::-1], axis=-2)


def stitch(patches: NDArray[np.uint8], overlap: int) -> NDArray[np.uint8]:
    """Lay patches over each other, row by row, each cut along minimum error boundaries with what lies there already.

    Patches that do not touch are laid at the same time: those at equal ``column + 2 row``, which leaves the result
    that of one after the other as long as no patch touches the one after the next.

    Args:
        patches: (n, rows, columns, 3, side, side).
        overlap: of neighbours, in pixels, from 1 to half a side.

    Returns:
        (n, 3, rows (side - overlap) + overlap, columns (side - overlap) + overlap).
    """
    n, rows, columns, _, side, _ = patches.shape
    stride = side - overlap
    canvas = np.zeros((n, 3, rows * stride + overlap, columns * stride + overlap), dtype=np.int32)
    pixel = np.arange(side)
    for wave in range(columns + 2 * rows - 2):
        row = np.arange(max(0, (wave - columns + 2) // 2), min(rows, wave // 2 + 1))  # (k,)
        column = wave - 2 * row
        place = ((row * stride)[:, None, None] + pixel[:, None], (column * stride)[:, None, None] + pixel)
        old = canvas[:, :, *place]  # (n, 3, k, side, side)
        new = patches[:, row, column].swapaxes(1, 2).astype(np.int32)
        error = np.square(new - old).sum(axis=1)  # (n, k, side, side)
        shown = np.ones(error.shape, dtype=bool)
        shown[..., :overlap] = right_of_seam(error[..., :overlap]) | (column == 0)[:, None, None]
        below = right_of_seam(error[..., :overlap, :].swapaxes(-1, -2)).swapaxes(-1, -2)
        shown[..., :overlap, :] &= below | (row == 0)[:, None, None]
        canvas[:, :, *place] = np.where(shown[:, None], new, old)
    return canvas.astype(np.uint8)
