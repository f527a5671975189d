"""Unsharp masking: sharpening as a defence."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings
from lustral.purifiers.smoothing import Kernel, gaussian
from lustral.settings import Number

if TYPE_CHECKING:
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Unsharp"]


class Unsharp(PurifierSettings):
    """Add ``amount`` times what a Gaussian blur removes: x + amount (x - blur(x)), clamped.

    Args:
        kernel: side of the Gaussian window in pixels, odd.
        amount: strength; 0 does nothing.
        sigma: standard deviation of the Gaussian in pixels.

    Source: paper 000, tables 2 and 11 (sigma 1, amount 1).
    Differs: ``amount`` may be a fraction; the published code truncates it to an integer.
    """

    name: ClassVar[str] = "unsharp"
    family: ClassVar[Family] = "filtering"
    source: ClassVar[str] = "Guardians of image quality, tables 2 and 11"
    gradient: ClassVar = "exact"
    presets: ClassVar = tuple({"kernel": kernel} for kernel in (3, 5, 7, 9, 11))
    kernel: Kernel = 3
    amount: Number = Field(1.0, ge=0, le=100)
    sigma: Number = Field(1.0, gt=0, le=100)

    def purify(self, x: Images, noise: Noise) -> Images:
        return x + self.amount * (x - gaussian(x, self.kernel, self.sigma))
