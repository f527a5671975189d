"""The table as CSV, Markdown and LaTeX, harmless in a spreadsheet, a renderer and a compiler."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lustral.report.columns import COLUMNS, Column, cell_text, value_of
from lustral.report.text import json_text, plain

__all__ = ["CSV_COLUMNS", "csv_cell", "markdown_text", "to_csv", "to_latex", "to_markdown"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
_SHARE = ("average", "low", "high", "worst", "vote")

CSV_COLUMNS: tuple[str, ...] = (
    *("suite", "data", "target", "kind", "defence", "attack", "access", "verdict", "indicator_string"),
    *("n", "seed", "main", "order", "order_last", "tests", "is_random", "gradient", "passes"),
    *(f"clean.{name}" for name in _SHARE),
    *(f"robust.{name}" for name in _SHARE),
    *("srocc_clean", "srocc_attacked", "d", "d_defended", "d_paired"),
    *("r", "r_defended", "r_paired", "r_capped", "tie_fraction", "gain"),
    *("psnr_clean", "ssim_clean", "psnr_attack", "ssim_attack", "psnr_attacked", "ssim_attacked"),
    *("linf", "l2", "queries", "gradients"),
    *("defence_settings", "attack_settings", "access_settings", "cells"),
)
"""Columns of the canonical table: everything but timing, so equal results give equal bytes."""


def csv_cell(value: Any) -> str:
    """One value under the fixed rules: six decimals, empty for none, text that no spreadsheet runs.

    >>> csv_cell(-0.5), csv_cell("-0.5"), csv_cell(float("nan"))
    ('-0.500000', "'-0.5", '')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = f"{value:.6f}"
        return text.lstrip("-") if float(text) == 0 else text
    if isinstance(value, dict):
        return json_text(value)
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    text = str(value)
    return f"'{plain(text)}" if text.startswith(_FORMULA) else plain(text)


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """The canonical table: rows sorted, no timing, line feeds at line ends."""
    lines = sorted([csv_cell(value_of(row, key)) for key in CSV_COLUMNS] for row in rows)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(lines)
    return stream.getvalue()


def to_markdown(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column] | None = None) -> str:
    """A GitHub table of the columns that have a value; numbers to the right."""
    shown = _shown(rows, columns)
    head = [markdown_text(column.title) for column in shown]
    rule = [":--" if column.style == "text" else "--:" for column in shown]
    body = [[markdown_text(plain(cell_text(row, column))) for column in shown] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [head, rule, *body])


def to_latex(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column] | None = None) -> str:
    """A ``tabular`` of the columns that have a value; needs no package."""
    shown = _shown(rows, columns)
    lines = [[_latex(column.title) for column in shown]]
    lines += [[_latex(plain(cell_text(row, column))) for column in shown] for row in rows]
    head, *body = [f"{' & '.join(cells)} \\\\\n" for cells in lines]
    alignment = "".join("l" if column.style == "text" else "r" for column in shown)
    return f"\\begin{{tabular}}{{{alignment}}}\n\\hline\n{head}\\hline\n{''.join(body)}\\hline\n\\end{{tabular}}\n"


def _shown(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column] | None) -> list[Column]:
    return [column for column in columns or COLUMNS if any(cell_text(row, column) for row in rows)]


def markdown_text(text: str) -> str:
    """Text that a Markdown renderer shows as it is."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{sign}" if sign in "\\`*_[]|~!" else sign for sign in escaped)


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
