"""Settings of defences that were chosen on a finished run, and the file they are kept in. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lustral.bench.strengths import Calibration
from lustral.files import read_regular
from lustral.settings import SettingsError

__all__ = ["Candidate", "ChosenPreset", "PresetChoice", "Presets", "expand_presets", "read_presets"]

_MAX_BYTES = 2**28


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Candidate(_Record):
    """One preset of a defence and its score, a mean over the attacks and suites of the run."""

    defence: dict[str, Any]
    value: float


class ChosenPreset(_Record):
    """The best preset of one defence among the candidates, which are in the order of the recipe."""

    defence: dict[str, Any]
    value: float
    candidates: tuple[Candidate, ...]


class PresetChoice(_Record):
    """How presets were chosen; for reports, no part of any cell's identity.

    Attributes:
        by: the score, a key of the table's rows such as "srocc_attacked".
        better: which way it is better.
        among: over which attacks it was averaged: "blind", "adaptive" or "all".
        on_test: whether the images that are evaluated may be those that chose, as in paper 000.
    """

    by: str
    better: Literal["up", "down"]
    among: Literal["blind", "adaptive", "all"]
    on_test: bool = False


class Presets(PresetChoice):
    """What a file of presets holds.

    Attributes:
        chosen: one per defence.
        calibrations: the images of the run.
        command: that made the file.
    """

    format: Literal[1] = 1
    chosen: tuple[ChosenPreset, ...] = Field(min_length=1)
    calibrations: tuple[Calibration, ...]
    command: str = ""


class _Request(BaseModel):
    """What a recipe says under ``presets``: the file, relative to its folder, and whether it may be of the test set."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str = Field(min_length=1)
    on_test: bool = False


def read_presets(path: Path) -> Presets:
    """Read a file that ``lustral choose presets`` wrote.

    Raises:
        SettingsError: there is none, or it holds something else.
    """
    try:
        return Presets.model_validate_json(read_regular(path, _MAX_BYTES, SettingsError))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "it"
        raise SettingsError(
            f"{path} is not a file that lustral choose presets wrote: {place}: {problem['msg']}"
        ) from None


def expand_presets(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A recipe whose suites with the key ``presets`` have the chosen defences after those they name.

    Args:
        values: as read from TOML, not yet checked.
        folder: of the recipe.

    Returns:
        ``values`` with, in these suites, the settings of the file, how they were chosen, and the images that may not
        be evaluated: with ``on_test = true`` none, as in paper 000, and reports say so.

    Raises:
        SettingsError: the file cannot be read, or the key has another form.
    """
    suites = values.get("suite")
    if not isinstance(suites, list):
        return values  # the check of the whole recipe says what is wrong
    return {**values, "suite": [_expand_suite(suite, folder) for suite in suites]}  # pyright: ignore[reportUnknownVariableType]


def _expand_suite(suite: Any, folder: Path) -> Any:
    if not isinstance(suite, dict) or "presets" not in suite:
        return suite
    rest: dict[str, Any] = {str(key): value for key, value in suite.items() if key != "presets"}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    try:
        request = _Request.model_validate(suite["presets"])
    except ValidationError as error:
        problem = error.errors()[0]
        known = ", ".join(_Request.model_fields)
        place = ".".join(map(str, (rest.get("name"), *problem["loc"])))
        raise SettingsError(f"presets of suite {place}: {problem['msg']}; known keys: {known}") from None
    file = read_presets(folder / request.file)
    named = rest.get("defences", [])
    if not isinstance(named, list):
        raise SettingsError(f"suite {rest.get('name')!r} names presets, so its defences must be a list, got {named!r}")
    held_out = () if request.on_test else file.calibrations
    return {
        **rest,
        "defences": [*named, *(preset.defence for preset in file.chosen)],
        "chosen": PresetChoice(by=file.by, better=file.better, among=file.among, on_test=request.on_test).model_dump(),
        "calibration": [*rest.get("calibration", []), *(entry.model_dump(mode="json") for entry in held_out)],
    }
