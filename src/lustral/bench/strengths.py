"""Strengths that ``lustral align`` has measured, and the file they are kept in. No torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lustral.attacks import AttackSettings
from lustral.data.base import ImageSet
from lustral.files import read_regular
from lustral.settings import SettingsError
from lustral.weights import checkpoint_digest

__all__ = [
    "LEVELS",
    "AlignedStrength",
    "Calibration",
    "Strength",
    "Strengths",
    "attack_weights",
    "calibration_of",
    "measure_name",
    "read_strengths",
    "refuse_overlap",
]

LEVELS = ("weak", "medium", "strong")
_MAX_BYTES = 2**28
_OTHER_NAMES = {"ssim": "ssim_uniform"}  # what the paper calls SSIM


def measure_name(text: str) -> str:
    """The full name of a measure: "ssim" is the variant of paper 000, ``ssim_uniform``."""
    return _OTHER_NAMES.get(text, text)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Calibration(_Record):
    """The images that strengths were measured on.

    Attributes:
        data: settings of the data set.
        fingerprint: of ids, truth and pixels, see ``ImageSet.fingerprint``.
        images: id of every image and a hash of its pixels, so that a copy under another name is found.
    """

    data: dict[str, Any]
    fingerprint: str
    images: dict[str, str]


class Strength(_Record):
    """What an attack of a recipe was aligned to; for reports, no part of any cell's identity.

    Attributes:
        measure: "linf", "psnr", "ssim_uniform", "ssim_gaussian" or "pixels".
        level: its name.
        wanted, reached: mean over the calibration images, of 8-bit images.
    """

    measure: str
    level: str
    wanted: float
    reached: float


class AlignedStrength(Strength):
    """One strength of one attack on one target.

    Attributes:
        attack: settings at the strength.
        version: of the attack's code.
        attack_weights: hashes of the weights that the attack opens.
        target: settings of what was attacked, without a defence.
        target_weights: hash of its weights.
        target_version: of its code.
        before_rounding: the measure before the images were rounded to 8 bits.
        status: "reached" is within the tolerance, "nearest" the best of whole numbers, "unreached" neither.
        reason: why the level was not reached.
        parameters: the settings that were moved.
        intensities: what else the strength measures, of 8-bit images.
        calibration: fingerprint of the images.
        seed: of the attack's randomness.
        evaluations: runs of the attack on all images that the search asked for, also those already known.
        command: that made it.
    """

    attack: dict[str, Any]
    version: int
    attack_weights: dict[str, str] = {}
    target: dict[str, Any]
    target_weights: str
    target_version: int = 1
    before_rounding: float
    status: Literal["reached", "nearest", "unreached"]
    reason: str = ""
    parameters: tuple[str, ...]
    intensities: dict[str, float] = {}
    calibration: str
    seed: int
    evaluations: int
    command: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What a newer strength must share to take this one's place."""
        return self.measure, self.level, self.parameters, self.fixed, self.target

    @property
    def fixed(self) -> dict[str, Any]:
        """The settings of the attack that were not moved."""
        return {name: value for name, value in self.attack.items() if name not in self.parameters}

    def fits(self, attack: AttackSettings) -> bool:
        """Whether the settings that were not moved are those of ``attack``."""
        return self.fixed == {name: value for name, value in attack.to_json().items() if name not in self.parameters}


class Strengths(_Record):
    """What a file of strengths holds."""

    format: Literal[1] = 1
    calibrations: tuple[Calibration, ...] = ()
    strengths: tuple[AlignedStrength, ...] = ()

    def calibration(self, strength: AlignedStrength) -> Calibration:
        """The images of one of these strengths."""
        return next(entry for entry in self.calibrations if entry.fingerprint == strength.calibration)

    def adding(self, strength: AlignedStrength, calibration: Calibration) -> Strengths:
        """With one more strength, which takes the place of that with the same key."""
        strengths = (*(other for other in self.strengths if other.key != strength.key), strength)
        used = {entry.calibration for entry in strengths}
        known = {entry.fingerprint: entry for entry in (*self.calibrations, calibration)}
        kept = tuple(entry for fingerprint, entry in known.items() if fingerprint in used)
        return Strengths(calibrations=kept, strengths=strengths)


def read_strengths(path: Path) -> Strengths:
    """Read a file that ``lustral align`` wrote.

    Raises:
        SettingsError: there is none, or it holds something else.
    """
    try:
        found = Strengths.model_validate_json(read_regular(path, _MAX_BYTES, SettingsError))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "it"
        raise SettingsError(f"{path} is not a file that lustral align wrote: {place}: {problem['msg']}") from None
    missing = {entry.calibration for entry in found.strengths} - {entry.fingerprint for entry in found.calibrations}
    if missing:
        raise SettingsError(f"{path} does not say which images it was measured on; align again into a new file")
    return found


def _pixels(images: ImageSet) -> dict[str, str]:
    """A hash of the pixels of every image by id."""
    return {
        name: hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()[:32]
        for name, image in zip(images.ids, images.images, strict=True)
    }


def attack_weights(attack: AttackSettings) -> dict[str, str]:
    """Hashes of the weights that an attack opens, by name."""
    return {name: checkpoint_digest(name) for name in attack.weights_used()}


def calibration_of(data: dict[str, Any], images: ImageSet) -> Calibration:
    """The record of calibration images."""
    return Calibration(data=data, fingerprint=images.fingerprint(), images=_pixels(images))


def refuse_overlap(calibrations: Iterable[Calibration], images: ImageSet, what: str) -> None:
    """Refuse to evaluate images on which a strength was chosen.

    Args:
        calibrations: where strengths come from.
        images: that are to be evaluated.
        what: evaluates them, for the error.

    Raises:
        SettingsError: some share their id or their pixels.
    """
    calibrations = tuple(calibrations)
    evaluated = _pixels(images) if calibrations else {}  # once: a large set decodes its pictures for it
    for calibration in calibrations:
        pixels = set(calibration.images.values())
        shared = [name for name, value in evaluated.items() if name in calibration.images or value in pixels]
        if shared:
            raise SettingsError(
                f"{what} evaluates {len(shared)} of {len(images)} images on which its attacks were aligned or its "
                f"presets chosen, such as {shared[0]!r}; use others there, for example another split or choice_seed"
            )
