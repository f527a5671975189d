"""FACPA: a network that makes the perturbation of an image in one pass, without looking at the target."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from lustral.attacks.base import AttackSettings

if TYPE_CHECKING:
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["FACPA"]


class FACPA(AttackSettings):
    """Add what a small U-Net makes of the image; ``lustral train facpa`` taught it on other photographs.

    The attack asks nothing before it is done, so what it gains against a target that its weights were not made for
    is what transfers. Which target that was, and in which direction, stands on the weight card.

    Cost: one loss per image and draw, and one pass of the U-Net per image.

    Args:
        epsilon: what the network's tanh is multiplied by; its three strengths are 2/255, 4/255 and 8/255 in the paper.
        weights: name in the zoo, or path of a safetensors file that ``lustral train facpa`` made.

    Source: Shumitskaya et al., arXiv:2305.15544; Guardians of image quality, arXiv:2408.01541, appendix on attacks.
        See ``lustral.train.perturbation`` for how the network is taught.
    Differs: ``epsilon`` is the bound of the result; the paper's amplitude multiplies a bound of 10/255, and its code a
        factor of 10 beside. A smaller network, see ``lustral.nets.perturbations``; images are padded by reflection.
    """

    name: ClassVar[str] = "facpa"
    source: ClassVar[str] = "arXiv:2305.15544"
    needs: ClassVar = "scores"
    kinds: ClassVar[tuple[str, ...]] = ("quality",)
    norm: Literal["linf"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride] settings are frozen
    weights: str = "facpa_photo_quality"

    def weights_used(self) -> tuple[str, ...]:
        return (self.weights,)

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.nets.perturbations import PerturbationGenerator, load_perturbation

        generator = load_perturbation(self.weights, PerturbationGenerator).to(x)
        adversarial = self.ball().project(x + self.epsilon * generator(x), x)
        oracle.loss(adversarial)
        return adversarial
