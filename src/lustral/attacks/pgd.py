"""Projected gradient descent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.best import Best
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["PGD"]


class PGD(AttackSettings):
    """Repeated steps along the sign of the gradient (the unit gradient for L2), each projected into the ball.

    Cost: ``restarts * steps`` gradients and ``restarts`` losses per image and draw; less with ``early_stop``.

    Args:
        steps: steps per restart.
        step: length of the first step in units of the [0, 1] range; None makes all steps together 2.5 epsilon.
        schedule: how the length falls: "constant", "linear" to ``step / steps``, or half a "cosine" to almost 0.
        loss: "natural" is cross-entropy for a classifier and the score for a quality metric.
        restarts: independent climbs; the best end point is returned.
        random_start: whether the first climb starts at a random point of the ball; the others always do.
        early_stop: a classifier's images leave as soon as most draws are broken, also after rounding to
            8 bits. For a random defence this trusts one question, and a stopped image is not pushed farther:
            leave it off there.

    PGD+EOT of Lee and Kim (arXiv:2303.09051) on CIFAR-10 is ``pgd:steps=200,step=0.007,random_start=false`` with
    the access ``exact:eot=20``, and on ImageNet ``steps=20``; with ``surrogate`` it differentiates fewer strides than
    are deployed. BPDA+EOT of Hill et al. (arXiv:2005.13525) is ``pgd:steps=50,step=2/255`` with ``bpda:eot=15``.

    Source: Madry et al., arXiv:1706.06083, section 2.1; step length of its published robustness library.
    """

    name: ClassVar[str] = "pgd"
    source: ClassVar[str] = "arXiv:1706.06083"
    needs: ClassVar = "gradients"
    steps: int = Field(40, ge=1)
    step: Number | None = Field(None, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    loss: Literal["natural", "ce", "margin", "dlr"] = "natural"
    restarts: int = Field(1, ge=1)
    random_start: bool = True
    early_stop: bool = False

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        import torch

        from lustral.attacks.best import Best

        best = Best(x)
        rows = torch.arange(len(x), device=x.device)
        for restart in range(self.restarts):
            start = self.ball().random_start(x, noise) if self.random_start or restart else x
            rows = self._climb(oracle, x[rows], start[rows], rows, best)
            if not len(rows):
                break
        return best.x

    def length(self, index: int) -> float:
        """Length of step ``index`` = 0, 1, ..."""
        total = self.steps if self.schedule == "constant" else (self.steps + 1) / 2
        step = 2.5 * self.epsilon / total if self.step is None else self.step
        done = index / self.steps
        factors = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 + 0.5 * math.cos(math.pi * done)}
        return step * factors[self.schedule]

    def _climb(self, oracle: Oracle, clean: Tensor, x: Tensor, rows: Tensor, best: Best) -> Tensor:
        """One climb from ``x``; offers end points and returns the rows that are still worth attacking."""
        from lustral.attacks.best import leaving, may_stop

        region, stop = self.ball().around(clean), may_stop(oracle, self.early_stop)
        name = None if self.loss == "natural" else self.loss
        for index in range(self.steps):
            loss, broken, gradient = oracle.gradient(x, rows, name)
            if stop and bool((leave := leaving(oracle, x, rows, broken)).any()):
                best.offer(rows[leave], x[leave], loss[leave], leave[leave])
                stay = ~leave
                rows, region, x, gradient = rows[stay], region.select(stay), x[stay], gradient[stay]
                if not len(rows):
                    return rows
            x = region.ascend(x, gradient, self.length(index))
        loss, broken = oracle.loss(x, rows, name)
        leave = leaving(oracle, x, rows, broken) if stop else broken
        best.offer(rows, x, loss, leave)
        return rows[~leave] if stop else rows
