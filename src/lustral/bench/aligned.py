"""Attacks of a recipe that take their strength from a file of ``lustral align``. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lustral.attacks import AttackSettings, parse_attack
from lustral.bench.strengths import (
    LEVELS,
    AlignedStrength,
    Calibration,
    Strength,
    Strengths,
    attack_weights,
    measure_name,
    read_strengths,
)
from lustral.settings import SettingsError
from lustral.targets import TargetSettings, parse_target

__all__ = ["expand_aligned"]


class _Request(BaseModel):
    """What a recipe says under ``aligned``.

    Attributes:
        file: relative to the folder of the recipe.
        measure: by which strengths were aligned.
        levels: one attack each.
        parameter: the setting that was moved, joined by commas, where the file has several for the attack.
        nearest: also take levels that could not be reached, at the nearest value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str = Field(min_length=1)
    measure: str
    levels: tuple[str, ...] = Field(default=LEVELS, min_length=1)
    parameter: str | None = None
    nearest: bool = False


def expand_aligned(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A recipe whose attacks with the key ``aligned`` have become one attack per level.

    Args:
        values: as read from TOML, not yet checked.
        folder: of the recipe.

    Returns:
        ``values`` with the settings of the file in place of ``aligned``, the level in the label, and in every
        suite the images that may not be evaluated in it.

    Raises:
        SettingsError: the file lacks such a strength, or it was measured with other weights or code.
    """
    suites = values.get("suite")
    if not isinstance(suites, list):
        return values  # the check of the whole recipe says what is wrong
    return {**values, "suite": [_expand_suite(suite, folder) for suite in suites]}  # pyright: ignore[reportUnknownVariableType]


def _expand_suite(suite: Any, folder: Path) -> Any:
    lines: Any = suite.get("attack") if isinstance(suite, dict) else None
    if not isinstance(lines, list) or not any(isinstance(line, dict) and "aligned" in line for line in lines):
        return suite
    target = parse_target(suite.get("target") or "")
    expanded: list[Any] = []
    used: dict[str, Calibration] = {}
    for line in lines:
        if not (isinstance(line, dict) and "aligned" in line):
            expanded.append(line)
            continue
        rest: dict[str, Any] = {str(key): value for key, value in line.items() if key != "aligned"}
        request = _read_request(line["aligned"], rest)
        file = read_strengths(folder / request.file)
        for strength in _choose(file, request, rest.get("attack"), target):
            used[strength.calibration] = file.calibration(strength)
            label = f"{rest.get('label', strength.attack['name'])}, {strength.level}"
            facts = strength.model_dump(mode="json", include=set(Strength.model_fields))
            expanded.append({**rest, "label": label, "attack": strength.attack, "strength": facts})
    calibrations = [calibration.model_dump(mode="json") for calibration in used.values()]
    return {**suite, "attack": expanded, "calibration": [*suite.get("calibration", []), *calibrations]}


def _read_request(values: Any, line: dict[str, Any]) -> _Request:
    where = f"aligned of attack {line.get('label', line.get('attack'))!r}"
    try:
        request = _Request.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        known = ", ".join(_Request.model_fields)
        place = ".".join(map(str, problem["loc"]))
        raise SettingsError(f"{where}: {place}: {problem['msg']}; known keys: {known}") from None
    if line.get("main") and len(request.levels) > 1:
        raise SettingsError(f"{where} has {len(request.levels)} levels but only one attack can be main; give one level")
    return request


def _choose(file: Strengths, request: _Request, text: Any, target: TargetSettings) -> Sequence[AlignedStrength]:
    attack, measure = parse_attack(text), measure_name(request.measure)
    parameters = None if request.parameter is None else tuple(request.parameter.split(","))
    fitting = [
        strength
        for strength in file.strengths
        if strength.fits(attack) and strength.target == target.to_json() and strength.measure == measure
        if parameters in (None, strength.parameters)
    ]
    chosen: list[AlignedStrength] = []
    for level in request.levels:
        found = [strength for strength in fitting if strength.level == level]
        if len(found) != 1:
            raise SettingsError(_absent(file, request, attack, target, level, found))
        _check(found[0], request, attack, target)
        chosen.append(found[0])
    return chosen


def _absent(
    file: Strengths,
    request: _Request,
    attack: AttackSettings,
    target: TargetSettings,
    level: str,
    found: Sequence[AlignedStrength],
) -> str:
    wanted = f"{attack.name} on {target.name} with {measure_name(request.measure)} {level}"
    if found:
        several = " and ".join(",".join(strength.parameters) for strength in found)
        return f"{request.file} has several strengths of {wanted}, of {several}; say which with parameter"
    known = [
        f"{strength.attack['name']} on {strength.target['name']} with {strength.measure} {strength.level}"
        for strength in file.strengths
    ]
    same = " with other settings" if wanted in known else ""
    listed = ", ".join(dict.fromkeys(known)) or "nothing"
    return f"{request.file} has no strength of {wanted}{same}; run lustral align for it. It has: {listed}"


def _check(strength: AlignedStrength, request: _Request, attack: AttackSettings, target: TargetSettings) -> None:
    where = f"{request.file}: {attack.name}, {strength.level}"
    if strength.target_weights != target.weights_digest() or strength.target_version != target.version:
        raise SettingsError(
            f"{where} was aligned on other weights of {target.name} or another version of it; run lustral align again"
        )
    if strength.version != attack.version or strength.attack_weights != attack_weights(attack):
        raise SettingsError(
            f"{where} was aligned with another version of {attack.name} or other weights; run lustral align again"
        )
    if strength.status == "unreached" and not request.nearest:
        raise SettingsError(
            f"{where} was not reached: wanted {strength.wanted:g}, got {strength.reached:g} ({strength.reason}); "
            "nearest = true takes it all the same"
        )
