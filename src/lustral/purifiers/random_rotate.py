"""Random rotation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings
from lustral.settings import Number

if TYPE_CHECKING:
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["RandomRotate"]


class RandomRotate(PurifierSettings):
    """Rotate every image about its centre by its own angle; what comes from outside is black.

    Args:
        degrees: angles are uniform in [-degrees, degrees].

    Source: paper 000, tables 2 and 11 ("Random Rotate", angle limit).
    Differs: every image has its own angle, the published code one per batch; bilinear instead of
        nearest-neighbour sampling, so that no pixel is dropped and the gradient reaches all of them.
    """

    name: ClassVar[str] = "random_rotate"
    family: ClassVar[Family] = "spatial"
    source: ClassVar[str] = "Guardians of image quality, tables 2 and 11"
    gradient: ClassVar = "exact"
    is_random: ClassVar[bool] = True
    presets: ClassVar = tuple({"degrees": degrees} for degrees in (10, 15, 20, 30, 50))
    degrees: Number = Field(15.0, gt=0, le=180)

    def purify(self, x: Images, noise: Noise) -> Images:
        import torch
        from torch.nn.functional import affine_grid, grid_sample

        height, width = x.shape[2:]
        angle = (2 * noise.numbers(1)[:, 0] - 1).to(x) * math.radians(self.degrees)  # (n,)
        cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        # the grid runs from -1 to 1 along both sides, so a rotation in pixels needs the aspect ratio
        rows = (cosine, -sine * (height / width), zero, sine * (width / height), cosine, zero)
        matrix = torch.stack(rows, dim=1).view(-1, 2, 3)  # (n, 2, 3)
        grid = affine_grid(matrix, list(x.shape), align_corners=False)  # (n, h, w, 2)
        return grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
