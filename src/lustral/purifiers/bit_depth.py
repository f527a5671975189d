"""Bit-depth reduction, the first feature squeezer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings

if TYPE_CHECKING:
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["BitDepth"]


class BitDepth(PurifierSettings):
    """Keep ``bits`` bits per channel: round(x (2^b - 1)) / (2^b - 1).

    Args:
        bits: bits per channel; 8 does nothing to an 8-bit image.

    Source: Xu et al. (2018), Feature squeezing, section on colour depth.
    Differs: the gradient is that of the identity (straight-through), since rounding has none.
    """

    name: ClassVar[str] = "bit_depth"
    family: ClassVar[Family] = "compression"
    source: ClassVar[str] = "Xu et al. 2018, Feature squeezing"
    gradient: ClassVar = "bpda"
    presets: ClassVar = tuple({"bits": bits} for bits in (5, 4, 3, 2, 1))
    bits: int = Field(4, ge=1, le=8)

    def purify(self, x: Images, noise: Noise) -> Images:
        from lustral.purifiers.substitute import substitute

        steps = 2**self.bits - 1
        return substitute(x.mul(steps).round().div(steps), x)
