"""Images larger than a denoiser learnt: overlapping squares, blended where they overlap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Tiled"]


class Tiled(nn.Module):
    """A denoiser, or another function of images, for images of any size out of one for images of ``side``.

    An image is cut into squares that overlap by at least ``overlap``. They are denoised on their own and blended
    with weights that fall smoothly towards their borders, so that no seam is seen. A dimension of at most ``side``
    is not cut; an image of at most ``side`` x ``side`` goes straight through.

    Args:
        denoiser: ``D(x, sigma) -> x0``, or any function of images, and of numbers per image, that keeps their shape.
        side: side of the squares.
        overlap: smallest number of pixels that neighbouring squares share, below ``side``.
        batch: squares per pass of the denoiser at most.

    Shape: images (n, 3, h, w) in [-1, 1] plus noise of deviation sigma (n,) -> clean images, same shape.

    Cost: one pass of the denoiser per square; there are about ``h w / (side - overlap)^2``.

    >>> tiled = Tiled(torch.nn.Module(), side=32, overlap=8)
    >>> tiled.starts(70), tiled.starts(20)
    ([0, 19, 38], [0])
    """

    def __init__(self, denoiser: Callable[..., Tensor], side: int, overlap: int, batch: int = 64) -> None:
        super().__init__()
        if not 0 <= overlap < side:
            raise ValueError(f"expected an overlap of 0 to side - 1 = {side - 1}, got {overlap}")
        if batch < 1:
            raise ValueError(f"expected a batch of at least 1, got {batch}")
        self.denoiser = denoiser
        self.side = side
        self.overlap = overlap
        self.batch = batch

    def starts(self, length: int) -> list[int]:
        """Where the squares begin along a dimension of ``length`` pixels, spread evenly."""
        rest = max(0, length - self.side)
        count = math.ceil(rest / (self.side - self.overlap))
        return [round(rest * k / count) for k in range(count + 1)] if count else [0]

    def forward(self, x: Float[Tensor, "n 3 h w"], *sigma: Float[Tensor, " n"]) -> Float[Tensor, "n 3 h w"]:
        height, width = x.shape[2:]
        if height <= self.side and width <= self.side:
            return self.denoiser(x, *sigma)
        down, across = self.starts(height), self.starts(width)
        strips = _cut(x, down, min(self.side, height), 2)  # (r n, 3, side, w)
        squares = _cut(strips, across, min(self.side, width), 3)  # (c r n, 3, side, side)
        levels = (level.repeat(len(down) * len(across)).split(self.batch) for level in sigma)
        parts = zip(squares.split(self.batch), *levels, strict=True)
        found = torch.cat([self.denoiser(*part) for part in parts])
        strips = _blend(found, across, width, 3)  # (r n, 3, side, w)
        return _blend(strips, down, height, 2)  # (n, 3, h, w)


def _cut(x: Float[Tensor, "n 3 _ _"], starts: Sequence[int], size: int, dim: int) -> Float[Tensor, "m 3 _ _"]:
    return torch.cat([x.narrow(dim, start, size) for start in starts])


def _blend(parts: Float[Tensor, "m 3 _ _"], starts: Sequence[int], length: int, dim: int) -> Float[Tensor, "n 3 _ _"]:
    """Weighted mean of what ``_cut`` cut."""
    if len(starts) == 1:
        return parts
    size = parts.shape[dim]
    bump = torch.sin(torch.pi * (torch.arange(size, dtype=torch.float64) + 0.5) / size).square()
    weights = torch.stack([functional.pad(bump, (start, length - start - size)) for start in starts])
    weights = (weights / weights.sum(0)).to(parts)  # (pieces, length)
    pieces: list[Tensor] = []
    for part, weight, start in zip(parts.chunk(len(starts)), weights, starts, strict=True):
        around = (start, length - start - size)
        wide = functional.pad(part, around if dim == 3 else (0, 0, *around))
        pieces.append(wide * (weight if dim == 3 else weight[:, None]))
    return torch.stack(pieces).sum(0)
