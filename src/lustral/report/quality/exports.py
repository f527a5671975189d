"""The tables about quality targets as CSV, one line per value."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lustral.report.exports import csv_cell
from lustral.report.quality.content import Content
from lustral.report.quality.tables import PaperTable
from lustral.report.quality.wilcoxon import CORRECTIONS, matrix_of
from lustral.report.text import defence_text

__all__ = ["FILES", "csv_files"]

_PART = ("part", "name")

FILES: tuple[str, ...] = (
    *(f"table_{number}.csv" for number in (3, 13, 14, 15, 16, 17, 24, 25, 26)),
    *("tables_18_to_23.csv", "transfer.csv", "composite.csv"),
)
"""Every file that there may be. Only ``composite.csv`` depends on timing."""


def csv_files(content: Content) -> dict[str, str]:
    """Name and text of every file that has a line."""
    texts = {f"table_{table.number}.csv": _table(table, content) for table in content.tables}
    heads: dict[str, tuple[Sequence[str], Iterable[Sequence[Any]]]] = {
        "tables_18_to_23.csv": (
            (*_PART, "mode", "score", "correction", "row", "column", "share", "m", "cells"),
            _wilcoxon(content),
        ),
        "transfer.csv": (
            ("suite", "suites", "attack", "made_on", "scored_behind", "measure", "value"),
            _transfer(content),
        ),
        "composite.csv": (
            ("defence", "mode", "first", "last", "mean_rank", "low", "high", "score", "weight", "rank", "value"),
            _composite(content),
        ),
    }
    for name, (head, rows) in heads.items():
        lines = list(rows)
        if lines:
            texts[name] = _csv(head, lines)
    return texts


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([csv_cell(value) for value in row] for row in rows)
    return stream.getvalue()


def _name(content: Content, preset: str) -> str:
    return defence_text(content.settings[preset])


def _table(table: PaperTable, content: Content) -> str:
    who = ("family",) if table.by_family else ("defence", "chosen", "defence_settings")
    head = (*_PART, *who, "section", "score", "mode")
    numbers = ("value", "low", "high", "spread", "cells", "images", "left_out")
    return _csv((*head, *numbers), _values(table, content))


def _values(table: PaperTable, content: Content) -> Iterator[tuple[Any, ...]]:
    for part, rows in table.values.items():
        for name, values in zip(table.rows, rows, strict=True):
            settings = content.settings.get(name)
            who = (name,) if settings is None else (_name(content, name), name in content.marked.presets, settings)
            for column, mean in zip(table.columns, values, strict=True):
                if column.score != "milliseconds":
                    yield (*part, *who, *column, *mean)


def _wilcoxon(content: Content) -> Iterator[tuple[Any, ...]]:
    for tests in content.tests:
        names = [_name(content, preset) for preset in tests.presets]
        for part in content.parts:
            for correction in CORRECTIONS:
                found = matrix_of(tests, part, correction)
                for row, shares in enumerate(found.shares.tolist()):
                    for column, share in enumerate(shares):
                        if math.isfinite(share):
                            head = (*part, tests.mode, tests.score, correction, names[row], names[column])
                            yield (*head, share, found.m, found.cells)


def _transfer(content: Content) -> Iterator[tuple[Any, ...]]:
    for one in content.transfer:
        names = [_name(content, preset) for preset in one.defences]
        for measure, values in one.values.items():
            for row, found in enumerate(values.tolist()):
                for column, value in enumerate(found):
                    yield one.suite, one.suites, one.label, names[row], names[column], measure, value


def _composite(content: Content) -> Iterator[tuple[Any, ...]]:
    order = content.composite
    for one in order.ranked if order else ():
        head = (
            _name(content, one.preset),
            order.mode if order else "",
            one.first,
            one.last,
            one.mean,
            one.low,
            one.high,
        )
        for key, rank in one.ranks.items():
            yield (*head, key, order.weights[key] if order else 0.0, rank, one.values[key])
