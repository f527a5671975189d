"""How strong an attack was: measures between attacked and clean images, and the levels of paper 000. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lustral.bench.strengths import LEVELS, measure_name
from lustral.measures.fidelity import linf, psnr, ssim_gaussian, ssim_uniform
from lustral.settings import SettingsError, parse_number

__all__ = ["MEASURES", "Measure", "find_measure", "intensities", "pixels"]

Images = NDArray[Any]
_SSIM_SIDES = {"ssim_uniform": 7, "ssim_gaussian": 11}
_CHANGED = 1e-6  # differences below it are float error


@dataclass(frozen=True)
class Measure:
    """One way to say how strong an attack was.

    Attributes:
        name: as stored.
        rising: whether it is larger for stronger attacks.
        levels: weak, medium and strong, in units of the measure.

    Source: levels of Guardians of image quality (arXiv:2408.01541), appendix on strength alignment.
    Differs: the paper numbers its levels; for PSNR and SSIM number 0 is the strongest. Here weak is always weak.
    """

    name: str
    rising: bool
    levels: tuple[float, float, float]

    def wanted(self, level: str) -> float:
        """The value of a named level.

        Raises:
            SettingsError: unknown name.
        """
        if level not in LEVELS:
            raise SettingsError(f"unknown level {level!r}; known levels: {', '.join(LEVELS)}; or give --value")
        return self.levels[LEVELS.index(level)]

    def read(self, text: str) -> float:
        """A value as people type it, ``3/255``.

        Raises:
            SettingsError: no number, or one that no attack has.
        """
        try:
            value = float(str(parse_number(text)))
        except ValueError:
            value = float("nan")
        if self.name == "linf" and 1 < value <= 255:
            raise SettingsError(f"linf is in units of [0, 1], got {text!r}; did you mean {value:g}/255?")
        if not (math.isfinite(value) and value > 0 and self.distance(value) > 0):
            raise SettingsError(f"expected a value of {self.name}, such as {self.levels[0]:g}, got {text!r}")
        return value

    def distance(self, value: float) -> float:
        """How far images are apart, 0 if they are the same: root mean squared error for PSNR, ``1 - SSIM``."""
        if self.name == "psnr":
            return 10 ** (-value / 20)
        return value if self.rising else 1 - value

    def ratio(self, value: float, wanted: float) -> float:
        """How much too strong: 1 is as wanted, 1.05 is 5 % more distance."""
        return self.distance(value) / self.distance(wanted)

    def tolerance(self, wanted: float, share: float | None = None) -> float:
        """Largest difference from ``wanted`` that counts as reached.

        Args:
            wanted: the level.
            share: of the distance (0.02 by default); dB for PSNR (0.1 by default).
        """
        if self.name == "psnr":
            return 0.1 if share is None else share
        return (0.02 if share is None else share) * self.distance(wanted)


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("linf", rising=True, levels=(2 / 255, 4 / 255, 8 / 255)),
        Measure("psnr", rising=False, levels=(40.0, 35.0, 30.0)),
        Measure("ssim_uniform", rising=False, levels=(0.90, 0.85, 0.75)),
        Measure("ssim_gaussian", rising=False, levels=(0.90, 0.85, 0.75)),
        Measure("pixels", rising=True, levels=(10.0, 20.0, 40.0)),
    )
}


def find_measure(text: str) -> Measure:
    """A measure by name; "ssim" is ``ssim_uniform``, as in paper 000.

    Raises:
        SettingsError: unknown name.
    """
    name = measure_name(text)
    if name not in MEASURES:
        raise SettingsError(f"unknown measure {text!r}; known measures: {', '.join(MEASURES)}, ssim")
    return MEASURES[name]


def pixels(a: Images, b: Images) -> NDArray[np.int64]:
    """Pixels that differ in some channel, per image: two of (n, h, w, 3) -> (n,)."""
    return (np.abs(a - b) > _CHANGED).any(-1).sum((-2, -1))


def intensities(attacked: Images, clean: Images) -> Mapping[str, NDArray[Any]]:
    """Every measure per image of float images (n, h, w, 3) in [0, 1]; an SSIM only where its window fits."""
    side = min(clean.shape[1:3])
    found: dict[str, NDArray[Any]] = {
        "linf": linf(attacked, clean),
        "psnr": psnr(attacked, clean),
        "pixels": pixels(attacked, clean),
    }
    if side >= _SSIM_SIDES["ssim_uniform"]:
        found["ssim_uniform"] = ssim_uniform(attacked, clean)
    if side >= _SSIM_SIDES["ssim_gaussian"]:
        found["ssim_gaussian"] = ssim_gaussian(attacked, clean)
    return found
