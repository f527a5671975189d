"""Random points of the ball: the weakest attack, and a trap for defences that only mask gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.attacks.base import AttackSettings

if TYPE_CHECKING:
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["RandomSearch"]


class RandomSearch(AttackSettings):
    """The best of many random points: every other one on the border of the ball, the rest inside.

    For Linf the border points are corners (each value moves by exactly epsilon, with a random sign) and
    the others are uniform in the box. For L2 both have Gaussian directions; the length is epsilon, or
    uniform between 0 and epsilon.

    Cost: ``draws`` forward passes per image and draw of the defence.

    Args:
        draws: number of points.

    Source: Carlini et al., arXiv:1902.06705, section 5.3 (try random noise within the threat model).
    Differs: half of the points lie on the border, where random points are strongest.
    """

    name: ClassVar[str] = "random_noise"
    source: ClassVar[str] = "arXiv:1902.06705, section 5.3"
    needs: ClassVar = "scores"
    draws: int = Field(100, ge=1)

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        import torch

        from lustral.attacks.best import Best

        best = Best(x)
        name = "margin" if oracle.goal.kind == "classifier" else None
        everyone = torch.arange(len(x), device=x.device)
        for draw in range(self.draws):
            ball = self.ball()
            point = ball.random_border(x, noise) if draw % 2 == 0 else ball.random_start(x, noise)
            best.offer(everyone, point, *oracle.loss(point, name=name))
        return best.x
