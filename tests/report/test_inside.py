"""What purifiers show of their inside, from a real run and from folders of which only some cells have it."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import BLIND, EVIL, EXACT, FakeStore, add_strips, add_suite, strip
from PIL import Image

from lustral.bench.recipe import parse_recipe
from lustral.bench.run import run
from lustral.bench.store import Store
from lustral.report import build_table, write_report
from lustral.report.pictures import SIDE, Album, make_albums

NAMES = ["sensitivity 2", "sensitivity 3", "fused", "mask", "inpainted"]
RECIPE = {
    "name": "inside",
    "chunk": 2,
    "pictures": 2,
    "protocol": {"draws": 2, "worst_of": 2, "votes": 2, "selection_draws": 2, "checks": False},
    "suite": [
        {
            "name": "scenes",
            "data": "scenes:split=test,count=2",
            "target": "scenes_classifier",
            "defences": ["msid:scales=2+3,weights=0.4+0.6,steps=2,resamplings=1,refine=1"],
            "attack": [{"label": "FGSM", "attack": "fgsm:epsilon=8/255", "access": "blind", "main": True}],
        }
    ],
}


@pytest.fixture
def small(fake: FakeStore) -> FakeStore:
    """Two cells of each kind for each of two defences."""
    defences = [({"name": "identity"}, False, 0.2), ({"name": "jpeg"}, False, 0.7)]
    add_suite(fake, "scenes", "classifier", defences, [("blind", BLIND, 0.1), ("main", EXACT, 0.6)])
    return fake


def page_data(page: Path) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found
    return json.loads(found[1])


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def album_of(folder: Path, budget: int = 10**7) -> Album:
    table = build_table(folder)
    return make_albums([one for one in table.results if one.parts == ()], table.source.cells, budget)


def test_a_real_run_shows_them_on_its_page(tmp_path: Path):
    assert run(parse_recipe(RECIPE), tmp_path, workers=0).exit_code == 0
    store = Store(tmp_path)
    assert store.verify() == []
    columns = {name: set(store.read(name).columns) for name in store.done()}
    assert sum("picture_steps_clean" in names for names in columns.values()) == 1
    assert sum("picture_steps_attacked" in names for names in columns.values()) == 1
    data = page_data(write_report(tmp_path))
    (msid,) = [one for one in data["defences"] if one["name"].startswith("msid")]
    (control,) = [one for one in data["defences"] if one["name"] == "identity"]
    shots = msid["pictures"]["FGSM"]
    assert len(shots) == 2
    assert not any("steps_clean" in shot for shot in control["pictures"]["FGSM"].values())
    for shot in shots.values():
        for phase in ("clean", "attacked"):
            names, digests = zip(*data["strips"][shot[f"steps_{phase}"]], strict=True)
            assert list(names) == NAMES
            assert {opened(data["pictures"][digest]).size for digest in digests} == {(32, 32)}


def test_cells_that_were_written_before_there_were_strips_count_beside_new_ones(small: FakeStore, tmp_path: Path):
    old = small.write(tmp_path / "old")
    assert album_of(old).strips == {}
    add_strips(small, "jpeg", NAMES, first=6)
    mixed = small.write(tmp_path / "mixed")
    assert Store(old).verify() == Store(mixed).verify() == []
    album = album_of(mixed)
    assert [len(tiles) for tiles in album.strips.values()] == [len(NAMES)], "the same strip everywhere is kept once"
    shots = [pair for attacks in album.entries.values() for images in attacks.values() for pair in images.items()]
    assert {image for image, _ in shots} == {f"scenes/00{number}" for number in (0, 1, 6, 7)}
    assert {image for image, shot in shots if "steps_clean" in shot} == {"scenes/006", "scenes/007"}
    assert build_table(old).rows == build_table(mixed).rows


def test_strips_count_against_the_budget_and_names_are_harmless(small: FakeStore, tmp_path: Path):
    add_strips(small, "jpeg", [EVIL[0], EVIL[4]])
    folder = small.write(tmp_path)
    assert [name for name, _ in next(iter(page_data(write_report(folder))["strips"].values()))] == [
        EVIL[0],
        "abc\\u202edcba",
    ]
    whole = album_of(folder)
    tiles = {digest for strip in whole.strips.values() for _, digest in strip}
    assert tiles <= whole.pool.keys()
    size = sum(map(len, whole.pool.values()))
    assert album_of(folder, size).left_out == 0
    less = album_of(folder, size - 1)
    assert less.left_out > 0
    assert sum(map(len, less.pool.values())) < size


def test_every_picture_of_a_large_strip_is_cut_to_its_centre():
    album = Album().unfold([("steps_clean", strip(["a", "b"], 200))])
    ((_, first), (_, second)) = next(iter(album.strips.values()))
    assert first != second
    assert opened(album.pool[first]).size == opened(album.pool[second]).size == (SIDE, SIDE)


def test_a_picture_that_is_no_strip_says_so(small: FakeStore, tmp_path: Path):
    add_strips(small, "jpeg", ["a"])
    for cell, result in small.cells:
        if cell.kind == "clean" and "picture_steps_clean" in result.columns:
            result.columns["picture_steps_clean"] = result.columns["picture_clean"]
    with pytest.raises(ValueError, match="expected a strip of named pictures"):
        album_of(small.write(tmp_path))
