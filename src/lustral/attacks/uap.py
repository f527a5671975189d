"""A universal adversarial perturbation: one for all images, learnt beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from lustral.attacks.base import AttackSettings

if TYPE_CHECKING:
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["UAP"]


class UAP(AttackSettings):
    """Add the same tile of perturbation to every image; ``lustral train uap`` learnt it on other photographs.

    The attack asks nothing before it is done, so what it gains against a target that its weights were not made for
    is what transfers. Which target that was, and in which direction, stands on the weight card.

    Cost: one loss per image and draw.

    Args:
        epsilon: the largest value of the tile. The paper's amplitude times its bound of 0.1; its three strengths are
            2/255, 4/255 and 8/255.
        weights: name in the zoo, or path of a safetensors file that ``lustral train uap`` made.

    Source: Shumitskaya et al. 2024, doi:10.1016/j.cviu.2024.103913 (Optimised-UAP), after arXiv:2211.00366; Guardians
        of image quality, arXiv:2408.01541, appendix on attacks. See ``lustral.train.perturbation`` for how the tile is
        learnt.
    Differs: tiles are smaller, 128 pixels instead of 256, and have 8 bits.
    """

    name: ClassVar[str] = "uap"
    source: ClassVar[str] = "arXiv:2211.00366"
    needs: ClassVar = "scores"
    kinds: ClassVar[tuple[str, ...]] = ("quality",)
    norm: Literal["linf"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride] settings are frozen
    weights: str = "uap_photo_quality"

    def weights_used(self) -> tuple[str, ...]:
        return (self.weights,)

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.nets.perturbations import UniversalPerturbation, load_perturbation

        perturbation = load_perturbation(self.weights, UniversalPerturbation).to(x)
        adversarial = self.ball().project(x + self.epsilon * perturbation(x), x)
        oracle.loss(adversarial)
        return adversarial
