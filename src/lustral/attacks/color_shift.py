"""A colour attack without a network: a smooth field of colour change that leaves the brightness alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.attacks.budgets import UNBOUNDED
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["ColorShift", "recolor"]

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114  # of luma: BT.601


def recolor(x: Images, field: Tensor) -> Images:
    """Shift the colours of every pixel and keep its luma.

    The shift of a pixel is as much of the field's as fits into [0, 1]; black and white have no other colour. Luma
    stays to the last digits, and to half a level of 8 bits once the image is rounded.

    Args:
        x: images (n, 3, h, w) in [0, 1].
        field: changes of Cb and Cr (n, 2, k, l), each over a range of 1; fewer points than pixels are joined
            bilinearly from corner to corner, so that no pixel changes more than a point of the field does.

    Source: ITU-R BT.601, as in JPEG.
    """
    import torch

    shift = torch.nn.functional.interpolate(field, size=x.shape[2:], mode="bilinear", align_corners=True)
    blue, red = 2 * (1 - _BLUE) * shift[:, 0], 2 * (1 - _RED) * shift[:, 1]
    d = torch.stack([red, -(_RED * red + _BLUE * blue) / _GREEN, blue], 1)
    room = torch.where(d > 0, 1 - x, x).where(d != 0, 1.0) / d.abs().clamp_min(1e-9)  # what stays needs no room
    return (x + room.amin(1, keepdim=True).clamp_max(1) * d).clamp(0, 1)


class ColorShift(AttackSettings):
    """Adam on a coarse grid of shifts of Cb and Cr, joined smoothly; luma is kept.

    This is not cAdv but an attack in its spirit, without its colorization network: large and smooth changes of
    colour alone. The loss is the margin for a classifier and the score for a quality metric. It is no attack of
    a norm: ``epsilon`` bounds nothing, and the distances found are part of every result.

    Cost: ``steps`` gradients and one loss per image and draw.

    Args:
        norm: has no meaning here.
        epsilon: bounds nothing; 1 and more are all images. The strength is ``bound``.
        bound: largest change of Cb and of Cr, each of which has a range of 1; 0.1 moves red by at most 0.14, blue
            by 0.18 and green by 0.11. A bound of 1 reaches every colour of the same luma.
        side: points of the grid per side; 1 is one change for the whole image, more than pixels are one for each.
        steps: of Adam.
        rate: its learning rate, as a share of ``bound``.
        random_start: whether the first shifts are uniform within ``bound``, else there are none.

    Source: the threat of Bhattad et al., arXiv:1904.06347, section 3.1 (cAdv): smooth and large changes of colour
        at the brightness of the image.
    Differs: no network decides which colours look natural, a bound does. Luma Y of BT.601 is kept, not the lightness L
        of CIELAB: it is linear in the pixels, so that staying inside [0, 1] costs no brightness.
    """

    name: ClassVar[str] = "color_shift"
    version: ClassVar[int] = 2  # 1 cut the gradient at pixels with a channel of 0
    source: ClassVar[str] = "arXiv:1904.06347, section 3.1, without its network"
    needs: ClassVar = "gradients"
    strength: ClassVar[str] = "bound"
    norm: Literal["linf", "l2"] = "linf"
    epsilon: Number = Field(default=UNBOUNDED, ge=1)
    bound: Number = Field(default=0.1, gt=0, le=2)
    side: int = Field(default=4, ge=1)
    steps: int = Field(default=100, ge=1)
    rate: float = Field(default=0.1, gt=0)
    random_start: bool = False

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.attacks.rendering import climb

        field = x.new_zeros(len(x), 2, *(min(size, self.side) for size in x.shape[2:]))
        if self.random_start:
            field = noise.uniform(field).mul_(2).sub_(1).mul_(self.bound)
        return climb(
            oracle,
            x,
            field,
            lambda field: recolor(x, field),
            lambda field: field.clamp_(-self.bound, self.bound),
            steps=self.steps,
            rate=self.rate * self.bound,
            loss="margin" if oracle.goal.kind == "classifier" else None,
        )
