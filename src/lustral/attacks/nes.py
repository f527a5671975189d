"""NES: gradients from the answers to opposite Gaussian steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lustral.attacks.balls import Region
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["NES", "spread"]

_TOGETHER = 2**16  # numbers per image that are drawn at once


def spread(tile: Tensor, height: int, width: int) -> Tensor:
    """Repeat a tile (m, 3, k, l) until it covers images: (m, 3, height, width)."""
    down, across = -(-height // tile.shape[2]), -(-width // tile.shape[3])
    if down == across == 1:
        return tile[:, :, :height, :width]
    return tile.repeat(1, 1, down, across)[:, :, :height, :width]


class NES(AttackSettings):
    """Estimate the gradient from pairs of opposite Gaussian steps, and climb along it.

    The loss is the margin for a classifier and the score for a quality metric; the oracle averages it over
    draws of the defence. Every image that is asked about is an allowed one, and the best of them stands.

    Cost: ``queries`` forward passes per image and draw, one less where they leave no room for a pair; less with
        ``early_stop``, whose questions about rounding are among them, which may leave two unasked.

    Args:
        queries: most questions per image; the last one is about the last image.
        pairs: pairs of questions per step ("n" in the benchmark).
        sigma: standard deviation of the steps that are asked about, in units of the [0, 1] range.
        tile: side of the noise in pixels, which is repeated over the image; None, or as many pixels as the image has,
            is noise of its own for every pixel, as in Ilyas et al.
        moves: "normalised" goes along the estimate made one unit long, "sign" every value by the same amount.
        rate: how far ("eta"), in units of the [0, 1] range; for "normalised" it is the L2 length of one tile.
        momentum: share of the last estimate that is kept.
        early_stop: a classifier's images leave after the step in which most draws of one of their points were
            broken, also after rounding to 8 bits. For a random defence this trusts two questions: leave it off there.

    The defaults are those of the quality benchmark; Ilyas et al. publish
    ``nes:tile=1024,moves=sign,rate=0.01,momentum=0.9,pairs=25``.

    Source: Ilyas et al., arXiv:1804.08598, section 2 and algorithm 1; tiles, normalised steps and numbers of Gushchin
        et al., arXiv:2408.01541, table 9.
    Differs: points to ask about stay in the ball and in [0, 1]. What clipping takes is known, as a Gaussian's
        ``E[u clip(sigma u)]`` is sigma times the chance of not being clipped; without a tile each value is divided by
        it, which keeps the estimate free of bias for a linear loss. With a tile its copies count by these chances.
        Not the last image but the best stands, and the last one is asked about, for which the last step is a pair
        short. The learning rate is not lowered on plateaus. With direction "both" the first step is random, since at
        the clean image the objective has no slope.
    """

    name: ClassVar[str] = "nes"
    source: ClassVar[str] = "arXiv:1804.08598, section 2"
    needs: ClassVar = "scores"
    norm: Literal["linf"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride] settings are frozen
    queries: int = Field(default=10_000, ge=3)
    pairs: int = Field(default=20, ge=1)
    sigma: float = Field(default=0.001, gt=0)
    tile: int | None = Field(default=32, ge=1)
    moves: Literal["normalised", "sign"] = "normalised"
    rate: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    early_stop: bool = True

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.attacks.balls import normalise
        from lustral.attacks.questions import Questions

        questions, region, point = Questions(oracle, x, self.queries, self.early_stop), self.ball().around(x), x.clone()
        mean = x.new_zeros(self._shape(x))

        def gain(ahead: Images, behind: Images) -> Tensor:
            who = questions.left >= 3  # the last question is about the last image
            return questions.ask(ahead, who) - questions.ask(behind, who)

        while len(point):
            mean.lerp_(self.slope(gain, point, region, noise), 1 - self.momentum)
            direction = mean.sign() if self.moves == "sign" else normalise(mean, "l2")
            region.project_(point.add_(spread(direction, *x.shape[2:]), alpha=self.rate))
            if bool((last := questions.left < 3).any()):
                questions.ask(point, last)
            if (stay := questions.leave(least=3)) is not None:
                point, mean, region, noise = point[stay], mean[stay], region.select(stay), noise.select(stay)
        return questions.best.x

    def slope(self, gain: Callable[[Images, Images], Tensor], x: Images, region: Region, noise: Noise) -> Tensor:
        """Estimate of the gradient at ``x`` (m, 3, h, w), summed over the copies of the tile: (m, 3, k, l).

        Of a linear loss its expectation is the gradient where the tile is the image; else the sum over the copies,
        each times the chance that its value is not clipped.

        Args:
            gain: losses of the first images less those of the second (m,), each (m, 3, h, w).
            x: within ``region``.
            region: what may be asked about.
            noise: one stream per image.
        """
        import torch

        shape = self._shape(x)
        together = max(1, _TOGETHER // shape[1:].numel())
        total, ahead, behind = x.new_zeros(shape), torch.empty_like(x), torch.empty_like(x)
        for first in range(0, self.pairs, together):
            count = min(together, self.pairs - first)
            for draw in noise.normal(x.new_empty(len(x), count, *shape[1:])).unbind(1):
                shift = spread(draw, *x.shape[2:])
                torch.add(x, shift, alpha=self.sigma, out=ahead).clamp_(region.low, region.high)
                torch.sub(x, shift, alpha=self.sigma, out=behind).clamp_(region.low, region.high)
                total.addcmul_(draw, gain(ahead, behind).to(x)[:, None, None, None])
        total.div_(2 * self.sigma * self.pairs)
        if shape != x.shape:
            return total
        below, above = ((edge - x).div_(self.sigma) for edge in (region.low, region.high))
        return total.div_(torch.special.ndtr(above) - torch.special.ndtr(below))

    def _shape(self, x: Images) -> torch.Size:
        """Of one tile per image."""
        height, width = (size if self.tile is None else min(size, self.tile) for size in x.shape[2:])
        return x[:, :, :height, :width].shape
