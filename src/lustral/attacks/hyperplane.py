"""The nearest point of a hyperplane inside the box of images."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lustral.attacks.balls import Norm
from lustral.tensors import Images

__all__ = ["shortest_step"]


def shortest_step(x: Images, gap: Float[Tensor, " n"], slope: Images, norm: Norm) -> Images:
    """The shortest ``d`` with ``gap + <slope, d> = 0`` and ``x + d`` in [0, 1]; as near as the box allows if none.

    The solution moves every value by ``min(room, level * speed)`` in the direction that closes the gap, where
    ``speed`` is 1 for Linf and the size of the slope for L2. What that gains is concave and piecewise linear in
    ``level``, with a kink where a value meets the box, so sorting the kinks gives the level exactly.

    Args:
        x: images (n, 3, h, w) in [0, 1].
        gap: value of the linear function at each image.
        slope: its gradients.
        norm: "linf" or "l2".

    Source: Croce and Hein, arXiv:1907.02044, section 2.2 (the problem; they sort kinks as well).
    """
    flat, w = x.flatten(1), slope.flatten(1)
    size = w.abs().amax(1, keepdim=True).clamp_min(torch.finfo(w.dtype).tiny)  # squares of small slopes are zero
    w, gap = -w / size * gap.sign()[:, None], gap.abs() / size[:, 0]
    speed = (w != 0).to(w) if norm == "linf" else w.abs()
    room = torch.where(w > 0, 1 - flat, flat).clamp_min(0)
    level, order = torch.where(speed > 0, room / speed, 0).sort(1)  # (n, values), the level of every kink
    rate, most = ((w.abs() * factor).gather(1, order) for factor in (speed, room))
    moving = rate.flip(1).cumsum(1).flip(1)  # rate of the values that have not met the box before this kink
    stopped = most.cumsum(1) - most  # gain of those that have
    closed = stopped + level * moving >= gap[:, None]  # at this kink
    last = level.shape[1] - 1
    kink = (~closed).sum(1, keepdim=True).clamp_max(last)
    exact = (gap[:, None] - stopped.gather(1, kink)) / moving.gather(1, kink).clamp_min(torch.finfo(w.dtype).tiny)
    chosen = torch.where(closed.any(1, keepdim=True), exact.clamp_min(0), level[:, -1:])
    return (w.sign() * torch.minimum(room, chosen * speed)).view_as(x)
