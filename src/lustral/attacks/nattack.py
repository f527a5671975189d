"""NAttack: learn where to draw images from, without gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.attacks.base import AttackSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.balls import Region
    from lustral.attacks.best import Best
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["NAttack"]

_TOGETHER = 10  # candidates whose numbers are drawn at once


class NAttack(AttackSettings):
    """Draw images from a Gaussian before a tanh, project them into the ball, and move its mean where the loss is high.

    The loss is the margin for a classifier and the score for a quality metric; the oracle averages it over
    draws of the defence. Rewards are standardised within the population.

    Cost: ``queries`` forward passes per image and draw; less with ``early_stop``.

    Args:
        queries: questions per image: the mean and ``population`` candidates per step.
        population: candidates per step ("b").
        sigma: standard deviation of the candidates before the tanh.
        rate: learning rate of the mean ("eta").
        side: the Gaussian has at most so many values per side, larger images take it by bilinear interpolation.
        early_stop: a classifier's images leave after the step in which most draws of one of their points were
            broken, also after rounding to 8 bits. For a random defence this trusts one question: leave it off there.

    The published code takes ``population=300,queries=120000``; the (Compress and Restore)^N paper
    (doi:10.1145/3524619, section 4.4) ``population=100,rate=0.008,queries=30300,epsilon=16/255``.

    Source: Li et al., arXiv:1905.00441, algorithm 1.
    Differs: the first mean is the clean image, as in its published code, not the answer of a network trained for
        that; the margin is not cut at 0, so that images that may not leave are pushed farther; every candidate may end
        the attack, not only the mean; 5,000 queries and a population of 100, where the published code has more.
    """

    name: ClassVar[str] = "nattack"
    source: ClassVar[str] = "arXiv:1905.00441, algorithm 1"
    needs: ClassVar = "scores"
    queries: int = Field(default=5000, ge=3)
    population: int = Field(default=100, ge=2)
    sigma: float = Field(default=0.1, gt=0)
    rate: float = Field(default=0.02, gt=0)
    side: int = Field(default=32, ge=1)
    early_stop: bool = True

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        import torch

        from lustral.attacks.best import Best, leaving, may_stop
        from lustral.attacks.squashing import unsquash

        name, stop = "margin" if oracle.goal.kind == "classifier" else None, may_stop(oracle, self.early_stop)
        best, rows = Best(x), torch.arange(len(x), device=x.device)
        search = _Search(oracle, name, best, rows, unsquash(x), self.ball().around(x))
        mean = x.new_zeros(len(x), 3, *(min(size, self.side) for size in x.shape[2:]))
        for first in range(0, self.queries - 2, self.population + 1):
            size = min(self.population, self.queries - first - 1)
            mean = mean + self.rate / self.sigma * self.direction(search.ask, mean, noise, size)
            if stop and bool((broken := best.broken[search.rows]).any()):
                points = best.x[search.rows]
                stay = ~leaving(oracle, points, search.rows, broken)
                best.x[search.rows] = points
                mean, noise = mean[stay], noise.select(stay)
                if not len(mean):
                    break
                search = search.select(stay)
        return best.x

    def direction(self, ask: Callable[[Tensor], Tensor], mean: Tensor, noise: Noise, size: int) -> Tensor:
        """Mean of the draws weighted by their standardised rewards, of the shape of ``mean`` (m, 3, k, l).

        Divided by sigma it estimates the gradient of the expected reward in units of the rewards' deviation.

        Args:
            ask: rewards (m,) of shifts (m, 3, k, l) of the images before the tanh.
            mean: of the Gaussian; its own reward is asked first.
            noise: one stream per image.
            size: number of draws.
        """
        import torch

        base = ask(mean)  # rewards are taken relative to it, so that the sums below stay small
        rewards: list[Tensor] = []
        weighted, total = torch.zeros_like(mean), torch.zeros_like(mean)
        for first in range(0, size, _TOGETHER):
            count = min(_TOGETHER, size - first)
            for draw in noise.normal(mean.new_empty(len(mean), count, *mean.shape[1:])).unbind(1):
                rewards.append(ask(torch.add(mean, draw, alpha=self.sigma)) - base)
                weighted.addcmul_(draw, rewards[-1].to(draw)[:, None, None, None])
                total.add_(draw)
        found = torch.stack(rewards, 1)
        average, deviation = (value.to(mean)[:, None, None, None] for value in (found.mean(1), found.std(1, False)))
        return weighted.sub_(average * total).div_(size * (deviation + 1e-7))


@dataclass
class _Search:
    """The images that are still attacked, numbered ``rows`` (m,) in the chunk; ``centre`` is before the tanh."""

    oracle: Oracle
    name: str | None
    best: Best
    rows: Tensor
    centre: Tensor
    region: Region

    def ask(self, shift: Tensor) -> Tensor:
        """Losses (m,) of the images shifted before the tanh by ``shift`` (m, 3, k, l), which may be smaller."""
        import torch

        from lustral.attacks.squashing import squash

        size = self.centre.shape[2:]
        if shift.shape[2:] != size:
            shift = torch.nn.functional.interpolate(shift, size=size, mode="bilinear")
        point = self.region.project_(squash(self.centre + shift))
        loss, broken = self.oracle.loss(point, self.rows, self.name)
        self.best.offer(self.rows, point, loss, broken)
        return loss

    def select(self, stay: Tensor) -> _Search:
        """The same for some of the images."""
        rows, centre, region = self.rows[stay], self.centre[stay], self.region.select(stay)
        return _Search(self.oracle, self.name, self.best, rows, centre, region)
