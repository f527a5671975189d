"""Random crop, enlarged to the old size."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["RandomCrop"]


class RandomCrop(PurifierSettings):
    """Cut out a window at a random place of every image and enlarge it bilinearly to the old size.

    Args:
        fraction: side of the window over side of the image, in (0, 1]; window sides are rounded.

    Source: paper 000, tables 2 and 11 ("Random Crop"), after Guo et al. (2018), cropping and rescaling.
    Differs: the paper crops squares of 32 to 288 pixels from images of 384 x 512 and hands the crop to the
        target; here the window is a fraction of both sides (the presets are those sizes over 384), so that
        it means the same at any image size, and is enlarged, as Guo et al. do. Default 288/384, the weakest
        preset; the published default is 128/384.
    """

    name: ClassVar[str] = "random_crop"
    family: ClassVar[Family] = "spatial"
    source: ClassVar[str] = "Guardians of image quality, tables 2 and 11"
    gradient: ClassVar = "exact"
    is_random: ClassVar[bool] = True
    presets: ClassVar = tuple({"fraction": pixels / 384} for pixels in (288, 256, 128, 64, 32))
    fraction: Number = Field(0.75, gt=0, le=1)

    def purify(self, x: Images, noise: Noise) -> Images:
        from torch.nn.functional import interpolate

        window = x
        for axis in (2, 3):
            window = _cut(window, axis, max(1, round(x.shape[axis] * self.fraction)), noise)
        return interpolate(window, size=x.shape[2:], mode="bilinear", align_corners=False)


def _cut(x: Images, axis: int, size: int, noise: Noise) -> Tensor:
    """``size`` neighbours along ``axis``, at a random place of every image."""
    import torch

    start = noise.integers(0, x.shape[axis] - size + 1)  # (n, 1)
    places = (start + torch.arange(size)).to(x.device)  # (n, size)
    shape = list(x.shape)
    shape[axis] = size
    places = places[:, None, :, None] if axis == 2 else places[:, None, None, :]
    return x.gather(axis, places.expand(shape))
