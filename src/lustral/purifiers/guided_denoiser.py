"""HGD: a denoiser that learnt to keep the logits of a classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.purifiers.module import Purifier
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["GuidedDenoiser"]


class GuidedDenoiser(PurifierSettings):
    """A U-Net whose answer is added to the image, trained so that a classifier sees what it sees of the clean one.

    The classifier guides the training only; purification needs no target.

    Args:
        weights: name of registered weights, or path of a safetensors file that ``lustral train`` wrote.

    Cost: one network pass.

    Source: Liao et al., arXiv:1712.02976, the logits guided denoiser (LGD).
        Differs: a small network for small images.
    """

    name: ClassVar[str] = "guided_denoiser"
    family: ClassVar[Family] = "learned"
    source: ClassVar[str] = "Liao et al. 2018 (HGD)"
    gradient: ClassVar = "exact"
    passes: ClassVar[int] = 1
    weights: str = Field(default="cifar10_hgd", min_length=1)

    def weights_used(self) -> tuple[str, ...]:
        return (self.weights,)

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.nets.guided_denoiser import DUNET
        from lustral.nets.networks import load_network
        from lustral.purifiers.module import Purifier
        from lustral.steps import step

        network = load_network(self.weights, DUNET, device)

        def run(x: Images, noise: Noise) -> Images:
            network.to(x.dtype)
            return step(network, x)

        return Purifier(self, run, network)
