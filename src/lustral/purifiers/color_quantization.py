"""Colour quantisation: fewer values per channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings

if TYPE_CHECKING:
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["ColorQuantization"]


class ColorQuantization(PurifierSettings):
    """Round every value to the nearest of ``levels`` equally spaced ones: round(x (n - 1)) / (n - 1).

    Args:
        levels: number of values per channel, the paper's npp.

    Source: paper 000, tables 2 and 11, after Xu et al. (2018), Feature squeezing.
    Differs: the gradient is that of the identity (straight-through). Rounding has zero gradient, and the
        published code leaves it so, which stops an adaptive attacker without defending anything.
    """

    name: ClassVar[str] = "color_quantization"
    family: ClassVar[Family] = "compression"
    source: ClassVar[str] = "Guardians of image quality, tables 2 and 11"
    gradient: ClassVar = "bpda"
    presets: ClassVar = tuple({"levels": levels} for levels in (25, 20, 16, 5, 2))
    levels: int = Field(16, ge=2, le=256)

    def purify(self, x: Images, noise: Noise) -> Images:
        from lustral.purifiers.substitute import substitute

        return substitute(x.mul(self.levels - 1).round().div(self.levels - 1), x)
