"""Auto-PGD: projected gradient steps with momentum whose length halves when progress stalls."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from lustral.attacks.balls import Region
    from lustral.attacks.best import Best
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["APGD", "checkpoints"]


def checkpoints(steps: int) -> list[int]:
    """Numbers of finished steps after which the step length is reconsidered.

    >>> checkpoints(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    window, shortest, shrink = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    found = [window]
    while found[-1] <= steps:
        window = max(window - shrink, shortest)
        found.append(found[-1] + window)
    return found[:-1]


@dataclass
class _Climb:
    """Everything a climb knows of its images; every field has one row per image that is still attacked."""

    rows: Tensor
    wanted: Tensor
    before: Tensor
    x: Tensor
    loss: Tensor
    gradient: Tensor
    best: Tensor
    best_loss: Tensor
    best_broken: Tensor
    best_gradient: Tensor
    step: Tensor
    rises: Tensor
    checked_loss: Tensor
    reduced: Tensor

    def leave(self, broken: Tensor, best: Best) -> None:
        """Hand the broken images over and forget them."""
        best.offer(self.rows[broken], self.x[broken], self.loss[broken], broken[broken])
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[~broken])

    def arrive(self, x: Tensor, loss: Tensor, broken: Tensor, gradient: Tensor | None) -> None:
        """Take the answer at the next point."""
        better = loss > self.best_loss
        self.rises += loss > self.loss
        self.before, self.x, self.loss = self.x, x, loss
        self.best_loss = loss.where(better, self.best_loss)
        self.best_broken = broken.where(better, self.best_broken)
        where = better.nonzero().flatten()
        self.best.index_copy_(0, where, x.index_select(0, where))
        if gradient is not None:
            self.gradient = gradient
            self.best_gradient.index_copy_(0, where, gradient.index_select(0, where))

    def reconsider(self, window: int) -> None:
        """Halve the step and return to the best point where the last ``window`` steps brought too little."""
        stalled = self.rises <= 0.75 * window
        stalled |= ~self.reduced & (self.checked_loss >= self.best_loss)
        tall = stalled[:, None, None, None]
        self.step = (self.step / 2).where(tall, self.step)
        self.x = self.best.where(tall, self.x)
        self.gradient = self.best_gradient.where(tall, self.gradient)
        self.loss = self.best_loss.where(stalled, self.loss)
        self.reduced, self.checked_loss = stalled, self.best_loss
        self.rises = self.rises.new_zeros(len(stalled))


class APGD(AttackSettings):
    """Projected gradient ascent without a step length to choose.

    Cost: ``restarts * steps`` gradients and ``restarts`` losses per image and draw, times ``targets``
    (and one more forward pass) for "targeted_dlr"; less with ``early_stop``.

    Args:
        steps: steps per climb.
        loss: "natural" is cross-entropy for a classifier and the score for a quality metric;
            "targeted_dlr" climbs once towards each of the most likely wrong classes.
        targets: number of classes for "targeted_dlr", at most all wrong ones.
        restarts: independent climbs from random points; the best end point is returned.
        early_stop: a classifier's images leave as soon as most draws are broken, also after rounding to
            8 bits. For a random defence this trusts one question, and a stopped image is not pushed farther:
            leave it off there.

    Source: Croce and Hein, arXiv:2003.01690, algorithm 1 and section 4.
    Differs: the loss over draws is their mean (the published code takes the last draw); the last point is
        evaluated without a gradient, which nobody would use.
    """

    name: ClassVar[str] = "apgd"
    source: ClassVar[str] = "arXiv:2003.01690, algorithm 1"
    needs: ClassVar = "gradients"
    steps: int = Field(100, ge=1)
    loss: Literal["natural", "ce", "margin", "dlr", "targeted_dlr"] = "natural"
    targets: int = Field(9, ge=1)
    restarts: int = Field(1, ge=1)
    early_stop: bool = False

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        import torch

        from lustral.attacks.best import Best

        best = Best(x)
        rows = torch.arange(len(x), device=x.device)
        for wanted in self._aims(oracle, x):
            for _ in range(self.restarts):
                start = self._start(x, noise)
                rows = self._climb(oracle, x[rows], start[rows], rows, wanted[rows], best)
                if not len(rows):
                    return best.x
        return best.x

    def _aims(self, oracle: Oracle, x: Tensor) -> Iterator[Tensor]:
        """Wanted classes (n,) of one climb after the other; a single -1 for losses without a wanted class."""
        import torch

        from lustral.attacks.goals import rivals

        if self.loss != "targeted_dlr":
            yield torch.full((len(x),), -1, device=x.device)
            return
        yield from rivals(oracle.goal, oracle.logits(x), self.targets).T

    def _start(self, x: Tensor, noise: Noise) -> Tensor:
        """Random noise scaled to length epsilon."""
        from lustral.attacks.balls import lengths

        d = 2 * noise.uniform(x) - 1 if self.norm == "linf" else noise.normal(x)
        scale = self.epsilon / lengths(d, self.norm).clamp_min(1e-12)
        return self.ball().project(x + scale[:, None, None, None] * d, x)

    def _ask(self, oracle: Oracle, x: Tensor, rows: Tensor, wanted: Tensor, slope: bool) -> tuple[Tensor, ...]:
        """Loss, verdict and, if ``slope``, the gradient."""
        name = None if self.loss in ("natural", "targeted_dlr") else self.loss
        aim = wanted if self.loss == "targeted_dlr" else None
        return oracle.gradient(x, rows, name, aim) if slope else oracle.loss(x, rows, name, aim)

    def _climb(self, oracle: Oracle, clean: Tensor, x: Tensor, rows: Tensor, wanted: Tensor, best: Best) -> Tensor:
        """One climb from ``x``; offers end points and returns the rows that are still worth attacking."""
        from lustral.attacks.best import leaving, may_stop

        stop, checks, last = may_stop(oracle, self.early_stop), checkpoints(self.steps), 0
        loss, broken, gradient = self._ask(oracle, x, rows, wanted, slope=True)
        step = x.new_full((len(x), 1, 1, 1), 2 * self.epsilon)
        none = loss.new_zeros(len(x))
        now = _Climb(
            *(rows, wanted, x, x, loss, gradient),
            *(x.clone(), loss, broken, gradient.clone(), step, none, loss, none == 0),
        )
        region = self.ball().around(clean)
        for index in range(self.steps):
            if stop and bool((leave := leaving(oracle, now.x, now.rows, broken)).any()):
                now.leave(leave, best)
                region = region.select(~leave)
                if not len(now.rows):
                    return now.rows
            if index in checks:
                now.reconsider(index - last)
                last = index
            x = self._move(now, region, 0.75 if index else 1.0)
            loss, broken, *slope = self._ask(oracle, x, now.rows, now.wanted, slope=index < self.steps - 1)
            now.arrive(x, loss, broken, slope[0] if slope else None)
        if stop:
            now.leave(leaving(oracle, now.x, now.rows, broken), best)
        best.offer(now.rows, now.best, now.best_loss, now.best_broken)
        return now.rows

    def _move(self, now: _Climb, region: Region, share: float) -> Tensor:
        """The next point: a projected step, of which ``share`` is taken, and the rest of the movement before."""
        ahead = region.ascend(now.x, now.gradient, now.step)
        if share == 1.0:
            return ahead
        # x + share (ahead - x) + (1 - share) (x - before), in place
        ahead.mul_(share).add_(now.x, alpha=2 * (1 - share)).sub_(now.before, alpha=1 - share)
        return region.project_(ahead)
