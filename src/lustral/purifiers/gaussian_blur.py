"""Gaussian blur: the oldest low-pass defence."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lustral.purifiers.base import Family, PurifierSettings
from lustral.purifiers.smoothing import Kernel, gaussian

if TYPE_CHECKING:
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["GaussianBlur"]


class GaussianBlur(PurifierSettings):
    """Convolve every channel with a Gaussian.

    Args:
        kernel: side of the window in pixels, odd. The standard deviation follows from it:
            0.3 ((kernel - 1) / 2 - 1) + 0.8 = 0.15 kernel + 0.35 pixels.

    Source: paper 000, tables 2 and 11.
    Differs: mirrored borders also when the window is larger than the image.
    """

    name: ClassVar[str] = "gaussian_blur"
    family: ClassVar[Family] = "filtering"
    source: ClassVar[str] = "Guardians of image quality, tables 2 and 11"
    gradient: ClassVar = "exact"
    presets: ClassVar = tuple({"kernel": kernel} for kernel in (3, 5, 7, 9, 11))
    kernel: Kernel = 3

    @property
    def sigma(self) -> float:
        """Standard deviation in pixels."""
        return 0.15 * self.kernel + 0.35

    def purify(self, x: Images, noise: Noise) -> Images:
        return gaussian(x, self.kernel, self.sigma)
