"""Removal of JPEG artefacts by a network, whether or not the image has been compressed."""

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

__all__ = ["ArtifactRemoval"]


class ArtifactRemoval(PurifierSettings):
    """Restore the image as if it had been a JPEG picture.

    Args:
        weights: name of registered weights, or path of a safetensors file: one of ``lustral train artifact-removal``,
            or published weights for restoration, such as those of the blind FBCNN (extra ``restore``); see
            ``lustral.nets.restoration.load_restorer``.

    Cost: one network pass.

    Source: the restorer of paper 003, section 3.2.1, after Galteri et al., ICCV 2017. FBCNN: Jiang et al., ICCV 2021.
    Differs: alone, without the compression of the paper, see ``CompressRestore``; for the network see
        ``lustral.nets.artifact_removal``, for its training ``lustral.train.artifact_removal``.
    """

    name: ClassVar[str] = "artifact_removal"
    family: ClassVar[Family] = "restoration"
    source: ClassVar[str] = "(Compress and Restore)^N, section 3.2.1"
    gradient: ClassVar = "exact"
    passes: ClassVar[int] = 1
    presets: ClassVar = tuple({"weights": f"artifact_removal_cifar10_q{quality}"} for quality in (60, 40, 20))
    weights: str = Field(default="artifact_removal_cifar10_q40", min_length=1)

    def weights_used(self) -> tuple[str, ...]:
        return (self.weights,)

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.nets.restoration import load_restorer
        from lustral.purifiers.module import Purifier
        from lustral.steps import step

        network = load_restorer(self.weights, device)

        def run(x: Images, noise: Noise) -> Images:
            network.to(x.dtype)
            return step(network, x)

        return Purifier(self, run, network)
