"""Cutting images into patches."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor

__all__ = ["enlarged_to", "overlapping_patches", "shorter_side_to", "tiles"]


def _resized(x: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(x, (height, width), mode="bilinear", antialias=True, align_corners=False)


def shorter_side_to(x: Float[Tensor, "n 3 h w"], side: int) -> Float[Tensor, "n 3 g v"]:
    """Resize (bilinear, antialiased) so that the shorter side has ``side`` pixels; the other is rounded down."""
    height, width = x.shape[2:]
    shorter = min(height, width)
    return x if shorter == side else _resized(x, height * side // shorter, width * side // shorter)


def enlarged_to(x: Float[Tensor, "n 3 h w"], side: int) -> Float[Tensor, "n 3 g v"]:
    """The images, or if their shorter side is below ``side`` pixels, enlarged to it."""
    return shorter_side_to(x, side) if min(x.shape[2:]) < side else x


def _places(length: int, side: int, stride: int) -> list[int]:
    """Where patches begin along one axis; the last one ends at the border."""
    places = list(range(0, length - side + 1, stride))
    return places if places[-1] == length - side else [*places, length - side]


def overlapping_patches(x: Float[Tensor, "n 3 h w"], side: int, stride: int) -> Float[Tensor, "n p 3 s s"]:
    """Patches every ``stride`` pixels, row by row; the last row and column end at the border.

    >>> overlapping_patches(torch.rand(2, 3, 10, 9), 4, 2).shape  # rows begin at 0, 2, 4, 6, columns at 0, 2, 4, 5
    torch.Size([2, 16, 3, 4, 4])
    """
    tops, lefts = (_places(length, side, stride) for length in x.shape[2:])
    return torch.stack([x[:, :, top : top + side, left : left + side] for top in tops for left in lefts], 1)


def tiles(x: Float[Tensor, "n 3 h w"], side: int) -> Float[Tensor, "n 3 r c s s"]:
    """Patches side by side in r rows and c columns; what is left over at the right and at the bottom is cut off."""
    return x.unfold(2, side, side).unfold(3, side, side)
