"""The page in a real browser: it works, it breaks no rule of its own policy, and no evil name runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, chromium
from conftest import EVIL, add_strips, rich_store

from lustral.report import build_table, write_report
from lustral.report.exports import to_csv

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        chromium() is None or shutil.which("chromedriver") is None,
        reason="needs Chromium and chromedriver; on Debian: apt-get install chromium chromium-driver",
    ),
]

NAMES = "return [...document.querySelectorAll('#table tbody td.name')].map((cell) => cell.textContent)"
STEPS = [*(f"sensitivity {count}" for count in (5, 10, 15)), "fused", EVIL[1], "inpainted"]
COUNT = "return document.querySelector('#count').textContent"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = rich_store()
    # Dead gradients make jpeg an upper bound, and nothing broken makes it look best.
    for cell, result in store.cells:
        if cell.suite == "scenes" and cell.settings.get("defence", {}).get("name") == "jpeg" and cell.label:
            n = len(result.columns["image"])
            result.columns |= {"broken": [[False]] * n, "purified_attacked": [[v] for v in result.columns["truth"]]}
            if cell.kind == "adaptive":
                result.columns |= {"dead_start": [True] * n, "dead_tenth": [True] * n}
    add_strips(store, "median_blur", STEPS)
    claim = {"table": "Table 1", "paper": "A paper", "suite": "scenes", "defence": {"name": "jpeg", "quality": 75}}
    claim |= {"row": EVIL[1], "robust": 83.0, "threat": EVIL[2], "same": "APGD-EOT", "against": {"name": "identity"}}
    return write_report(store.write(tmp_path_factory.mktemp("store"), title=EVIL[0], published=[claim]))


@pytest.fixture(scope="module", params=[(1280, 900), (400, 800)], ids=["laptop", "phone"])
def window(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile"), *request.param) as opened:
        yield opened


@pytest.fixture
def browser(window: Browser, page: Path) -> Iterator[Browser]:
    window.open(page)
    window.wait("document.querySelector('#pareto .main-svg')")
    yield window
    assert window.console() == []


def values(browser: Browser, title: str) -> list[float]:
    script = """
      const heads = [...document.querySelectorAll('#table thead th')].map((head) => head.textContent.trim());
      const at = heads.findIndex((text) => text.includes(arguments[0]));
      return [...document.querySelectorAll('#table tbody tr')].map((row) => row.cells[at].textContent);
    """
    return [float(text.split("[")[0]) for text in browser.run(script, title)]


def test_sort_filter_and_upper_bounds(browser: Browser):
    assert len(browser.run(NAMES)) == 5
    assert browser.run(NAMES)[-1] == "jpeg:quality=75"  # the upper bound, below worse numbers that pass
    assert "1 of them are upper bounds" in browser.run(COUNT)
    assert browser.run("return document.querySelectorAll('#table tr.bound .badge.bound').length") == 1
    robust = values(browser, "Robust")[:-1]
    assert robust == sorted(robust, reverse=True)
    assert len(set(robust)) > 1

    browser.click("th button[data-key='robust.average']")
    assert browser.run("return document.querySelector('th[aria-sort=ascending]').textContent.includes('Robust')")
    assert values(browser, "Robust")[:-1] == robust[::-1]
    browser.click("#filters [name=below]")
    everything = values(browser, "Robust")
    assert everything == sorted(everything)

    browser.type("#filters [name=text]", "median")
    assert browser.run(NAMES) == ["median_blur:size=3"]
    browser.run("document.querySelector('#filters').reset()")
    browser.select("#filters [name=suite]", "")
    browser.select("#filters [name=attack]", "")
    assert browser.run(COUNT).startswith("57 of 57")
    browser.select("#filters [name=kind]", "quality")
    assert browser.run(COUNT).startswith("9 of 57")
    browser.select("#filters [name=verdict]", "upper bound")
    assert int(browser.run(COUNT).split()[0]) < 9


def test_details_pictures_and_slider(browser: Browser):
    browser.click("#table tbody tr:first-child .link")
    browser.wait("document.querySelector('#detail').open")
    assert browser.run("return document.querySelectorAll('#attack-table tbody tr').length") == 3
    assert browser.run("return document.querySelectorAll('#detail-indicators li').length") == 16
    assert '"defence"' in browser.run("return document.querySelector('#detail-settings').textContent")
    browser.wait(
        "[...document.querySelectorAll('#detail img')].every((one) => one.complete && one.naturalWidth === 32)"
    )
    browser.wait("[...document.querySelectorAll('#tiles canvas')].every((one) => one.width === 32)")
    colours = "new Set(one.getContext('2d').getImageData(0, 0, 32, 32).data).size"
    browser.wait(f"[...document.querySelectorAll('#tiles canvas')].every((one) => {colours} > 10)")
    clip = "return document.querySelector('#compare-right').style.clipPath"
    assert browser.run(clip) == "inset(0px 0px 0px 50%)"
    browser.select("#compare-range", "80")
    assert browser.run(clip) == "inset(0px 0px 0px 80%)"
    before = browser.run("return document.querySelector('#compare-left').src")
    browser.select("#compare-left-kind", "clean")
    assert browser.run("return document.querySelector('#compare-left').src") != before
    browser.click("#detail-close")
    assert not browser.run("return document.querySelector('#detail').open")


def test_what_a_purifier_showed_of_its_inside_stands_below(browser: Browser):
    number = browser.run("return data.defences.findIndex((one) => one.name.startsWith('median_blur'))")
    browser.run("openDetail(arguments[0])", number)
    texts = "return [...document.querySelectorAll('.strip figcaption')].map((one) => one.textContent)"
    assert browser.run(texts) == STEPS * 2
    alts = browser.run("return [...document.querySelectorAll('.strip img')].map((one) => one.alt)")
    assert alts[0] == "Inside the purifier, clean image: sensitivity 5"
    assert alts[-1] == "Inside the purifier, attacked image: inpainted"
    browser.wait("[...document.querySelectorAll('.strip img')].every((one) => one.naturalWidth === 32)")
    assert browser.run("return document.querySelector('#detail').scrollWidth <= innerWidth")
    if browser.run("return innerWidth") < 500:
        strip = "document.querySelector('.strip')"
        assert browser.run(f"return {strip}.scrollWidth > {strip}.clientWidth")
    browser.run("openDetail(0)")
    assert browser.run("return document.querySelectorAll('#strips *').length") == 0
    browser.run("document.querySelector('#detail').close()")


def test_figure_switches_and_opens_details(browser: Browser):
    browser.click("[data-view=blind]")
    assert browser.run("return document.querySelector('[data-view=blind]').getAttribute('aria-pressed')") == "true"
    assert "blind" in browser.run("return document.querySelector('#view-text').textContent")
    assert browser.run("return document.querySelectorAll('#pareto .point').length") == 5
    browser.run("document.querySelector('#pareto').emit('plotly_click', {points: [{customdata: 1}]})")
    assert browser.run("return document.querySelector('#detail-title').textContent").startswith("random_noise")
    browser.run("document.querySelector('#detail').close()")
    browser.select("#figure-suite", "1")
    assert "SROCC" in browser.run("return document.querySelector('#pareto').textContent")
    browser.click("#theme")


def test_cost_follows_suite_and_attack_and_has_two_measures(browser: Browser):
    browser.wait("document.querySelector('#cost .main-svg')")
    pressed = "return document.querySelector('[data-measure][aria-pressed=true]').dataset.measure"
    text = "return document.querySelector('#cost').textContent"
    assert browser.run(pressed) == "milliseconds"  # no defence of this suite has a network
    assert "Milliseconds per image" in browser.run(text)
    assert browser.run("return document.querySelectorAll('#cost .point').length") == 2 * 5
    browser.click("[data-measure=passes]")
    assert browser.run(pressed) == "passes"
    assert "Network passes" in browser.run(text)
    browser.run("document.querySelector('#cost').emit('plotly_click', {points: [{}, {customdata: 2}]})")
    assert browser.run("return document.querySelector('#detail-title').textContent").startswith("jpeg")
    browser.run("document.querySelector('#detail').close()")
    browser.select("#figure-suite", "1")
    assert "SROCC" in browser.run(text)


def test_published_numbers_stand_beside_ours(browser: Browser):
    cells = browser.run("return [...document.querySelectorAll('#claims-table tbody td')].map((one) => one.innerText)")
    assert len(cells) == 7
    assert cells[0].startswith(EVIL[1])
    assert cells[1] == "-"
    assert cells[2].startswith("83.00")
    assert "APGD-EOT (exact:eot=10), 12 images" in cells[4]
    assert "against identity" in cells[4]
    assert "worst of blind PGD, APGD-EOT" in cells[5]
    assert cells[6].startswith("upper bound")


def test_evil_names_are_text_everywhere(browser: Browser):
    browser.run("window.alert = () => { document.title = 'pwned'; }")
    browser.select("#filters [name=suite]", EVIL[0])
    browser.select("#filters [name=attack]", "")
    names = browser.run(NAMES)
    assert EVIL[2] in names
    assert EVIL[1] in names
    assert "abc\\u202edcba" in names
    for number in range(11):
        browser.run("openDetail(data.defences.length - 1 - arguments[0])", number)
    browser.select("#figure-suite", "2")
    browser.run("document.querySelector('#detail').close()")
    script = "return document.querySelectorAll('img[onerror], svg[onload], [src*=alert]').length"
    assert browser.run(script) == 0
    assert browser.run("return document.title") == f"{EVIL[0]} - lustral report"
    assert (
        browser.run(
            "return performance.getEntriesByType('resource').filter((e) => !/^(data|blob|file):/.test(e.name)).length"
        )
        == 0
    )


def test_nothing_is_wider_than_the_window(browser: Browser):
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    browser.run("openDetail(0)")
    assert browser.run("return document.querySelector('#detail').scrollWidth <= innerWidth")


def test_saved_files_equal_those_of_the_library(browser: Browser, page: Path):
    if browser.run("return innerWidth") < 500:
        pytest.skip("the same on every screen")
    table = build_table(page.parent.parent)
    rows = browser.run("return EXPORTS.csv.text(data.rows)").splitlines()
    assert sorted(rows) == sorted(to_csv(table.rows).splitlines())
    for kind in ("md", "tex"):
        saved = (page.parent / f"table.{kind}").read_text()
        assert browser.run(f"return EXPORTS.{kind}.text(data.rows, data.columns)") == saved
    browser.click("[data-export=csv]")
    saved = browser.downloads / "lustral-table.csv"
    for _ in range(100):
        if saved.exists():
            break
        time.sleep(0.1)
    assert len(saved.read_text().splitlines()) == 1 + 5  # what the filters show
