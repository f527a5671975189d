"""Which preset of every defence the tables and figures mark, and by what it was chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from lustral.report.columns import COLUMNS
from lustral.report.quality.aggregate import Measured, average
from lustral.report.table import Table

__all__ = ["Marked", "marked_presets"]

_HEADINGS = {column.key: column.title for column in COLUMNS}


class Marked(NamedTuple):
    """Settings that stand for their defence, as canonical JSON, and sentences on how they were chosen."""

    presets: frozenset[str]
    notes: tuple[str, ...]
    on_test: bool


def marked_presets(measured: Sequence[Measured], table: Table) -> Marked:
    """One preset per defence: its only one, or that with the best mean SROCC of attacked images.

    Source: paper 000, section 4 ("a hyperparameter set that provides the best SROCC_adv on the KonIQ dataset").
    Differs: of several presets in this run the best over all its data sets, before attacks that do not know the
        defence where there are such; D(D) decides where no image has a score in its data set.
    """
    methods: dict[str, dict[str, list[Measured]]] = {}
    for one in measured:
        methods.setdefault(one.facets.method, {}).setdefault(one.facets.preset, []).append(one)
    several = any(len(presets) > 1 for presets in methods.values())
    marked = frozenset(max(presets, key=lambda preset: _goodness(presets[preset])) for presets in methods.values())
    notes, on_test = _stored_choices(table)
    if several:
        notes.append(
            "Where a defence has several presets here, the chosen one has the best SROCC of attacked images, on these "
            "very images: its numbers are a little too good. The paper marks presets in the same way."
        )
    return Marked(marked, tuple(notes), on_test or several)


def _goodness(cells: Sequence[Measured]) -> tuple[float, float]:
    blind = [one for one in cells if one.facets.mode == "blind"] or list(cells)
    srocc, d = average(blind, "srocc_attacked").value, average(blind, "d_defended").value
    return (srocc if math.isfinite(srocc) else -2.0), (-d if math.isfinite(d) else -math.inf)


def _stored_choices(table: Table) -> tuple[list[str], bool]:
    """What the recipe says of presets that were chosen on another run."""
    suites: dict[tuple[str, str, bool], list[str]] = {}
    for suite in table.source.recipe.get("suite", ()):
        if chosen := suite.get("chosen"):
            key = str(chosen["by"]), str(chosen["among"]), bool(chosen.get("on_test"))
            suites.setdefault(key, []).append(str(suite["name"]))
    every = len(table.source.recipe.get("suite", ()))
    notes: list[str] = []
    for (by, among, same), names in suites.items():
        where = "and may have been chosen on the very images evaluated here" if same else (
            "on images that are not evaluated here"
        )  # fmt: skip
        whose = "" if len(names) == every else f" of {', '.join(names)}"
        notes.append(
            f"Presets{whose} have the best {_HEADINGS.get(by, by)} under {among} attacks of another run, {where}."
        )
    return notes, any(same for _, _, same in suites)
