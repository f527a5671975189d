"""Attacks made on one defence, scored behind another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lustral.report.results import WORST, Result, aim_of
from lustral.report.summary import attacked_share, quality_scores
from lustral.report.table import Table
from lustral.settings import canonical

__all__ = ["MEASURES", "TransferMatrix", "transfer_matrices"]

Measure = Literal["gain", "broken", "robust"]

MEASURES: dict[Measure, str] = {
    "gain": "Movement of the score in the attacker's direction, % of the range",
    "broken": "Images broken, %",
    "robust": "Robust accuracy, %",
}

_MADE_ON = " [made on "


@dataclass(frozen=True, eq=False)
class TransferMatrix:
    """One attack of one suite.

    Attributes:
        suite: its name; empty for a mean over suites.
        label: name of the attack.
        defences: settings, rows and columns alike; the attack of row i is made on defence i (the first is none, where
            the run has it) and scored behind that of the column, so that the diagonal is the adaptive attack itself.
        values: measure -> (defences, defences) in per cent; NaN where there is no result.
        images: fewest images of an entry.
        suites: how many suites it is a mean over.
    """

    suite: str
    label: str
    kind: str
    defences: tuple[str, ...]
    values: dict[Measure, NDArray[np.float64]]
    images: int
    suites: int = 1


def transfer_matrices(table: Table) -> list[TransferMatrix]:
    """One matrix for every suite and attack that the recipe transfers, then means over suites of quality targets."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in table.transfers:
        groups.setdefault((result.suite, result.label.rpartition(_MADE_ON)[0]), []).append(result)
    own = {(*result.key, result.label): result for result in table.results if result.label != WORST}
    places: dict[str, list[str]] = {}
    for result in table.results:
        names = places.setdefault(result.suite, [])
        if result.key[1] not in names:
            names.append(result.key[1])
    matrices = [
        _matrix(suite, label, places.get(suite, []), results, own) for (suite, label), results in groups.items()
    ]
    matrices.sort(key=lambda one: list(places).index(one.suite) if one.suite in places else len(places))
    return matrices + _means(matrices)


def _matrix(
    suite: str,
    label: str,
    defences: Sequence[str],
    results: Sequence[Result],
    own: dict[tuple[str, str, str], Result],
) -> TransferMatrix:
    found = {(canonical(result.maker), result.key[1]): result for result in results}
    for preset in defences:
        if (suite, preset, label) in own:
            found[preset, preset] = own[suite, preset, label]
    kind = aim_of(results[0].settings["target"]).kind
    measures: tuple[Measure, ...] = ("robust",) if kind == "classifier" else ("gain", "broken")
    shape = len(defences), len(defences)
    values: dict[Measure, NDArray[np.float64]] = {measure: np.full(shape, np.nan) for measure in measures}
    for row, maker in enumerate(defences):
        for column, defence in enumerate(defences):
            if (maker, defence) in found:
                for measure in measures:
                    values[measure][row, column] = _value(found[maker, defence], measure)
    images = min((len(result.samples) for result in found.values()), default=0)
    return TransferMatrix(suite, label, kind, tuple(defences), values, images)


def _value(result: Result, measure: Measure) -> float:
    aim = aim_of(result.settings["target"])
    if measure == "gain":
        return 100 * quality_scores(result.samples, aim, result.traits.is_random)["gain"]
    holds = attacked_share(result.samples, aim, 1, 1)["average"]
    return 100 * (holds if measure == "robust" else 1 - holds)


def _means(matrices: Sequence[TransferMatrix]) -> list[TransferMatrix]:
    groups: dict[tuple[str, tuple[str, ...]], list[TransferMatrix]] = {}
    for one in matrices:
        if one.kind == "quality":
            groups.setdefault((one.label, one.defences), []).append(one)
    return [
        TransferMatrix(
            "",
            label,
            "quality",
            defences,
            {measure: np.mean([one.values[measure] for one in group], axis=0) for measure in group[0].values},
            min(one.images for one in group),
            len(group),
        )
        for (label, defences), group in groups.items()
        if len(group) > 1
    ]
