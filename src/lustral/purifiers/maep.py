"""MAEP: one pass of a masked autoencoder that sees the whole image."""

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

__all__ = ["MAEP"]


class MAEP(PurifierSettings):
    """Encode all patches, none hidden, and decode the clean image; larger images square by square.

    Args:
        weights: name of registered weights, or path of a safetensors file, of ``lustral train maep``.
        overlap: smallest number of pixels that neighbouring squares of a larger image share. They have the side that
            the network has learnt.

    Cost: one network pass; for an image larger than the side s of the network about
        ``h w / (s - overlap)^2`` passes of squares.

    Source: "Diffusion or non-diffusion adversarial defenses" (MAEP, paper 004), sections 4 and 5.5.
    Differs: the paper cuts large images into squares and does not say whether they overlap; here they do, and are
        blended, so that no seam is seen. For the network see ``lustral.nets.masked_autoencoder``, for its training
        ``lustral.train.purifier``.
    """

    name: ClassVar[str] = "maep"
    family: ClassVar[Family] = "learned"
    source: ClassVar[str] = "Diffusion or non-diffusion adversarial defenses (MAEP), section 4"
    gradient: ClassVar = "exact"
    passes: ClassVar[int] = 1
    weights: str = Field(default="cifar10_maep", min_length=1)
    overlap: int = Field(default=8, ge=0)

    def weights_used(self) -> tuple[str, ...]:
        return (self.weights,)

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.diffusion.tiles import Tiled
        from lustral.nets.masked_autoencoder import MaskedAutoencoder
        from lustral.nets.networks import load_network
        from lustral.purifiers.module import Purifier
        from lustral.steps import step

        network = load_network(self.weights, MaskedAutoencoder, device)

        def clean(x: Tensor) -> Tensor:
            return step(network, x)  # within the cutting: checkpoints then hold some squares at a time

        whole = Tiled(clean, network.side, self.overlap)

        def run(x: Images, noise: Noise) -> Images:
            network.to(x.dtype)
            return whole(x)

        return Purifier(self, run, network)
