"""Resize: show the target a smaller image."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings
from lustral.settings import Number

if TYPE_CHECKING:
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Resize", "shrink"]


def shrink(x: Images, scale: float) -> Images:
    """Antialiased bilinear reduction to ``scale`` of both sides, rounded, at least one pixel."""
    from torch.nn.functional import interpolate

    size = [max(1, round(side * scale)) for side in x.shape[2:]]
    if size[1] == 1:  # torch 2.13 mixes up the rows of an antialiased result that is one pixel wide
        return interpolate(x.mT, size=size[::-1], mode="bilinear", antialias=True).mT
    return interpolate(x, size=size, mode="bilinear", antialias=True)  # (n, 3, h scale, w scale)


class Resize(PurifierSettings):
    """Reduce the image, then repeat its pixels up to the old size.

    Args:
        scale: ratio of the reduced side to the old one, in (0, 1].

    Source: paper 000, tables 2 and 11, after Guo et al. (2018).
    Differs: the published code hands the small image to the target. Here the size must stay, so the small
        image is enlarged by nearest-neighbour repetition, which adds nothing to it; ``upscale`` is the
        smooth variant. The reduction is antialiased.
    """

    name: ClassVar[str] = "resize"
    family: ClassVar[Family] = "spatial"
    source: ClassVar[str] = "Guardians of image quality, tables 2 and 11"
    gradient: ClassVar = "exact"
    presets: ClassVar = tuple({"scale": scale} for scale in (0.9, 0.75, 0.5, 0.25, 0.1))
    scale: Number = Field(0.5, gt=0, le=1)

    def purify(self, x: Images, noise: Noise) -> Images:
        from torch.nn.functional import interpolate

        return interpolate(shrink(x, self.scale), size=x.shape[2:], mode="nearest-exact")
