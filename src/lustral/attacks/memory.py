"""The best points that an attack has shown to its oracle."""

from __future__ import annotations

import torch
from torch import Tensor

from lustral.attacks.balls import Ball

__all__ = ["Memory"]


class Memory:
    """Keeps, per image, the allowed points with the largest margins.

    Args:
        clean: clean images (n, 3, h, w); they fill the places that are still free.
        ball: the set of allowed images, or None for all.
        keep: how many points per image.

    Attributes:
        points: remembered images (n, keep, 3, h, w).
        margins: their margins (n, keep), -inf where a place is free.
    """

    def __init__(self, clean: Tensor, ball: Ball | None, keep: int) -> None:
        self.clean, self.ball = clean, ball
        self.points = clean[:, None].repeat(1, keep, 1, 1, 1)
        self.margins = torch.full((len(clean), keep), -torch.inf, device=clean.device)

    def offer(self, x: Tensor, rows: Tensor, margins: Tensor) -> None:
        """Remember images ``x`` (m, 3, h, w) of different ``rows`` (m,) where they beat the weakest kept point."""
        weakest, slot = self.margins[rows].min(1)
        better = (margins > weakest).nonzero().flatten()
        if self.ball is not None and len(better):
            better = better[self.ball.contains(x.index_select(0, better), self.clean.index_select(0, rows[better]))]
        if len(better):
            where, slots = rows[better], slot[better]
            self.margins[where, slots] = margins[better].to(self.margins.dtype)
            self.points[where, slots] = x.index_select(0, better)

    def replace(self, x: Tensor, rows: Tensor) -> None:
        """Forget the points of ``rows`` (m,) for images ``x`` (m, 3, h, w); the margins stay those of the path."""
        self.points[rows] = x[:, None]

    def best(self) -> Tensor:
        """The point with the largest margin per image (n, 3, h, w), the clean image if there is none."""
        everyone = torch.arange(len(self.points), device=self.points.device)
        return self.points[everyone, self.margins.argmax(1)]
