"""The page and the files beside the report: written, self-contained, linked, removed when they do not belong there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import plotly.offline
import pytest
from conftest import BLIND, EVIL, EXACT, FakeStore, add_suite
from quality_store import BLUR, IDENTITY, NOISE, ONE_DRAW, Defence, Line, add_quality, one

from lustral.report import write_report
from lustral.report.page import content_policy


@pytest.fixture
def folder(fake: FakeStore, tmp_path: Path) -> Path:
    """Names of attacks and suites that would like to be elements; a defence with two presets."""
    clean, truth = one([40.0, 50.0, 60.0, 70.0]), [1.0, 2.0, 3.0, 4.0]
    lines = [Line(f"{EVIL[0]}, weak", BLIND), Line("one", ONE_DRAW), Line("many", EXACT, transfer=True)]
    defences = [
        Defence(settings, clean, {line.label: one([45.0, 55.0 + by, 65.0, 60.0]) for line in lines})
        for by, settings in enumerate((IDENTITY, BLUR, {**BLUR, "kernel": 7}, {"name": EVIL[1]}))
    ]
    defences[0].transferred["many", "blur"] = (BLUR, clean)
    add_quality(fake, EVIL[2], lines, defences, truth)
    add_quality(fake, "b", lines[:1], defences, truth, data={"name": "photos", "split": "test", "count": 4})
    return write_report(fake.write(tmp_path, title=EVIL[0])).parent.parent


@pytest.fixture
def text(folder: Path) -> str:
    return (folder / "report" / "quality.html").read_text(encoding="utf-8")


def test_the_page_is_self_contained_under_its_own_policy(text: str):
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert (len(scripts), len(styles)) == (2, 2)
    rest = text.replace(plotly.offline.get_plotlyjs(), "")
    policy = content_policy(scripts, styles).replace("'", "&#39;")
    assert policy in rest
    assert not re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", rest)
    assert "@import" not in rest
    assert "url(" not in rest
    assert not re.findall(r"<(?:script|img|svg)[^>]*(?:src|onload|onerror)", rest)


def test_its_data_are_strict_json_with_tables_figures_tests_and_transfer(text: str):
    (raw,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert "<" not in raw

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    data = json.loads(raw, parse_constant=refuse)
    assert [table["number"] for table in data["tables"]] == ["3", "13", "14", "15", "16", "17", "24", "25", "26"]
    assert [part["kind"] for part in data["parts"]] == ["everything", "data set", "data set"]
    drawings = [drawing for figure in data["figures"] for drawing in figure["drawings"].values()]
    assert any("Pareto" in trace.get("name", "") for drawing in drawings for trace in drawing["data"])
    assert {one["mode"] for one in data["tests"]} == {"blind", "paper", "standard"}
    assert len(data["transfer"]) == 1
    assert sum(not preset["marked"] for preset in data["presets"]) == 1


def test_presets_chosen_on_these_images_are_said_in_the_header(text: str):
    assert "Presets were chosen on images that are evaluated here" in text


def test_pages_link_to_each_other_and_the_files_are_there(folder: Path, text: str):
    assert 'href="quality.html"' in (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert 'href="index.html"' in text
    names = {path.name for path in (folder / "quality").iterdir()}
    assert {"table_3.csv", "table_26.csv", "tables_18_to_23.csv", "transfer.csv", "composite.csv"} <= names


def test_a_run_of_classifiers_has_no_such_page_and_loses_an_old_one(fake: FakeStore, tmp_path: Path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "quality.html").write_text("old")
    (tmp_path / "quality").mkdir()
    (tmp_path / "quality" / "table_3.csv").write_text("old")
    defences = [(IDENTITY, False, 0.2), (NOISE, True, 0.6)]
    add_suite(fake, "scenes", "classifier", defences, [("blind", BLIND, 0.1)], count=6)
    page = write_report(fake.write(tmp_path))
    assert "quality.html" not in page.read_text(encoding="utf-8")
    assert not (tmp_path / "report" / "quality.html").exists()
    assert not (tmp_path / "quality" / "table_3.csv").exists()
