"""Everything that the page and the files about quality targets say, worked out once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lustral.report.quality.aggregate import Measured, cells_of, measure
from lustral.report.quality.composite import WEIGHTS, Composite, composite_rank
from lustral.report.quality.facets import MODES, entries_of
from lustral.report.quality.presets import Marked, marked_presets
from lustral.report.quality.tables import PaperTable, Part, build_tables, parts_of, present_modes
from lustral.report.quality.transfer import TransferMatrix, transfer_matrices
from lustral.report.quality.wilcoxon import TESTED, PairTests, compare_pairs
from lustral.report.table import Table
from lustral.report.text import defence_text

__all__ = ["Content", "build_content"]

_BPDA = (
    "Attacked through a documented surrogate gradient (BPDA), where the paper has dashes for JPEG and color "
    "quantization"
)


@dataclass(frozen=True, eq=False)
class Content:
    """What was worked out.

    Attributes:
        measured: one per row of a quality target, in the order of the table.
        settings: settings of every defence by their canonical JSON.
        marked: the presets that stand for their defences.
        tests: p-values between the marked presets, one per score and mode.
        gaps: sentences on what is missing.
        remarks: sentences on defences that are not attacked by their own gradient.
    """

    measured: tuple[Measured, ...]
    settings: dict[str, dict[str, Any]]
    marked: Marked
    parts: tuple[Part, ...]
    tables: tuple[PaperTable, ...]
    tests: tuple[PairTests, ...]
    transfer: tuple[TransferMatrix, ...]
    composite: Composite | None
    gaps: tuple[str, ...]
    remarks: tuple[str, ...]


def build_content(table: Table, weights: Mapping[str, float] = WEIGHTS) -> Content | None:
    """Work out everything; None if the run has neither a quality target nor attacks that were transferred.

    Args:
        table: of the run.
        weights: of the composite rank.
    """
    measured = measure(entries_of(table))
    transfer = transfer_matrices(table)
    if not measured and not transfer:
        return None
    settings = {one.key[1]: one.defence for one in (*table.results, *table.transfers)}
    marked = marked_presets(measured, table)
    presets = [name for name in dict.fromkeys(one.facets.preset for one in measured) if name in marked.presets]
    return Content(
        measured=tuple(measured),
        settings=settings,
        marked=marked,
        parts=tuple(parts_of(measured)),
        tables=tuple(build_tables(measured)),
        tests=tuple(
            compare_pairs(measured, presets, score, mode) for mode in present_modes(measured) for score in TESTED
        ),
        transfer=tuple(transfer),
        composite=composite_rank(measured, weights),
        gaps=tuple(_gaps(table, measured, settings)),
        remarks=tuple(_remarks(measured, settings)),
    )


def _gaps(table: Table, measured: Sequence[Measured], settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the run lacks, and the defences that have fewer cells than others."""
    found: list[str] = []
    if table.source.missing or table.source.failures:
        found.append(
            f"This run is not finished: {table.source.missing} cells are missing and "
            f"{len(table.source.failures)} failed."
        )
    for mode in present_modes(measured):
        cells = cells_of(one for one in measured if one.facets.mode == mode)
        most = max(map(len, cells.values()))
        fewer = [f"{defence_text(settings[name])} {len(met)}" for name, met in cells.items() if len(met) < most]
        if fewer:
            found.append(
                f"Fewer attacks than others, which makes means hard to compare: of {most} {MODES[mode]} cells "
                f"{', '.join(fewer)}."
            )
    return found


def _remarks(measured: Sequence[Measured], settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Defences whose adaptive numbers need a word."""
    found: list[str] = []
    kinds = {one.facets.preset: one.facets.gradient for one in measured}
    for gradient, text in (
        ("bpda", _BPDA),
        ("none", "Without a gradient, so with dashes under adaptive attacks of one draw, as in the paper"),
    ):
        names = [defence_text(settings[name]) for name, kind in kinds.items() if kind == gradient]
        adaptive = any(one.facets.mode != "blind" for one in measured)
        if names and adaptive:
            found.append(f"{text}: {', '.join(names)}.")
    return found
