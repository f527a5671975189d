"""SPSA: gradients from the answers to random pairs of opposite steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["SPSA"]

_TOGETHER = 8  # pairs whose signs are drawn at once


class SPSA(AttackSettings):
    """Estimate the gradient from pairs of opposite random corners around the image, and follow it with Adam.

    The loss is the margin for a classifier and the score for a quality metric; the oracle averages it over
    draws of the defence. Every image that is asked about is an allowed one, so that each may be the result.

    Cost: at most ``queries`` forward passes per image and draw without ``early_stop``. With it mostly less, but one
        more for every step after which an image is broken and would not be after rounding: at most
        ``(queries - 2) / population``, rounded up, on top, which is 10 by default.

    Args:
        queries: most questions per image, but for those about rounding; the last one is about the last image.
        population: questions per step, in pairs.
        delta: how far every value of an image is moved to ask, in units of the [0, 1] range.
        rate: learning rate of Adam, in the same units.
        early_stop: a classifier's images leave after the step in which most draws of one of their points were
            broken, also after rounding to 8 bits.

    Source: Uesato et al., arXiv:1802.05666, algorithm 1 and section 4; 1,280 questions as in MSID, section 5.6.4.
    Differs: points to ask about stay in the ball and in [0, 1], and each value is divided by how far it was really
        moved, which keeps the estimate free of bias for a linear loss. MSID does not say how its questions are shared
        out: ten steps of 64 pairs, the last one pair short.
    """

    name: ClassVar[str] = "spsa"
    source: ClassVar[str] = "arXiv:1802.05666, algorithm 1"
    needs: ClassVar = "scores"
    norm: Literal["linf"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride] settings are frozen
    queries: int = Field(default=1280, ge=3)
    population: int = Field(default=128, ge=2)
    delta: float = Field(default=0.01, gt=0)
    rate: float = Field(default=0.01, gt=0)
    early_stop: bool = True

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        import torch

        from lustral.attacks.best import Best, leaving, may_stop

        name, stop = "margin" if oracle.goal.kind == "classifier" else None, may_stop(oracle, self.early_stop)
        best, rows, region = Best(x), torch.arange(len(x), device=x.device), self.ball().around(x)
        point, mean, square = x.clone(), torch.zeros_like(x), torch.zeros_like(x)

        def ask(some: Tensor) -> Tensor:
            loss, broken = oracle.loss(some, rows, name)
            best.offer(rows, some, loss, broken)
            return loss

        for step, first in enumerate(range(0, self.queries - 2, self.population), 1):
            pairs = min(self.population, self.queries - 1 - first) // 2
            slope = self.slope(ask, point, region.low, region.high, noise, pairs)
            mean.lerp_(slope, 0.1)
            square.lerp_(slope.square_(), 0.001)
            length = square.div(1 - 0.999**step).sqrt_().add_(1e-8)
            region.project_(point.addcdiv_(mean, length, value=self.rate / (1 - 0.9**step)))
            if stop and bool(best.broken[rows].any()):
                found = best.x[rows]
                stay = ~leaving(oracle, found, rows, best.broken[rows])
                best.x[rows] = found
                noise, region, rows = noise.select(stay), region.select(stay), rows[stay]
                point, mean, square = point[stay], mean[stay], square[stay]
                if not len(rows):
                    return best.x
        ask(point)
        return best.x

    def slope(
        self, ask: Callable[[Tensor], Tensor], x: Images, low: Tensor, high: Tensor, noise: Noise, pairs: int
    ) -> Images:
        """Estimate of the gradient at ``x`` (m, 3, h, w); of a linear loss its expectation is the gradient.

        Args:
            ask: losses (m,) of images (m, 3, h, w).
            x: within the bounds.
            low: least values to ask about, below ``high`` everywhere.
            high: largest.
            noise: one stream per image.
            pairs: questions are twice as many.
        """
        import torch

        total = torch.zeros_like(x)
        for first in range(0, pairs, _TOGETHER):
            count = min(_TOGETHER, pairs - first)
            for signs in noise.signs(x.new_empty(len(x), count, *x.shape[1:])).unbind(1):
                ahead = torch.add(x, signs, alpha=self.delta).clamp_(low, high)
                behind = torch.sub(x, signs, alpha=self.delta).clamp_(low, high)
                gain = (ask(ahead) - ask(behind)).to(x)
                total.addcdiv_(gain[:, None, None, None].expand_as(x), ahead - behind)
        return total.div_(max(pairs, 1))
