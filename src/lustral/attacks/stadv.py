"""StAdv: move pixels instead of changing their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.attacks.budgets import UNBOUNDED
from lustral.settings import Number

if TYPE_CHECKING:
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["StAdv"]


class StAdv(AttackSettings):
    """Adam on a field of displacements, one per pixel, through which the image is seen.

    Maximises ``min(margin, confidence) - tau * roughness`` over flows of at most ``bound``; for a quality metric
    the score stands for the margin. The two forms of the literature are settings of the one objective:

    - bounded, the default: no penalty, and no displacement longer than ``bound`` in either direction;
    - regularised, ``stadv:bound=1,tau=0.05,confidence=0``: displacements are free and cost what their neighbours
      differ; of all broken images the one with the smoothest flow stands.

    It is no attack of a norm: ``epsilon`` bounds nothing, and the distances found are part of every result. The
    smallest bounded flows reach below a pixel: 0.05 is 0.8 pixels of 32.

    Cost: ``steps`` gradients and one loss per image and draw.

    Args:
        norm: has no meaning here.
        epsilon: bounds nothing; 1 and more are all images. The strength is ``bound`` or ``tau``.
        bound: longest displacement down and to the right, in units of half a side (coordinates from -1 to 1 across
            the image), so that 0.05 is a fortieth of the side and 1 is half of it.
        tau: weight of the roughness: over all pixels and their four neighbours the distances in pixels.
        confidence: margin beyond which an image is not pushed on; None is never.
        steps: of Adam.
        rate: its learning rate, in units of half a side.
        random_start: whether the first flow is uniform within ``bound``, else it is none.

    Source: Xiao et al., arXiv:1801.02612, equations 1 to 4; the bound of Laidlaw et al., arXiv:2006.12655, whose
        published code has ``steps=20`` and also a weight of 0.05 on a roughness in units of half a side.
    Differs: Adam, as in the code of Laidlaw et al., for L-BFGS with a line search; untargeted; the margin is
        averaged over draws. Half a side counts from edge to edge of the outermost pixels, not between their centres
        (0.800 for 0.775 pixels of 32). Not the last but the best image stands.
    """

    name: ClassVar[str] = "stadv"
    source: ClassVar[str] = "arXiv:1801.02612, equations 1 to 4"
    needs: ClassVar = "gradients"
    strength: ClassVar[str] = "bound"
    norm: Literal["linf", "l2"] = "linf"
    epsilon: Number = Field(default=UNBOUNDED, ge=1)
    bound: Number = Field(default=0.05, gt=0, le=2)
    tau: float = Field(default=0.0, ge=0)
    confidence: float | None = Field(default=None, ge=0)
    steps: int = Field(default=100, ge=1)
    rate: Number = Field(default=0.01, gt=0)
    random_start: bool = False

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.attacks.rendering import climb
        from lustral.attacks.warping import roughness, warp

        flow = x.new_zeros(len(x), 2, *x.shape[2:])
        if self.random_start:
            flow = noise.uniform(flow).mul_(2).sub_(1).mul_(self.bound)
        return climb(
            oracle,
            x,
            flow,
            lambda flow: warp(x, flow),
            lambda flow: flow.clamp_(-self.bound, self.bound),
            steps=self.steps,
            rate=self.rate,
            loss="margin" if oracle.goal.kind == "classifier" else None,
            penalty=(lambda flow: self.tau * roughness(flow)) if self.tau else None,
            confidence=self.confidence,
        )
