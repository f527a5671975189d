"""Randomization: every image at a random size, at a random place of a black canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from lustral.purifiers.base import Family, PurifierSettings
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["RandomResizePad"]


class RandomResizePad(PurifierSettings):
    """Resize by nearest neighbour to a random size, pad with zeros at a random offset, reduce to the old size.

    Sizes are uniform over the whole numbers from ``smallest`` to one pixel below ``canvas``. The mean over several
    draws that the authors take (30 in their challenge entry) is ``votes`` of ``Defended``.

    Args:
        smallest: smallest size over the side of the image.
        canvas: side of the canvas over the side of the image, larger than 1 and than ``smallest``; both products are
            rounded, and a canvas has at least one pixel more than the image.
        flip: mirror half of the images from left to right, as in the challenge entry.

    Cost: no network; less than 1 ms for an image of 32 x 32 pixels on one core.

    Source: Xie et al., "Mitigating adversarial effects through randomization", ICLR 2018: sizes 299 to 330 on
        a canvas of 331 for images of 299. The entry to the NIPS 2017 challenge takes sizes 310 to 330 and flips.
    Differs: the target of the paper sees the canvas at 331 pixels; here the size must stay, so the canvas is reduced
        to it, bilinear with antialiasing, by the factor 0.9. Sizes are ratios: at 32 pixels the canvas has 35, and the
        image 32 to 34. Sides of an image that is not square share one random number, which keeps its proportions.
    """

    name: ClassVar[str] = "random_resize_pad"
    family: ClassVar[Family] = "spatial"
    source: ClassVar[str] = "Xie et al. 2018"
    gradient: ClassVar = "exact"
    is_random: ClassVar[bool] = True
    presets: ClassVar = ({"smallest": 1.0, "canvas": 331 / 299}, {"smallest": 310 / 299, "flip": True})
    smallest: Number = Field(default=1.0, gt=0, le=4)
    canvas: Number = Field(default=331 / 299, gt=1, le=4)
    flip: bool = False

    @field_validator("canvas")
    @classmethod
    def _larger(cls, canvas: float, info: ValidationInfo) -> float:
        if canvas <= info.data.get("smallest", 0):  # absent if it was wrong itself
            raise ValueError(f"the canvas must be larger than the smallest size, {info.data['smallest']}")
        return canvas

    def purify(self, x: Images, noise: Noise) -> Images:
        import torch
        from torch.nn.functional import interpolate

        size, top, left, side = noise.numbers(4).double().to(x.device).split(1, dim=1)  # (n, 1) each
        y = self._stretch(self._stretch(x, 2, size, top), 3, size, left)  # (n, 3, h canvas, w canvas)
        if self.flip:
            y = torch.where((side < 0.5)[:, :, None, None], y.flip(3), y)
        return interpolate(y, size=x.shape[2:], mode="bilinear", antialias=True)

    def _stretch(self, x: Tensor, axis: int, size: Tensor, offset: Tensor) -> Tensor:
        """Resize and pad along one axis; ``size`` and ``offset`` (n, 1) in [0, 1) say which of the possible ones."""
        import torch

        side = x.shape[axis]
        canvas = max(side + 1, round(side * self.canvas))
        low = min(max(1, round(side * self.smallest)), canvas - 1)
        sizes = low + (size * (canvas - low)).long()  # (n, 1)
        starts = (offset * (canvas - sizes + 1)).long()  # (n, 1)
        places = torch.arange(canvas, device=x.device) - starts  # (n, canvas)
        inside = (places >= 0) & (places < sizes)
        sources = torch.where(inside, places * side // sizes, 0)
        shape = list(x.shape)
        shape[axis] = canvas
        view = (len(x), 1, canvas, 1) if axis == 2 else (len(x), 1, 1, canvas)
        return x.gather(axis, sources.view(view).expand(shape)) * inside.view(view)
