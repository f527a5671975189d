"""The attack of Korhonen and You: change an image only where its texture hides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Korhonen", "spatial_activity"]


def spatial_activity(x: Images) -> Tensor:
    """How much texture there is around every pixel (n, 1, h, w): from 0 to 1, which the busiest reaches.

    Squared Sobel slopes of luma in both directions, 0 on the outermost pixels, then the largest value within a
    disc of 5 x 5 pixels. An image without any slope is 1 everywhere.

    Source: Korhonen and You 2022, and the function of that name in their published code.
    """
    import torch
    from torch.nn.functional import max_pool2d

    luma = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    # Differences come first: they are exactly 0 where the image is flat.
    down, across = luma[:, :, 2:] - luma[:, :, :-2], luma[..., 2:] - luma[..., :-2]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    across = across[:, :, :-2] + 2 * across[:, :, 1:-1] + across[:, :, 2:]
    activity = torch.zeros_like(luma)
    activity[:, :, 1:-1, 1:-1] = down.square() + across.square()
    most = activity.amax((2, 3), keepdim=True)
    activity = torch.where(most > 0, activity / most, 1.0)
    # The disc is a square without its corners: two rectangles.
    return torch.maximum(max_pool2d(activity, (3, 5), 1, (1, 2)), max_pool2d(activity, (5, 3), 1, (2, 1)))


class Korhonen(AttackSettings):
    """Adam on the pixels, each step weighted by the texture around its pixel; flat regions stay as they are.

    Cost: at most ``steps`` gradients and one loss per image and draw; less with ``patience``.

    Args:
        steps: of Adam, at most.
        rate: its learning rate in units of the [0, 1] range; None is ``epsilon / steps``, the strength levels of the
            paper.
        mask: whether the texture weighs the "update" or, as in the published code, the "gradient".
        patience: an image leaves after this many steps in a row whose point was not its best; None is never.
        least: steps before which none leaves.

    Source: Guardians of image quality (arXiv:2408.01541), appendix on attacks: 10 steps, which all images take.
        Korhonen and You 2022, "Adversarial attacks against blind image quality assessment models": that is
        ``steps=100,patience=2`` and a ``rate`` of 0.1, 0.5, 2 or 5 / 255.
    Differs: Adam undoes any weight on gradients but 0, so the texture weighs the update. The best image stands, where
        the published code takes the one after it and the benchmark's the last. The benchmark's code has Sobel slopes
        in one direction only and with their signs; here they are the authors'. ``epsilon`` bounds every value, the
        papers nothing but the rate: that is ``epsilon=1`` with ``rate`` given.
    """

    name: ClassVar[str] = "korhonen"
    source: ClassVar[str] = "arXiv:2408.01541; Korhonen and You 2022"
    needs: ClassVar = "gradients"
    norm: Literal["linf"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride] settings are frozen
    steps: int = Field(default=10, ge=1)
    rate: Number | None = Field(default=None, gt=0)
    mask: Literal["update", "gradient"] = "update"
    patience: int | None = Field(default=None, ge=1)
    least: int = Field(default=20, ge=1)

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        import torch

        from lustral.attacks.adam import Adam
        from lustral.attacks.best import Best

        adam = Adam(x, self.epsilon / self.steps if self.rate is None else self.rate)
        best, rows, region = Best(x), torch.arange(len(x), device=x.device), self.ball().around(x)
        point, texture, waited = x.clone(), spatial_activity(x), torch.zeros_like(rows)
        for step in range(1, self.steps + 1):
            loss, broken, gradient = oracle.gradient(point, rows)
            before = best.loss[rows]
            best.offer(rows, point, loss, broken)
            waited = torch.where(best.loss[rows] != before, 0, waited + 1)
            if self.mask == "update":
                point = region.project_(adam.step(gradient).mul_(texture).add_(point))
            else:
                point = region.project_(adam.step(gradient * texture).add_(point))
            if self.patience is not None and step >= self.least and bool((waited >= self.patience).any()):
                stay = waited < self.patience
                rows, region, point, texture, waited = (
                    rows[stay], region.select(stay), point[stay], texture[stay], waited[stay],
                )  # fmt: skip
                adam.select_(stay)
                if not len(rows):
                    return best.x
        best.offer(rows, point, *oracle.loss(point, rows))
        return best.x
