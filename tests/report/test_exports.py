"""Exports are harmless in a spreadsheet, a Markdown renderer and LaTeX."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from conftest import EVIL, FakeStore

from lustral.report import Table, build_table
from lustral.report.exports import CSV_COLUMNS, csv_cell, to_csv, to_latex, to_markdown


@pytest.fixture
def table(rich: FakeStore, tmp_path: Path) -> Table:
    return build_table(rich.write(tmp_path))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_run_is_quoted(start: str):
    assert csv_cell(f"{start}1").startswith("'")


def test_numbers_stay_numbers():
    assert csv_cell(-0.25) == "-0.250000"
    assert csv_cell(-1e-9) == "0.000000"
    assert csv_cell(float("nan")) == csv_cell(None) == csv_cell(float("inf")) == ""
    assert (csv_cell(True), csv_cell(3)) == ("true", "3")


def test_csv_has_no_timing_no_control_characters_and_reads_back(table: Table):
    text = to_csv(table.rows)
    assert not {"seconds", "milliseconds", "peak_memory"} & set(",".join(CSV_COLUMNS).replace(".", ",").split(","))
    assert all(character >= " " or character == "\n" for character in text)
    assert "\u202e" not in text
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == len(table.rows)
    assert all(len(line) == len(CSV_COLUMNS) for line in lines)
    assert {line["attack"] for line in lines} >= {f"'{EVIL[3]}", EVIL[1]}


def test_markdown_has_one_cell_per_column_and_no_html(table: Table):
    lines = to_markdown(table.rows).splitlines()
    bars = {line.replace("\\|", "").count("|") for line in lines}
    assert len(bars) == 1
    assert not any("<" in line or ">" in line for line in lines)


def test_latex_escapes_what_would_run(table: Table):
    text = to_latex(table.rows)
    body = text.split("\\hline\n")[2]
    assert "\\script" not in text
    for line in body.splitlines():
        stripped = line.removesuffix(" \\\\")
        for escaped in ("\\textbackslash{}", "\\textless{}", "\\textgreater{}", "\\textbar{}", "\\textasciitilde{}"):
            stripped = stripped.replace(escaped, "")
        for sign in "&%$#_{}":
            stripped = stripped.replace(f"\\{sign}", "")
        assert "\\" not in stripped
        assert not set(stripped) & set("%$#_{}~^<>|")


def test_the_table_shows_how_close_purified_clean_and_purified_attacked_images_are_to_the_clean_ones(table: Table):
    head, _, *body = (line.split(" | ") for line in to_markdown(table.rows).splitlines())
    wanted = {"PSNR clean": "40.0", "SSIM clean": "0.990", "PSNR attacked": "30.0", "SSIM attacked": "0.800"}
    assert all(line[head.index(title)] == value for line in body for title, value in wanted.items())
