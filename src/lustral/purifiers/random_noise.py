"""Additive Gaussian noise, the simplest random defence."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings
from lustral.settings import Number

if TYPE_CHECKING:
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["RandomNoise"]


class RandomNoise(PurifierSettings):
    """Add white Gaussian noise and clamp.

    Args:
        sigma: standard deviation in units of the [0, 1] range (0.25 = 64/255).

    Source: paper 000, table 2 and the presets of its published code (.01, .025, .05, .075, .1).
    Differs: fresh noise for every image and every draw; the published code uses one seed for the clean
        and the attacked image.
    """

    name: ClassVar[str] = "random_noise"
    family: ClassVar[Family] = "noising"
    source: ClassVar[str] = "Guardians of image quality, table 2"
    gradient: ClassVar = "exact"
    is_random: ClassVar[bool] = True
    presets: ClassVar = tuple({"sigma": sigma} for sigma in (0.01, 0.025, 0.05, 0.075, 0.1))
    sigma: Number = Field(default=0.05, gt=0, le=1)

    def purify(self, x: Images, noise: Noise) -> Images:
        return x + self.sigma * noise.normal(x)
