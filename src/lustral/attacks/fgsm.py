"""The fast gradient sign method: one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lustral.attacks.base import AttackSettings

if TYPE_CHECKING:
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["FGSM"]


class FGSM(AttackSettings):
    """One step of length epsilon along the sign of the gradient (the unit gradient for L2).

    Cost: one gradient and one loss per image and draw.

    Source: Goodfellow et al., arXiv:1412.6572, section 4.
    """

    name: ClassVar[str] = "fgsm"
    source: ClassVar[str] = "arXiv:1412.6572"
    needs: ClassVar = "gradients"

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.attacks.balls import normalise

        slope = oracle.gradient(x).gradient
        adversarial = self.ball().project(x + self.epsilon * normalise(slope, self.norm), x)
        oracle.loss(adversarial)
        return adversarial
