"""Which preset of every defence the tables and figures mark, and by what it was chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from lustral.report.quality.aggregate import Measured, average
from lustral.report.table import Table

__all__ = ["Marked", "marked_presets"]


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
    notes: dict[str, None] = {}
    on_test = False
    for suite in table.source.recipe.get("suite", ()):
        chosen = suite.get("chosen")
        if chosen:
            on_test = on_test or bool(chosen.get("on_test"))
            where = "and may have been chosen on the very images evaluated here" if chosen.get("on_test") else (
                "on images that are not evaluated here"
            )  # fmt: skip
            notes[
                f"Presets of suite {suite['name']} have the best {chosen['by']} under {chosen['among']} attacks of "
                f"another run, {where}."
            ] = None
    return list(notes), on_test
