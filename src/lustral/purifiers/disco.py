"""DISCO: every pixel is asked anew of a local implicit function, trained on attacked and clean images."""

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

__all__ = ["DISCO"]


class DISCO(PurifierSettings):
    """Features of the whole image, and a small network that reads the clean colour of each pixel off those around it.

    Args:
        weights: name of registered weights, or path of a safetensors file: one that ``lustral train`` wrote, or
            ``["model"]["sd"]`` of a published checkpoint.
        cascades: how often the image goes through the network; what leaves a round is clamped to [0, 1].

    Cost: one network pass per round.

    Source: Ho and Vasconcelos, "DISCO: adversarial defense with local implicit functions", NeurIPS 2022.
        Differs: the network shipped here is small and adds to the image; the answer has the size of the image, while
        the code of paper 000 makes every image 299 x 299; all rounds have the same weights; published code has no
        gradient unless asked for, here it is always there.
    """

    name: ClassVar[str] = "disco"
    family: ClassVar[Family] = "learned"
    source: ClassVar[str] = "Ho and Vasconcelos 2022 (DISCO); Guardians of image quality, table 2"
    gradient: ClassVar = "exact"
    weights: str = Field(default="cifar10_disco", min_length=1)
    cascades: int = Field(default=1, ge=1, le=16)

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] one per round
        """Network passes of all rounds."""
        return self.cascades

    def weights_used(self) -> tuple[str, ...]:
        return (self.weights,)

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.nets.local_implicit import LocalImplicit
        from lustral.nets.networks import load_network
        from lustral.purifiers.module import Purifier
        from lustral.steps import step

        network = load_network(self.weights, LocalImplicit, device)

        def run(x: Images, noise: Noise) -> Images:
            network.to(x.dtype)
            for _ in range(self.cascades):
                x = step(network, x).clamp(0, 1)
            return x

        return Purifier(self, run, network)
