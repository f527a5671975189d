"""A small search: its numbers by hand, the same bytes after an interruption, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lustral.bench.cells
from lustral.bench.recipe import load_recipe, parse_recipe
from lustral.bench.store import Store
from lustral.cli import main
from lustral.settings import SettingsError, canonical
from lustral.tuning.files import front_table, write_tuning
from lustral.tuning.page import tuning_figure
from lustral.tuning.search import Search, notes_on_data, tune

SMALL = Path(__file__).parents[1] / "bench" / "small.toml"
CHANGES = ["chunk=2", "suite.scenes.data=scenes:split=train,count=8", "suite.scenes.attack.PGD.attack=pgd:steps=1"]
TRIALS = 6
FILES = ("tuning.csv", "tuning.json", "tuning.html")


def search(**changes):
    recipe = load_recipe(SMALL, CHANGES)
    return replace(Search(recipe, "gaussian_blur", ("kernel=3..31",), "halving", trials=TRIALS, seed=24), **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search by halving and its folder."""
    folder = tmp_path_factory.mktemp("tune")
    tuning = tune(search(), folder, workers=0)
    write_tuning(tuning, folder)
    return tuning, folder


def scores_by_hand(folder):
    """Per defence and image: right in the clean cell, held under every attack; from the stored rows alone."""
    store = Store(folder)
    right, held = defaultdict(dict), defaultdict(lambda: defaultdict(list))
    for cell_id in store.done():
        settings, rows = store.metadata(cell_id)["settings"], store.read(cell_id).columns
        defence = {key: value for key, value in settings.get("defence", {}).items() if key != "versions"}
        for row, image in enumerate(rows["image"]):
            if settings["kind"] == "clean":
                right[canonical(defence)][image] = np.mean(rows["correct"][row])
            elif settings["kind"] in ("score", "adaptive"):
                held[canonical(defence)][image].append(1 - np.mean(rows["broken"][row]))
    return right, held


def test_the_numbers_are_those_of_the_cells(finished):
    tuning, folder = finished
    right, held = scores_by_hand(folder)
    scored = [outcome for outcome in tuning.outcomes if outcome.scores]
    assert len({outcome.scores[-1].point for outcome in scored}) > 1
    for outcome in scored:
        score, key = outcome.scores[-1], outcome.candidate.key
        assert score.images == len(right[key])
        assert score.clean.value == pytest.approx(np.mean(list(right[key].values())))
        assert all(len(shares) == 2 for shares in held[key].values())  # both attacks
        assert score.robust.value == pytest.approx(np.mean([min(shares) for shares in held[key].values()]))
        assert score.clean.low <= score.clean.value <= score.clean.high


def test_half_of_the_candidates_go_on_to_twice_the_images(finished):
    tuning, _ = finished
    usable = [outcome for outcome in tuning.outcomes if outcome.state != "rejected"]
    rungs = [[outcome for outcome in usable if len(outcome.scores) > rung] for rung in range(3)]
    assert len(rungs[0]) == len(usable) >= 4
    assert len(rungs[1]) == -(-len(rungs[0]) // 2)
    assert len(rungs[2]) == -(-len(rungs[1]) // 2)
    for rung, images in enumerate((2, 4, 8)):
        assert {outcome.scores[rung].images for outcome in rungs[rung]} == {images}
    assert {outcome.candidate.number for outcome in tuning.outcomes if outcome.state == "finished"} == {
        outcome.candidate.number for outcome in rungs[2]
    }
    assert tuning.undefended.images == 8


def test_files_say_everything_and_the_page_stands_alone(finished):
    tuning, folder = finished
    rows = list(csv.DictReader((folder / "tuning.csv").read_text().splitlines()))
    record = json.loads((folder / "tuning.json").read_text())
    assert [row["state"] for row in rows] == ["undefended", *(outcome.state for outcome in tuning.outcomes)]
    assert [row["kernel"] for row in rows[1:]] == [str(entry["chosen"]["kernel"]) for entry in record["candidates"]]
    assert {row["state"] for row in rows} == {"undefended", "finished", "stopped", "rejected"}
    assert all(bool(row["reason"]) == (row["state"] == "rejected") for row in rows)
    assert [row["recommended"] for row in rows].count("true") == 1
    assert all(row["front"] == "true" for row in rows if row["recommended"] == "true")
    assert record["space"] == {"kernel": "3..31"}
    assert record["recipe"]["suite"][0]["data"]["split"] == "train"
    heads, shown = front_table(tuning)
    assert [row[heads.index("images")] for row in shown] == ["8"] * len(shown)
    page = (folder / "tuning.html").read_text()
    assert "default-src &#39;none&#39;" in page
    assert "kernel=3..31" in page
    points = [point for trace in tuning_figure(tuning)["data"] for point in trace["x"]]
    assert len(points) == 1 + [row["state"] for row in rows].count("finished")


def test_stopped_and_resumed_gives_the_same_bytes(finished, tmp_path, monkeypatch):
    _, folder = finished
    truth = Store(folder)
    ran: list[str] = []

    def recall(cell, inputs):
        """What the finished search has stored: only who asks for what is tested."""
        ran.append(cell.id)
        return truth.read(cell.id)

    monkeypatch.setattr(lustral.bench.cells, "execute", recall)

    def stop(progress):
        if len(ran) == len(truth.done()) // 2:
            raise KeyboardInterrupt

    first = tune(search(), tmp_path, workers=0, on_event=stop)
    assert first.exit_code == 130
    assert first.outcomes == ()
    kept = Store(tmp_path).done()
    assert 0 < len(kept) < len(truth.done())
    again = tune(search(), tmp_path, workers=0)
    assert again.exit_code == 0
    write_tuning(again, tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert len(ran) <= len(truth.done()) + 1  # at most the cell in work was done again


def test_a_candidate_whose_cells_raise_is_recorded_and_goes_no_further(finished, tmp_path, monkeypatch):
    tuning, folder = finished
    truth = Store(folder)
    bad, good = [outcome.candidate.chosen["kernel"] for outcome in tuning.outcomes if outcome.state == "finished"]

    def sabotage(cell, inputs):
        if cell.kind == "clean" and cell.settings["defence"].get("kernel") == bad:
            raise RuntimeError("the purifier broke")
        return truth.read(cell.id)

    monkeypatch.setattr(lustral.bench.cells, "execute", sabotage)
    few = search(purifier=f"gaussian_blur:kernel={bad}", space=(f"kernel={bad}|{good}",), method="random")
    found = tune(few, tmp_path, workers=0)
    assert found.exit_code == 1
    broken, sound = found.outcomes
    assert (broken.state, broken.on_front, broken.scores) == ("failed", False, ())
    assert "the purifier broke" in broken.reason
    assert (sound.state, sound.recommended) == ("finished", True)
    assert found.undefended == tuning.undefended


def test_test_images_are_refused_unless_allowed():
    recipe = load_recipe(SMALL)
    with pytest.raises(
        SettingsError, match=r"uses the test split of scenes.*--change suite.scenes.data=.*--allow-test"
    ):
        notes_on_data(recipe, allow_test=False)
    (note,) = notes_on_data(recipe, allow_test=True)
    assert "TEST images of scenes" in note
    assert notes_on_data(load_recipe(SMALL, CHANGES), allow_test=False) == ()
    altered = load_recipe(SMALL, ["suite.scenes.data=scenes | corrupted:by=saturate"])
    with pytest.raises(SettingsError, match="test split of scenes"):
        notes_on_data(altered, allow_test=False)
    (note,) = notes_on_data(load_recipe(SMALL, ["suite.scenes.data=nips2017"]), allow_test=False)
    assert "has no splits" in note


def test_suites_without_a_common_measure_are_refused(tmp_path):
    values = load_recipe(SMALL, CHANGES).to_json()
    quality = {**values["suite"][0], "name": "photos", "target": {"name": "photo_quality"}}
    quality["data"] = {"name": "photos", "split": "train", "count": 8}
    recipe = parse_recipe({**values, "suite": [values["suite"][0], quality]})
    with pytest.raises(SettingsError, match="scenes: accuracy, photos: SROCC"):
        tune(search(recipe=recipe), tmp_path)


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["lustral", "tune", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    return end.value.code, out, err


def test_the_command_goes_on_and_prints_the_front(finished, tmp_path, monkeypatch, capsys):
    tuning, folder = finished
    monkeypatch.setattr(lustral.bench.cells, "execute", None)  # nothing is left to execute
    monkeypatch.chdir(tmp_path)
    written = tmp_path / "runs" / "tune_small_gaussian_blur"
    shutil.copytree(folder / "cells", written / "cells")
    options = ["--set", "kernel=3..31", "--search", "halving", "--trials", TRIALS, "--seed", 24, "--workers", 0]
    changes = [text for change in CHANGES for text in ("--change", change)]
    code, out, err = run(monkeypatch, capsys, "gaussian_blur", SMALL, *options, *changes)
    assert code == 0, err
    winner = next(outcome.candidate for outcome in tuning.outcomes if outcome.recommended)
    assert f"recommended: {winner.text};" in out
    for name in FILES:
        assert (written / name).read_bytes() == (folder / name).read_bytes()
    assert "halving" in json.loads((written / "recipe.json").read_text())["command"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["jpeg", SMALL, "--set", "quality=1..9"], "uses the test split of scenes"),
        (["jpeg", SMALL, "--set", "qualty=1..9", "--allow-test"], "known settings: backward, quality"),
        (["jpeg", SMALL, "--set", "quality=1..9", "--search", "grid"], "must be random or halving"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert err.count("\n") == 1
    assert words in err
    assert not (tmp_path / "runs").exists()
