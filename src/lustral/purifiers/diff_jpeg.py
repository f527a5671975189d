"""Differentiable JPEG."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings

if TYPE_CHECKING:
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["DiffJPEG", "Subsampling", "differentiable_jpeg"]

Subsampling = Literal["4:2:0", "4:4:4"]
"""Colour at half resolution in both directions, or at full resolution."""

# Example quantisation tables of the JPEG standard, ITU-T T.81 annex K, row by row.
_LUMA = """
    16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
    18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""
_CHROMA = """
    17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
    99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99
"""


def differentiable_jpeg(x: Images, quality: int, subsampling: Subsampling) -> Images:
    """JPEG in which rounding is r + (v - r)^3, r = round(v): nearly the real thing, with a derivative.

    kornia's codec always halves the colour resolution. For 4:4:4 the three planes Y, Cb and Cr go through
    its brightness path as three grey images, each with its own quantisation table.

    Images are padded at the bottom and on the right to a multiple of 16 by repeating the edge, as real
    encoders do, and cut back.
    """
    import torch
    from kornia.color import rgb_to_ycbcr, ycbcr_to_rgb
    from kornia.enhance import jpeg_codec_differentiable

    strength = x.new_tensor([float(quality)])
    if subsampling == "4:2:0":
        return jpeg_codec_differentiable(x, strength)
    luma, chroma = (x.new_tensor([float(v) for v in text.split()]).view(8, 8) for text in (_LUMA, _CHROMA))
    tables = torch.stack((luma, chroma, chroma)).repeat(len(x), 1, 1)  # (3n, 8, 8)
    planes = rgb_to_ycbcr(x).flatten(0, 1)[:, None].expand(-1, 3, -1, -1)  # (3n, 3, h, w)
    coded = jpeg_codec_differentiable(planes, strength, quantization_table_y=tables).mean(dim=1)
    return ycbcr_to_rgb(coded.view(x.shape))


class DiffJPEG(PurifierSettings):
    """JPEG with soft rounding, through which the true derivative flows.

    The true derivative is a poor guide: soft rounding is nearly flat between its jumps, so the gradient is
    ten times smaller than that of the identity. Attack it with the identity as backward pass, too.

    Args:
        quality: JPEG quality, 1 (strongest compression) to 100.
        subsampling: "4:2:0" (what most encoders do) or "4:4:4".

    Source: paper 000, tables 2 and 11, after Reich et al. (2024), Differentiable JPEG: the devil is in
        the details, whose author wrote the codec of kornia that is used here.
    Differs: the published defence uses the straight-through variant (real rounding forward, polynomial
        backward); here the polynomial is used in both directions, so that the gradient is the true one.
        Real rounding with this gradient is ``jpeg:backward=surrogate``. The published code mirrors 1 to
        16 pixels at each border; here the edge is repeated, which also works for tiny images.
    """

    name: ClassVar[str] = "diff_jpeg"
    family: ClassVar[Family] = "compression"
    source: ClassVar[str] = "Guardians of image quality, tables 2 and 11"
    gradient: ClassVar = "exact"
    presets: ClassVar = tuple({"quality": quality} for quality in (90, 70, 50, 30, 10))
    quality: int = Field(50, ge=1, le=100)
    subsampling: Subsampling = "4:2:0"

    def purify(self, x: Images, noise: Noise) -> Images:
        return differentiable_jpeg(x, self.quality, self.subsampling)
