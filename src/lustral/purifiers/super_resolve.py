"""Super-resolution and back: enlarge with a network, reduce to the old size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.purifiers.module import Purifier
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["SuperResolve"]


class SuperResolve(PurifierSettings):
    """Enlarge the whole image ``scale`` times by super-resolution, then reduce it linearly to its size.

    Several rounds (figure 6) are a ``Repeat`` of this.

    Args:
        weights: name of registered weights, or path of a safetensors file, see
            ``lustral.nets.loading.load_super_resolution``; published ones through spandrel need the extra ``restore``.
        scale: ratio; the weights must have been made for it.
        kernel: of the reduction: antialiased "bicubic" or "bilinear", or "area", the mean of the pixels it replaces.

    Cost: one network pass.

    Source: Park et al., "Adversarial purification via super-resolution and diffusion" (PuriFlow), ICCV 2025,
        section 4, tables 7, 9 and 10, figure 6; before it Mustafa et al., arXiv:1901.01677, after wavelet denoising.
    Differs: the paper names no kernel of its linear reduction. It takes EDSR, MDSR, DRLN and ESRGAN as published, far
        larger; those shipped here are small, trained on few photographs, and ESRGAN's without its adversarial loss.
        They learnt to undo the antialiased bicubic reduction, so that with this kernel a clean picture comes back
        almost unchanged (47 to 55 dB on CIFAR-10) and a perturbation loses only its finest part.
    """

    name: ClassVar[str] = "super_resolve"
    family: ClassVar[Family] = "restoration"
    source: ClassVar[str] = "Park et al. 2025 (PuriFlow), section 4"
    gradient: ClassVar = "exact"
    passes: ClassVar[int] = 1
    presets: ClassVar = (
        {"weights": "edsr_x2"},
        {"weights": "mdsr_x8"},
        {"weights": "rrdb_x2"},
        {"weights": "drln_x2"},
        {"weights": "mdsr_x8", "scale": 4},
        {"weights": "mdsr_x8", "scale": 8},
    )
    weights: str = Field(default="edsr_x2", min_length=1)
    scale: int = Field(default=2, ge=2, le=16)
    kernel: Literal["bicubic", "bilinear", "area"] = "bicubic"

    def weights_used(self) -> tuple[str, ...]:
        return (self.weights,)

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        import torch.nn.functional as functional

        from lustral.nets.loading import load_super_resolution
        from lustral.purifiers.module import Purifier
        from lustral.steps import step

        network = load_super_resolution(self.weights, self.scale, device)

        def enlarge_and_reduce(x: Tensor) -> Tensor:
            smooth = self.kernel != "area"  # the area kernel needs no other protection against aliasing
            return functional.interpolate(network(x), size=x.shape[2:], mode=self.kernel, antialias=smooth)

        def run(x: Images, noise: Noise) -> Images:
            network.to(x.dtype)
            return step(enlarge_and_reduce, x)

        return Purifier(self, run, network)
