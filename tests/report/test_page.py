"""The page as text: self-contained, locked down, and deaf to evil names."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import plotly.offline
import pytest
from conftest import EVIL, FakeStore, picture

from lustral.report import build_table, write_report
from lustral.report.page import content_policy
from lustral.report.pictures import SIDE, make_albums


class Page(HTMLParser):
    """Elements with their attributes, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.raw.append((tag if dict(attrs).get("type") != "application/json" else "data", ""))

    def handle_data(self, data: str) -> None:
        if self.raw and self.elements[-1][0] in ("script", "style"):
            self.raw[-1] = (self.raw[-1][0], self.raw[-1][1] + data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.elements.append(("/" + tag, {}))


@pytest.fixture
def text(rich: FakeStore, tmp_path: Path) -> str:
    return write_report(rich.write(tmp_path, title=EVIL[0])).read_text(encoding="utf-8")


def test_the_only_scripts_are_ours_and_the_policy_names_exactly_them(text: str):
    page = Page(text)
    scripts = [content for kind, content in page.raw if kind == "script"]
    styles = [content for kind, content in page.raw if kind == "style"]
    assert (len(scripts), len(styles), len(page.raw)) == (2, 1, 4)
    policies = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [content_policy(scripts, styles)]
    assert policies[0].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policies[0]


def test_no_evil_name_becomes_an_element_or_a_handler(text: str):
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"svg", "iframe", "object", "embed", "base", "link"}
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not any((value or "").lower().startswith("javascript:") for value in attributes.values())
    sources = [a.get("src") or a.get("href") for _, a in page.elements if "src" in a or "href" in a]
    assert sources == ["#results", "quality.html"]


def test_nothing_outside_the_figure_library_names_a_remote_address(text: str):
    rest = text.replace(plotly.offline.get_plotlyjs(), "")
    assert len(rest) < len(text) - 1_000_000
    assert not re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", rest)
    assert "@import" not in rest
    assert "url(" not in rest


def test_data_are_strict_json_without_control_characters(text: str):
    (raw,) = [content for kind, content in Page(text).raw if kind == "data"]
    assert "<" not in raw

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    data = json.loads(raw, parse_constant=refuse)
    names = [entry["name"] for entry in data["defences"]]
    assert EVIL[2] in names
    assert "abc\\u202edcba" in names
    assert "nul\\x00esc\\x1b[2J" in names
    assert not re.search(r"\\u00[01][0-9a-f]|\\u202e|\\u2028", raw.replace("\\\\", ""))


def test_the_title_is_text(text: str):
    assert "<title>&lt;script&gt;alert(1)&lt;/script&gt; - lustral report</title>" in text


def test_pictures_are_kept_once_and_within_the_budget(rich: FakeStore, tmp_path: Path):
    table = build_table(rich.write(tmp_path))
    results = [result for result in table.results if result.parts == ()]
    album = make_albums(results, table.source.cells)
    first = {what for kinds in shots_of(album.entries) for what in kinds}
    used = {name for kinds in shots_of(album.entries) for name in kinds.values()}
    assert first == {"clean", "attacked", "purified_clean", "purified_attacked"}
    assert used == set(album.pool)
    small = make_albums(results, table.source.cells, budget=10_000)
    assert sum(map(len, small.pool.values())) <= 10_000
    assert small.left_out > 0


def shots_of(entries):
    return [kinds for attacks in entries.values() for images in attacks.values() for kinds in images.values()]


def test_large_pictures_are_cut_to_their_centre():
    import base64
    import io

    from PIL import Image

    from lustral.report.pictures import _opened, _uri

    data = picture(0, 300)
    shown = Image.open(io.BytesIO(base64.b64decode(_uri(_opened(data)).split(",")[1])))
    whole = Image.open(io.BytesIO(data))
    assert shown.size == (SIDE, SIDE)
    assert shown.getpixel((0, 0)) == whole.getpixel((86, 86))


def test_a_run_that_was_stopped_before_its_first_result_has_a_page(rich: FakeStore, tmp_path: Path):
    rich.cells[:] = [pair for pair in rich.cells if pair[0].kind == "clean"]
    assert "seed none yet" in write_report(rich.write(tmp_path)).read_text(encoding="utf-8").lower()
