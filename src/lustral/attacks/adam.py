"""Adam for attacks that change its steps before they take them, or whose images leave one by one."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Adam"]

_MEAN, _SQUARE, _TINY = 0.9, 0.999, 1e-8


class Adam:
    """Steps uphill, each value at its own pace; nothing is moved here.

    Args:
        like: numbers to be moved (n, ...).
        rate: length of the first step of every value with a slope, in units of the numbers.

    Source: Kingma and Ba, arXiv:1412.6980, algorithm 1, with its constants.
    """

    def __init__(self, like: Tensor, rate: float) -> None:
        self.rate, self.count = rate, 0
        self.mean, self.square = torch.zeros_like(like), torch.zeros_like(like)

    def step(self, gradient: Tensor) -> Tensor:
        """By how much to move (n, ...), given the gradient of what should grow (n, ...)."""
        self.count += 1
        self.mean.lerp_(gradient, 1 - _MEAN)
        self.square.mul_(_SQUARE).addcmul_(gradient, gradient, value=1 - _SQUARE)
        length = self.square.div(1 - _SQUARE**self.count).sqrt_().add_(_TINY)
        return torch.div(self.mean, length, out=length).mul_(self.rate / (1 - _MEAN**self.count))

    def select_(self, rows: Tensor) -> None:
        """Go on with some of the images only."""
        self.mean, self.square = self.mean[rows], self.square[rows]
