"""A network that halves its images several times, for images of any size."""

from __future__ import annotations

import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Padded"]


class Padded(nn.Module):
    """A denoiser whose images are padded on the right and below to multiples of ``multiple``, and cut back.

    Args:
        denoiser: ``D(x, sigma) -> x0``.
        multiple: what both sides of its images must be divisible by.

    Shape: images (n, 3, h, w) plus noise of deviation sigma (n,) -> clean images, same shape. What is padded is a
        reflection, noise included; where the image is too small for that, its last row or column.
    """

    def __init__(self, denoiser: nn.Module, multiple: int) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.multiple = multiple
        self.side: int | None = getattr(denoiser, "side", None)

    def forward(self, x: Float[Tensor, "n 3 h w"], sigma: Float[Tensor, " n"]) -> Float[Tensor, "n 3 h w"]:
        height, width = x.shape[2:]
        down, right = -height % self.multiple, -width % self.multiple
        if not (down or right):
            return self.denoiser(x, sigma)
        mode = "reflect" if down < height and right < width else "replicate"
        return self.denoiser(functional.pad(x, (0, right, 0, down), mode=mode), sigma)[:, :, :height, :width]
