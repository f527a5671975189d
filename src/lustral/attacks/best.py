"""The result of an attack that tries several times: the best end point of each image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lustral.attacks.oracle import Oracle

__all__ = ["Best", "leaving", "may_stop"]


def may_stop(oracle: Oracle, early_stop: bool) -> bool:
    """Whether broken images may leave the batch: a classifier's may, a quality score can always move farther."""
    return early_stop and oracle.goal.kind == "classifier"


def leaving(oracle: Oracle, x: Tensor, rows: Tensor, broken: Tensor) -> Tensor:
    """Which broken images may leave (m,): those that stay broken as 8-bit images, which is how they are judged.

    Rounding can undo a barely broken image, and nobody would push it farther. Costs one question about the
    broken images; the ones that leave are replaced in ``x`` by their rounded selves.
    """
    where = broken.nonzero().flatten()
    leave = torch.zeros_like(broken)
    if len(where):
        rounded = oracle.rounded(x[where], rows[where])
        held = oracle.broken(rounded, rows[where])
        leave[where] = held
        x[where[held]] = rounded[held]
    return leave


class Best:
    """Collects end points; a broken one beats any other, then the larger loss wins.

    Args:
        x: what stands for images that are never offered (n, 3, h, w).
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x.clone()
        self.loss = x.new_full((len(x),), -torch.inf)
        self.broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def offer(self, rows: Tensor, x: Tensor, loss: Tensor, broken: Tensor) -> None:
        """Take images ``x`` (m, 3, h, w) of ``rows`` (m,) where they beat what stands."""
        before = self.broken[rows]
        better = (broken & ~before) | ((broken == before) & (loss > self.loss[rows]))
        where = rows[better]
        self.x[where] = x[better]
        self.loss[where] = loss[better].to(self.loss.dtype)
        self.broken[where] = broken[better]
