"""Median blur: removes isolated outliers and keeps edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lustral.purifiers.base import Family, PurifierSettings
from lustral.purifiers.smoothing import Kernel, reflect

if TYPE_CHECKING:
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["MedianBlur"]


class MedianBlur(PurifierSettings):
    """Replace every value by the median of its window in the same channel.

    The derivative goes to the pixel that is the median; where several tie, to one of them.

    Args:
        kernel: side of the window in pixels, odd. Memory grows with its square.

    Source: paper 000, tables 2 and 11.
    Differs: mirrored borders also when the window is larger than the image.
    """

    name: ClassVar[str] = "median_blur"
    family: ClassVar[Family] = "filtering"
    source: ClassVar[str] = "Guardians of image quality, tables 2 and 11"
    gradient: ClassVar = "exact"
    presets: ClassVar = tuple({"kernel": kernel} for kernel in (3, 5, 7, 9, 11))
    kernel: Kernel = 3

    def purify(self, x: Images, noise: Noise) -> Images:
        import torch

        height, width = x.shape[2:]
        padded = reflect(x, self.kernel // 2)
        windows = padded.detach().unfold(2, self.kernel, 1).unfold(3, self.kernel, 1)  # (n, 3, h, w, k, k)
        # Finding the place without autograd and reading it with one gather makes the backward pass nearly free.
        place = windows.flatten(4).median(dim=4).indices  # (n, 3, h, w)
        rows = torch.arange(height, device=x.device)[:, None] + place // self.kernel
        columns = torch.arange(width, device=x.device) + place % self.kernel
        flat = rows * padded.shape[3] + columns
        return padded.flatten(2).gather(2, flat.flatten(2)).view(x.shape)
