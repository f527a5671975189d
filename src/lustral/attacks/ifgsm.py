"""The iterative fast gradient sign method, as benchmarks of quality metrics run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.settings import Number

if TYPE_CHECKING:
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["IFGSM"]


class IFGSM(AttackSettings):
    """Signed gradient steps of a perturbation that starts at zero; only the image is clipped to [0, 1].

    Unlike PGD, the perturbation itself may point out of [0, 1]: it stays where the clipping hides it from
    the gradient, because it has no slope there.

    Cost: ``steps`` gradients and one loss per image and draw.

    Args:
        steps: number of steps.
        step: length of a step in units of the [0, 1] range; None is ``epsilon / steps``, which makes
            epsilon the attained distance as in the paper's strength levels.

    Source: Guardians of image quality (arXiv:2408.01541), appendix on attacks; Kurakin et al., arXiv:1607.02533.
    Differs: the bound is ``epsilon`` of the ball; the paper varies the step and clips at 10/255 always.
        L2, with unit gradients, is ours.
    """

    name: ClassVar[str] = "ifgsm"
    source: ClassVar[str] = "arXiv:2408.01541"
    needs: ClassVar = "gradients"
    kinds: ClassVar[tuple[str, ...]] = ("quality",)
    steps: int = Field(10, ge=1)
    step: Number | None = Field(None, gt=0)

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.attacks.balls import normalise

        ball, step = self.ball(), self.epsilon / self.steps if self.step is None else self.step
        moved = x
        for _ in range(self.steps):
            image = moved.clamp(0, 1)
            seen = oracle.gradient(image).gradient * (image == moved)
            moved = x + ball.shrink(moved - x + step * normalise(seen, self.norm))
        adversarial = ball.project(moved, x)
        oracle.loss(adversarial)
        return adversarial
