"""DeepFool: across the nearest of the linearised boundaries, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.attacks.budgets import UNBOUNDED
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.nearest import Nearest
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["DeepFool"]

_SHORTEST = 1e-4  # of a step; on the boundary itself a linearisation would ask for none


class DeepFool(AttackSettings):
    """Step over the nearest linearised boundary of the likeliest wrong classes until the image is misclassified.

    Every image leaves as soon as most draws are broken. Without a budget the perturbation is then checked as an
    8-bit image, made longer where rounding undoes it, and stands as the nearest success.

    Cost: per image and draw one forward pass for the classes, then for every step two forward passes and
    ``targets`` backward passes, most images take 2 to 4 steps; at the end about 1 to 9 forward passes.

    Args:
        norm: in which steps are shortest and ``epsilon`` is measured.
        epsilon: longest perturbation that counts as success; the default bounds nothing, and the length found
            is part of every result. A budget normalised by the size of images goes through ``l2_of_normalised``.
        steps: most steps.
        targets: number of wrong classes, at most all; the likeliest of the clean image.
        overshoot: share by which a step is longer than the way to the boundary ("eta").

    Source: Moosavi-Dezfooli et al., arXiv:1511.04599, algorithm 2 and section 3.3; 9 targets and 50 steps as in
        its published code.
    Differs: every step overshoots, as in the published code, not only their sum; a step is at least 1e-4 long and
        ends in [0, 1]. With a budget the result is the nearest point or, with a larger margin, the point beyond it on
        the border of the ball.
    """

    name: ClassVar[str] = "deepfool"
    source: ClassVar[str] = "arXiv:1511.04599, algorithm 2"
    needs: ClassVar = "gradients"
    kinds: ClassVar = ("classifier",)
    norm: Literal["linf", "l2"] = "l2"
    epsilon: Number = Field(default=UNBOUNDED, gt=0)
    steps: int = Field(default=50, ge=1)
    targets: int = Field(default=9, ge=1)
    overshoot: float = Field(default=0.02, ge=0)

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.attacks.nearest import conclude

        return conclude(self, oracle, x, self.nearest(oracle, x))

    def nearest(self, oracle: Oracle, x: Images) -> Nearest:
        """The first broken point of every walk, however far it is and not rounded."""
        import torch

        from lustral.attacks.balls import lengths
        from lustral.attacks.goals import rivals
        from lustral.attacks.nearest import Nearest

        found = Nearest(x.clone(), x.new_full((len(x),), float("inf")))
        aims = rivals(oracle.goal, oracle.logits(x), self.targets)
        rows, point = torch.arange(len(x), device=x.device), x
        for step in range(self.steps + 1):
            broken = oracle.broken(point, rows)
            found.offer(rows, point, lengths(point - x[rows], self.norm), broken)
            rows, point = rows[~broken], point[~broken]
            if step == self.steps or not len(rows):
                break
            point = self._step(point, *oracle.gaps(point, aims[rows], rows))
        found.x[rows] = point
        return found

    def _step(self, x: Tensor, gaps: Tensor, slopes: Tensor) -> Tensor:
        """Images (m, 3, h, w) beyond the nearest boundary; gaps (m, c) with their gradients (m, c, 3, h, w)."""
        import torch

        from lustral.attacks.balls import normalise

        flat = slopes.flatten(2)
        dual = flat.abs().sum(2) if self.norm == "linf" else flat.norm(dim=2)
        distance, nearest = (gaps.abs() / dual.clamp_min(1e-12)).min(1)
        slope = slopes[torch.arange(len(x), device=x.device), nearest]
        length = (1 + self.overshoot) * distance.clamp_min(_SHORTEST)
        return (x + length[:, None, None, None] * normalise(slope, self.norm)).clamp_(0, 1)
