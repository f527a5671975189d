"""DiffAttack: push the reverse diffusion off its way, not only the class."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.apgd import APGD
from lustral.attacks.base import AttackSettings

if TYPE_CHECKING:
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["DiffAttack"]


class DiffAttack(AttackSettings):
    """APGD on the loss of the purified image plus how far the reverse states are from the diffused image.

    The second term is ``weight * mean_t |x_t - x'_t|^2 / values``: x'_t is the reverse state at time step t, and x_t
    the attacked image diffused to t with the noise of the forward process, taken as a constant. It reaches every
    step of the purifier directly, where the loss has to come through all of them.

    Cost: ``restarts * steps`` gradients and ``restarts`` losses per image and draw, as for APGD.

    Args:
        steps: steps per climb.
        loss: on the purified image; "natural" is cross-entropy for a classifier and the score for a quality metric.
        weight: of the deviation, in units of images in [-1, 1].
        every: of this many reverse states one counts; the paper's code skips some, 1 takes all.
        restarts: independent climbs from random points; the best end point is returned.

    Source: Kang, Song, Li, arXiv:2311.16124, section 3.2 (deviated reconstruction). Images never leave early, as in
        the published code, which runs it with cross-entropy and with DLR and 20 draws (``exact:eot=20``).
    Differs: the gradient comes from recomputing single strides, which equals their segment-wise propagation; the
        time-dependent weight is 1, as in the published code. Where the states have no derivative or there are none
        (blind, BPDA, a purifier that changes nothing) this is APGD; any other purifier without states is an error.
    """

    name: ClassVar[str] = "diffattack"
    source: ClassVar[str] = "arXiv:2311.16124, section 3.2"
    needs: ClassVar = "gradients"
    steps: int = Field(default=100, ge=1)
    loss: Literal["natural", "ce", "margin", "dlr"] = "natural"
    weight: float = Field(default=1.0, ge=0)
    every: int = Field(default=1, ge=1)
    restarts: int = Field(default=1, ge=1)

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.attacks.deviation import Deviation

        climb = APGD.make(
            norm=self.norm, epsilon=self.epsilon, steps=self.steps, loss=self.loss, restarts=self.restarts
        )
        return climb.run(oracle.deviating(Deviation(self.weight, self.every)), x, noise)
