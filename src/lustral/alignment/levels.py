"""Align an attack to levels of intensity, keep what was found, and measure it again on other images. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lustral.alignment.intensity import MEASURES, Measure
from lustral.alignment.line import Line, line_of
from lustral.alignment.measuring import Evaluation, Evaluations, Meter, evaluations_file
from lustral.alignment.search import align
from lustral.attacks import AttackSettings, parse_attack
from lustral.bench.strengths import (
    AlignedStrength,
    Calibration,
    Strengths,
    attack_weights,
    calibration_of,
    read_strengths,
    refuse_overlap,
)
from lustral.data import DataSettings
from lustral.files import locked, replace_file
from lustral.report.text import json_text
from lustral.settings import SettingsError
from lustral.targets import TargetSettings, parse_target

__all__ = ["Alignment", "Checked", "align_levels", "check_levels"]

CLOSE = 0.05
"""Share of the wanted distance by which held-out images may differ."""

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Alignment:
    """What is aligned to what.

    Attributes:
        attack: its settings where the search starts.
        target: what is attacked, without a defence.
        data: calibration images.
        measure: of intensity.
        levels: wanted mean intensity by name.
        parameters: settings to move; by default the attack's ``strength``.
        seed: everything random follows from it.
        batch: most images at a time.
        evaluations: most runs of the attack per level.
        tolerance: see ``Measure.tolerance``.
        device: where.
    """

    attack: AttackSettings
    target: TargetSettings
    data: DataSettings
    measure: Measure
    levels: Mapping[str, float]
    parameters: tuple[str, ...] = ()
    seed: int = 0
    batch: int = 8
    evaluations: int = 20
    tolerance: float | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Checked:
    """A stored strength, measured on images that it was not chosen on.

    Attributes:
        reached: mean over the held-out images, of 8-bit images.
        ratio: of distances, reached over wanted; see ``Measure.ratio``.
    """

    strength: AlignedStrength
    reached: float
    ratio: float

    @property
    def is_close(self) -> bool:
        """Whether it is within 5 % of the wanted distance."""
        return abs(self.ratio - 1) <= CLOSE


def align_levels(
    asked: Alignment, out: Path, *, command: str = "", progress: Progress = lambda row: None
) -> tuple[AlignedStrength, ...]:
    """Align an attack to every level and write each strength into ``out`` once it is known.

    Evaluations are kept beside ``out``, so that a search that was killed goes on where it was, and levels and measures
    share them.

    Cost: up to ``evaluations`` times the attack on all images per level; usually 1 to 8.

    Raises:
        SettingsError: settings that cannot be moved, images too small for the measure, or a file of something else.
    """
    line, images = line_of(asked.attack, asked.parameters), asked.data.load()
    if out.exists():
        read_strengths(out)  # before hours of work, not after
    meter = Meter(
        asked.target,
        images,
        Evaluations(evaluations_file(out)),
        labelled=asked.data.kind == "classes",
        seed=asked.seed,
        batch=asked.batch,
        device=asked.device,
        progress=progress,
    )
    calibration = calibration_of(asked.data.to_json(), images)
    found: list[AlignedStrength] = []
    start = line.start
    for level, wanted in asked.levels.items():
        guess = line.guess(asked.measure, wanted)
        strength, position = _align_level(asked, line, meter, level, start if guess is None else guess)
        strength = strength.model_copy(update={"calibration": calibration.fingerprint, "command": command})
        _write(out, strength, calibration)
        found.append(strength)
        start = position
    return tuple(found)


def _align_level(asked: Alignment, line: Line, meter: Meter, level: str, start: float) -> tuple[AlignedStrength, float]:
    """The strength of one level and its position on the line."""
    measure, wanted = asked.measure, asked.levels[level]
    found = align(
        lambda position: _value(meter(line.at(position)), measure),
        start,
        wanted,
        tolerance=measure.tolerance(wanted, asked.tolerance),
        rising=measure.rising,
        low=line.low,
        high=line.high,
        whole=line.whole,
        evaluations=asked.evaluations,
    )
    attack = line.at(found.position)
    known = meter(attack)
    strength = AlignedStrength(
        measure=measure.name,
        level=level,
        wanted=wanted,
        reached=found.intensity,
        attack=attack.to_json(),
        version=attack.version,
        attack_weights=attack_weights(attack),
        target=asked.target.to_json(),
        target_weights=asked.target.weights_digest(),
        target_version=asked.target.version,
        before_rounding=known.before[measure.name],
        status=found.status,
        reason=found.reason,
        parameters=line.names,
        intensities=dict(known.after),
        calibration="",
        seed=asked.seed,
        evaluations=found.evaluations,
    )
    return strength, found.position


def _value(found: Evaluation, measure: Measure) -> float:
    if measure.name not in found.after:
        raise SettingsError(f"some images are too small for the window of {measure.name}; use psnr or larger images")
    return found.after[measure.name]


def _write(out: Path, strength: AlignedStrength, calibration: Calibration) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out.parent):
        known = read_strengths(out) if out.exists() else Strengths()
        values = known.adding(strength, calibration).model_dump(mode="json")
        replace_file(out, (json_text(values, indent=1) + "\n").encode())


def check_levels(
    file: Path, data: DataSettings, *, batch: int = 8, device: str = "cpu", progress: Progress = lambda row: None
) -> tuple[Checked, ...]:
    """Measure every strength of a file again on held-out images, with the seed of each.

    Raises:
        SettingsError: no such file, or it was measured on some of these images.
    """
    stored, images, kept = read_strengths(file), data.load(), Evaluations(evaluations_file(file))
    refuse_overlap(stored.calibrations, images, "the check")
    meters: dict[tuple[TargetSettings, int], Meter] = {}
    found: list[Checked] = []
    for strength in stored.strengths:
        target = parse_target(strength.target)
        meter = meters.setdefault(
            (target, strength.seed),
            Meter(
                target,
                images,
                kept,
                labelled=data.kind == "classes",
                seed=strength.seed,
                batch=batch,
                device=device,
                progress=progress,
            ),
        )
        measure = MEASURES[strength.measure]
        reached = _value(meter(parse_attack(strength.attack)), measure)
        found.append(Checked(strength, reached, measure.ratio(reached, strength.wanted)))
    return tuple(found)
