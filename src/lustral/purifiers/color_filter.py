"""FCN: a neural filter against colour attacks."""

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

__all__ = ["ColorFilter"]


class ColorFilter(PurifierSettings):
    """Three convolutions, trained on pairs of attacked and clean images with the squared error.

    Args:
        weights: name of registered weights, or path of a safetensors file that ``lustral train`` wrote.

    Cost: one network pass.

    Source: FCN of Gushchin et al. (2024), as paper 000 uses it (table 2, appendix A.5.1).
        Differs: other weights; the published ones were trained on colour attacks on image-quality metrics.
    """

    name: ClassVar[str] = "color_filter"
    family: ClassVar[Family] = "learned"
    source: ClassVar[str] = "Gushchin et al. 2024 (FCN); Guardians of image quality, table 2"
    gradient: ClassVar = "exact"
    passes: ClassVar[int] = 1
    weights: str = Field(default="cifar10_fcn", min_length=1)

    def weights_used(self) -> tuple[str, ...]:
        return (self.weights,)

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.nets.color_filter import FCN
        from lustral.nets.networks import load_network
        from lustral.purifiers.module import Purifier
        from lustral.steps import step

        network = load_network(self.weights, FCN, device)

        def run(x: Images, noise: Noise) -> Images:
            network.to(x.dtype)
            return step(network, x)

        return Purifier(self, run, network)
