"""The nearest broken points, and what an attack that looks for them hands back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lustral.attacks.budgets import UNBOUNDED

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.base import AttackSettings
    from lustral.attacks.oracle import Oracle
    from lustral.tensors import Images

__all__ = ["Nearest", "conclude", "held", "within"]

_GROWTH = 1.15  # a rounded perturbation that is too short is made longer by this factor ...
_CLOSE = 1.02  # ... then shorter again, until it is within this factor of one that does not hold
_ROUNDS = 20  # of both together; 17 of the first kind reach 9 times the length
_HALF = 0.5 / 255  # a perturbation below half a level everywhere rounds to nothing


@dataclass
class Nearest:
    """The nearest broken points so far.

    Attributes:
        x: per image (n, 3, h, w) its nearest broken point, else the last point of a walk.
        distance: length of the perturbation (n,), infinite where no point was broken.
    """

    x: Tensor
    distance: Tensor

    def offer(self, rows: Tensor, x: Tensor, distance: Tensor, broken: Tensor) -> None:
        """Take broken images of ``rows`` (m,) that are nearer."""
        better = broken & (distance < self.distance[rows])
        self.x[rows[better]], self.distance[rows[better]] = x[better], distance[better].to(self.distance)


def conclude(attack: AttackSettings, oracle: Oracle, x: Images, found: Nearest) -> Images:
    """The result of an attack whose epsilon may be ``UNBOUNDED``.

    With a budget the strongest point within it counts (``within``), without one the nearest that is broken as an
    8-bit image (``held``).
    """
    return held(oracle, x, found) if attack.epsilon >= UNBOUNDED else within(attack, oracle, x, found)


def within(attack: AttackSettings, oracle: Oracle, x: Images, found: Nearest) -> Images:
    """The nearest point or, with a larger margin, the point beyond it on the border of the ball.

    Rounding to 8 bits would undo a barely broken image. Where no point fits into epsilon it is the nearest one drawn
    into the ball.

    Cost: two forward passes per image and draw.
    """
    import torch

    from lustral.attacks.balls import lengths
    from lustral.attacks.best import Best

    ball, best = attack.ball(), Best(x)
    d, everyone = found.x - x, torch.arange(len(x), device=x.device)
    stretch = attack.epsilon / lengths(d, attack.norm).clamp_min(1e-12)
    for point in (found.x, x + stretch[:, None, None, None] * d):
        inside = ball.project(point, x)
        best.offer(everyone, inside, *oracle.loss(inside, name="margin"))
    return best.x


def held(oracle: Oracle, x: Images, found: Nearest) -> Images:
    """The nearest points, made no longer than it takes to stay broken when they are rounded to 8 bits.

    The oracle forgets the path of every image for which there is one; for the others its best point stands.

    Cost: one forward pass per image and draw; about 8 more where rounding undoes the nearest point, which it
    does where most values move by less than half a level.
    """
    import torch

    from lustral.attacks.balls import lengths

    largest = lengths(found.x - x, "linf")
    first = torch.where(largest > 0, (_HALF / largest).clamp_min(1), 1)
    low, high = first / _GROWTH, torch.full_like(first, float("inf"))
    for _ in range(_ROUNDS):
        missing = high.isinf()
        rows = (found.distance.isfinite() & (missing | ((high > first) & (high > _CLOSE * low)))).nonzero().flatten()
        if not len(rows):
            break
        factor = torch.where(missing, low * _GROWTH, (low * high).sqrt())[rows]
        broken = oracle.broken(oracle.rounded(_stretched(x, found, factor, rows), rows), rows)
        high[rows[broken]], low[rows[~broken]] = factor[broken], factor[~broken]
    result = oracle.best
    rows = high.isfinite().nonzero().flatten()
    result[rows] = _stretched(x, found, high[rows], rows)
    oracle.settle(result[rows], rows)
    return result


def _stretched(x: Tensor, found: Nearest, factor: Tensor, rows: Tensor) -> Tensor:
    """Points of ``rows`` (m,) with perturbations ``factor`` (m,) times as long, in [0, 1]."""
    return (x[rows] + factor[:, None, None, None] * (found.x[rows] - x[rows])).clamp_(0, 1)
