"""What purifiers by diffusion share: one denoiser, images in [-1, 1]. No torch until they are built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.diffusion.samplers import Denoise, State
    from lustral.purifiers.module import Purifier
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["DiffusionPurifier"]


class DiffusionPurifier(PurifierSettings):
    """Settings of a purifier over a denoiser; a subclass defines ``clean`` and reads like its paper.

    Args:
        denoiser: name of registered weights, path of a safetensors file, or folder of a diffusers model.
    """

    family: ClassVar[Family] = "diffusion"
    gradient: ClassVar = "exact"
    is_random: ClassVar[bool] = True
    denoiser: str = Field(default="cifar10_denoiser", min_length=1)

    def weights_used(self) -> tuple[str, ...]:
        return (self.denoiser,)

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        """Map images in [-1, 1] to purified ones, differentiably; every network pass inside ``lustral.steps.step``."""
        raise NotImplementedError

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.diffusion import load_denoiser
        from lustral.purifiers.module import Purifier

        denoiser = load_denoiser(self.denoiser, device)

        def run(x: Images, noise: Noise) -> Images:
            denoiser.to(x.dtype)
            return (self.clean(denoiser, 2 * x - 1, noise) + 1) / 2

        return Purifier(self, run, denoiser)
