"""Bilinear upscale: reduce the image and enlarge it smoothly."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings
from lustral.purifiers.resize import shrink
from lustral.settings import Number

if TYPE_CHECKING:
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Upscale"]


class Upscale(PurifierSettings):
    """Reduce the image, then enlarge it bilinearly to the old size.

    Args:
        scale: ratio of the reduced side to the old one, in (0, 1].

    Source: paper 000, tables 2 and 11 ("Bilinear Upscale").
    Differs: enlarges to the size that came in; the published code always makes 384 x 512, the size of
        its data set. The reduction is antialiased.
    """

    name: ClassVar[str] = "upscale"
    family: ClassVar[Family] = "spatial"
    source: ClassVar[str] = "Guardians of image quality, tables 2 and 11"
    gradient: ClassVar = "exact"
    presets: ClassVar = tuple({"scale": scale} for scale in (0.9, 0.75, 0.5, 0.25, 0.1))
    scale: Number = Field(0.5, gt=0, le=1)

    def purify(self, x: Images, noise: Noise) -> Images:
        from torch.nn.functional import interpolate

        return interpolate(shrink(x, self.scale), size=x.shape[2:], mode="bilinear", align_corners=False)
