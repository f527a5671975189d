"""Mirror the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from lustral.purifiers.base import Family, PurifierSettings

if TYPE_CHECKING:
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Flip"]

_AXES = {"both": (2, 3), "horizontal": (3,), "vertical": (2,)}


class Flip(PurifierSettings):
    """Mirror the image; always, so it is no secret. For a random flip use ``RandomChoice``.

    Args:
        axes: "horizontal" swaps left and right, "vertical" swaps top and bottom, "both" turns by 180 degrees.

    Source: paper 000, table 2.
    Differs: the paper says "mirror"; its code flips both axes, which is the default here.
    """

    name: ClassVar[str] = "flip"
    family: ClassVar[Family] = "spatial"
    source: ClassVar[str] = "Guardians of image quality, table 2"
    gradient: ClassVar = "exact"
    presets: ClassVar = ({"axes": "both"},)
    axes: Literal["both", "horizontal", "vertical"] = "both"

    def purify(self, x: Images, noise: Noise) -> Images:
        return x.flip(_AXES[self.axes])
