"""Published networks for restoration: denoising, deblurring, or super-resolution back to the old size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lustral.purifiers.base import Family, PurifierSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.purifiers.module import Purifier
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Restoration"]


class Restoration(PurifierSettings):
    """One pass through a network for restoration; if that enlarges, the result is reduced to the size of the image.

    Args:
        weights: name of registered weights, or path of a safetensors file: MPRNet for denoising, deblurring or
            deraining, or any network for restoration or super-resolution that spandrel knows (extra ``restore``),
            Real-ESRGAN among them.
        mixed_with: empty, or weights of the same network, of which a part is taken.
        share: share of ``weights``, 0 to 1. Real-ESRGAN's strength of denoising 0.2, which paper 000 uses, is
            ``weights=realesr-general-x4v3``, ``mixed_with=realesr-general-wdn-x4v3`` and ``share=0.2``.
        kernel: of the reduction: antialiased "bicubic" or "bilinear", or "area", the mean of the pixels it replaces.

    Cost: one network pass.

    Source: paper 000, table 2: MPRNet (Zamir et al., arXiv:2102.02808) and Real-ESRGAN (Wang et al.,
        arXiv:2107.10833).
        Differs: by default small weights of our own, an ESRGAN trained without its adversarial loss; the reduction is
        antialiased, that of Real-ESRGAN is Lanczos without; no tiles.
    """

    name: ClassVar[str] = "restoration"
    family: ClassVar[Family] = "restoration"
    source: ClassVar[str] = "Guardians of image quality, table 2"
    gradient: ClassVar = "exact"
    passes: ClassVar[int] = 1
    weights: str = Field(default="rrdb_x4", min_length=1)
    mixed_with: str = ""
    share: float = Field(default=1.0, ge=0, le=1)
    kernel: Literal["bicubic", "bilinear", "area"] = "bicubic"

    @model_validator(mode="after")
    def _has_something_to_mix(self) -> Self:
        if self.share < 1 and not self.mixed_with:
            raise ValueError(f"share={self.share} needs mixed_with, the weights that the rest is taken from")
        return self

    def weights_used(self) -> tuple[str, ...]:
        return (self.weights, self.mixed_with) if self.mixed_with else (self.weights,)

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        import torch.nn.functional as functional

        from lustral.nets.networks import load_any_restorer
        from lustral.purifiers.module import Purifier
        from lustral.steps import step

        network = load_any_restorer(self.weights, self.mixed_with, self.share, device)

        def restore(x: Tensor) -> Tensor:
            y = network(x)
            if y.shape == x.shape:
                return y
            smooth = self.kernel != "area"  # the area kernel needs no other protection against aliasing
            return functional.interpolate(y, size=x.shape[2:], mode=self.kernel, antialias=smooth)

        def run(x: Images, noise: Noise) -> Images:
            network.to(x.dtype)
            return step(restore, x)

        return Purifier(self, run, network)
