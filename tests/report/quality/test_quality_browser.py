"""The page about quality targets in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from browser import Browser, chromium
from conftest import BLIND, EVIL, EXACT, FakeStore
from quality_store import BLUR, IDENTITY, ONE_DRAW, Defence, Line, add_quality, one

from lustral.report import write_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        chromium() is None or shutil.which("chromedriver") is None,
        reason="needs Chromium and chromedriver; on Debian: apt-get install chromium chromium-driver",
    ),
]

COLUMNS = ["Time (ms)", "SROCC clear", "SROCC adv", "D(D)", "D(D) paired", "R", "PSNR", "SSIM", "MSE x 1000", "Linf"]
NAMES = "return [...document.querySelectorAll('#table tbody td.name')].map((cell) => cell.textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fake = FakeStore()
    clean, truth = one([40.0, 50.0, 60.0, 70.0]), [1.0, 2.0, 3.0, 4.0]
    lines = [Line(f"{EVIL[0]}, weak", BLIND), Line("one", ONE_DRAW), Line("many", EXACT, transfer=True)]
    defences = [
        Defence(settings, clean, {line.label: one([45.0, 55.0 + by, 65.0, 60.0]) for line in lines})
        for by, settings in enumerate((IDENTITY, BLUR, {**BLUR, "kernel": 7}, {"name": EVIL[1]}))
    ]
    defences[0].transferred["many", "blur"] = (BLUR, clean)
    add_quality(fake, EVIL[2], lines, defences, truth)
    add_quality(fake, "b", lines, defences[1:], truth, data={"name": "photos", "split": "test", "count": 4})
    return write_report(fake.write(tmp_path_factory.mktemp("store"))).parent / "quality.html"


def test_controls_change_tables_figures_and_matrices(page: Path, tmp_path: Path):
    with Browser(tmp_path, 1280, 900) as browser:
        browser.open(page)
        browser.wait("document.querySelector('#figure .main-svg')")
        assert len(browser.run(NAMES)) == 4
        assert EVIL[1] in browser.run(NAMES)
        heads = "return [...document.querySelectorAll('#table thead th.group')].map((cell) => cell.textContent)"
        assert [head.rpartition(" ")[0] for head in browser.run(heads)] == COLUMNS  # without their arrows
        browser.click("#table thead button[data-column='2']")
        assert browser.run("return document.querySelectorAll('#table th[aria-sort=descending]').length") == 1
        browser.select("select.part", "2")
        assert len(browser.run(NAMES)) == 3
        browser.click("#table-choice button[value='6']")
        assert "filtering" in browser.run(NAMES)
        browser.select("#test-score", "psnr")
        assert "better in PSNR" in browser.run("return document.querySelector('#test-note').textContent")
        for place in range(browser.run("return document.querySelector('#figure-choice').length")):
            browser.select("#figure-choice", str(place))
        assert "figure" in browser.run("return document.querySelector('#figure-caption').textContent")
        assert browser.run("return document.querySelectorAll('#transfer-table tbody tr').length") == 4
        assert browser.console() == []
