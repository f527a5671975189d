"""Presets are the best of a finished run, and a recipe that evaluates the same images says so or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lustral.bench.cells import execute
from lustral.bench.plan import make_plan
from lustral.bench.presets import read_presets
from lustral.bench.recipe import load_recipe, parse_recipe
from lustral.bench.store import Store
from lustral.report.choose_presets import choose_presets
from lustral.report.table import Table, build_table
from lustral.settings import SettingsError

RECIPE = """
name = "tiny"
chunk = 4
pictures = 0

[protocol]
draws = 1
worst_of = 1
votes = 1
selection_draws = 1
checks = false

[[suite]]
name = "photos"
data = "photos:split=test,count=8,side=48,choice_seed={seed}"
target = "photo_quality"
{defences}

[[suite.attack]]
label = "blind"
attack = "ifgsm:epsilon=4/255,steps=2"
access = "blind"
"""
ALL = 'defences = ["gaussian_blur:kernel=3", "gaussian_blur:kernel=11", "flip"]'


def write(folder: Path, seed: int, defences: str) -> Path:
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(seed=seed, defences=defences))
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("choose")
    plan, store = make_plan(load_recipe(write(folder, 0, ALL))), Store(folder / "run")
    for cell in plan.cells:
        store.write(cell, execute(cell, {need: store.read(need) for need in cell.needs}), {})
    return build_table(folder / "run", plan.cells)


def value(table: Table, kernel: int, key: str) -> Any:
    rows = [row for row in table.rows if row["defence_settings"].get("kernel") == kernel and row["attack"] == "blind"]
    return rows[0][key]  # pyright: ignore[reportUnknownVariableType]


def test_the_best_preset_of_each_defence_is_taken(table: Table) -> None:
    for by, sign in (("srocc_clean", 1), ("psnr_clean", 1), ("d", -1), ("d_defended", -1)):
        chosen = {preset.defence["name"]: preset for preset in choose_presets(table, by).chosen}
        assert set(chosen) == {"gaussian_blur", "flip"}
        best = max((3, 11), key=lambda kernel: sign * value(table, kernel, by))
        assert chosen["gaussian_blur"].defence["kernel"] == best
        assert chosen["gaussian_blur"].value == value(table, best, by)
        assert len(chosen["gaussian_blur"].candidates) == 2
    assert value(table, 3, "psnr_clean") > value(table, 11, "psnr_clean")  # so that the choices are not all one


def test_chains_of_other_parts_are_other_defences(table: Table) -> None:
    rows: list[Any] = []
    for row in table.rows:
        parts = [row["defence_settings"], {"name": "jpeg", "quality": 75}]
        rows.append({**row, "defence_settings": {"name": "chain", "parts": parts}})
    chosen = choose_presets(Table(tuple(rows), type(table.source)({}, {}, {})), "psnr_clean").chosen
    found = {preset.defence["parts"][0]["name"]: len(preset.candidates) for preset in chosen}
    assert {name: found[name] for name in ("gaussian_blur", "flip")} == {"gaussian_blur": 2, "flip": 1}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda part: {"name": "repeat", "times": 2, "part": part},
        lambda part: {"name": "random_choice", "parts": [part]},
    ],
)
def test_compositions_of_other_parts_are_other_defences(table: Table, wrap: Any) -> None:
    rows: list[Any] = [{**row, "defence_settings": wrap(row["defence_settings"])} for row in table.rows]
    chosen = choose_presets(Table(tuple(rows), type(table.source)({}, {}, {})), "psnr_clean").chosen
    assert sorted(len(preset.candidates) for preset in chosen) == [1, 1, 2]  # identity and flip; two of gaussian_blur


def test_scores_that_cannot_choose_are_refused(table: Table) -> None:
    with pytest.raises(SettingsError, match="cannot be chosen by 'queries'"):
        choose_presets(table, "queries")
    with pytest.raises(SettingsError, match="no defence with an attack of the kind 'adaptive'"):
        choose_presets(table, "d", "adaptive")
    with pytest.raises(SettingsError, match="1 cells of the run are missing"):
        choose_presets(Table(table.rows, type(table.source)({}, {}, {}, missing=1)), "d")


def test_a_recipe_takes_them_and_refuses_the_images_that_chose(table: Table, tmp_path: Path) -> None:
    presets = choose_presets(table, "psnr_clean")
    (tmp_path / "presets.json").write_text(presets.model_dump_json())
    assert read_presets(tmp_path / "presets.json") == presets
    other = load_recipe(write(tmp_path, 5, 'defences = ["jpeg"]\npresets = {file = "presets.json"}'))
    assert {defence.name for defence in other.suite[0].defences} == {"jpeg", "gaussian_blur", "flip"}
    assert other.suite[0].defences[0].name == "jpeg"
    assert parse_recipe(other.to_json()) == other
    with pytest.raises(SettingsError, match="presets chosen, such as"):
        make_plan(load_recipe(write(tmp_path, 0, 'defences = []\npresets = {file = "presets.json"}')))
    same = load_recipe(write(tmp_path, 0, 'defences = []\npresets = {file = "presets.json", on_test = true}'))
    assert make_plan(same).cells
    assert same.suite[0].chosen is not None
    assert same.suite[0].chosen.on_test


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('presets = {file = "none.json"}', "none.json"),
        ('presets = {fil = "presets.json"}', "known keys: file, on_test"),
        ('defences = "all"\npresets = {file = "presets.json"}', "must be a list"),
    ],
)
def test_mistakes_get_one_clear_error(table: Table, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "presets.json").write_text(choose_presets(table, "d").model_dump_json())
    with pytest.raises(SettingsError, match=message):
        load_recipe(write(tmp_path, 5, text))
