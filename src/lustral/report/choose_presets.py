"""Choose the best preset of every defence from a finished run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from lustral.bench.presets import Candidate, ChosenPreset, Presets
from lustral.bench.strengths import calibration_of
from lustral.data import parse_data
from lustral.report.columns import COLUMNS, value_of
from lustral.report.quality.facets import method_name
from lustral.report.results import WORST, plain_settings
from lustral.report.table import Row, Table
from lustral.report.text import defence_text
from lustral.settings import SettingsError, canonical

__all__ = ["choose_presets"]

Among = Literal["blind", "adaptive", "all"]


def choose_presets(table: Table, by: str = "srocc_attacked", among: Among = "all", command: str = "") -> Presets:
    """The preset of every defence whose mean score over attacks and suites is best; ties go to the first.

    Compositions are presets of one defence if their parts have the same names in the same order.

    Args:
        table: of a finished run whose suites list several settings of a defence.
        by: key of a row, one of the columns that say which way is better.
        among: over which attacks the score is averaged: those that do not know the defence, those that do, or all.
        command: for the record.

    Source: paper 000, section 4 ("a hyperparameter set that provides the best SROCC_adv on the KonIQ dataset").
    Differs: the paper chooses on the images that it then reports; this run should have others, and recipes refuse the
        same ones unless they say ``on_test``.

    Raises:
        SettingsError: an unfinished run, a score without a better direction, no attack of that kind, or presets that
            did not meet the same attacks.
    """
    if table.source.missing or table.source.failures:
        raise SettingsError(
            f"{table.source.missing} cells of the run are missing and {len(table.source.failures)} failed; "
            "finish it before choosing presets"
        )
    better = {column.key: column.better for column in COLUMNS if column.better}
    direction = better.get(by)
    if not direction:
        raise SettingsError(f"presets cannot be chosen by {by!r}; scores with a better direction: {', '.join(better)}")
    values = _values(table.rows, by, among)
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for defence, scores in values.items():
        candidate = Candidate(defence=_settings(table, defence), value=float(np.mean(list(scores.values()))))
        groups[method_name(candidate.defence)].append(candidate)
    sign = 1 if direction == "up" else -1
    chosen = [
        ChosenPreset(**max(found, key=lambda one: sign * one.value).model_dump(), candidates=tuple(found))
        for found in groups.values()
    ]
    return Presets(
        by=by,
        better="up" if direction == "up" else "down",
        among=among,
        chosen=tuple(chosen),
        calibrations=tuple(calibration_of(dict(data), parse_data(data).load()) for data in _data(table)),
        command=command,
    )


def _values(rows: Iterable[Row], by: str, among: Among) -> dict[str, dict[tuple[str, str], float]]:
    """Score of every defence under every attack; all presets of one defence must have met the same."""
    values: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    names: dict[str, dict[str, Any]] = {}
    for row in rows:
        knowledge = row["access_settings"].get("knowledge")
        wanted = among == "all" or (knowledge == "blind") is (among == "blind")
        if row["attack"] == WORST or not wanted or row["defence_settings"]["name"] == "identity":
            continue
        value = value_of(row, by)
        if value is None or not math.isfinite(value):
            raise SettingsError(f"{row['defence']} has no {by} under {row['attack']!r} in suite {row['suite']!r}")
        key = canonical(row["defence_settings"])
        names[key] = row["defence_settings"]
        values[key][row["suite"], row["attack"]] = float(value)
    if not values:
        raise SettingsError(f"the run has no defence with an attack of the kind {among!r} to choose by")
    met: dict[str, set[tuple[str, str]]] = {}
    for key, scores in values.items():
        method = method_name(names[key])
        if met.setdefault(method, set(scores)) != set(scores):
            raise SettingsError(
                f"presets of {method} met different attacks, {defence_text(names[key])} others; "
                "list them together in every suite of the run"
            )
    return values


def _settings(table: Table, defence: str) -> dict[str, Any]:
    return next(row["defence_settings"] for row in table.rows if canonical(row["defence_settings"]) == defence)


def _data(table: Table) -> list[Mapping[str, Any]]:
    found = {canonical(data): data for data in (plain_settings(result.settings["data"]) for result in table.results)}
    return list(found.values())
