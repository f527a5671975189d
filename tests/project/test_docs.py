"""Examples in the documentation work as printed."""

import re
import tomllib
from typing import get_args

import pytest

from lustral.attacks.base import Knowledge
from lustral.bench.indicators import INDICATORS
from lustral.bench.recipe import Suite, load_recipe, parse_recipe
from lustral.targets import ScenesClassifier
from tests.project.shell import ROOT, python

DOCS = ROOT / "docs"


def blocks(page, language):
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_example_recipe_is_a_recipe_and_spells_out_the_defaults():
    text, claim, presets = blocks("recipes.md", "toml")
    values = tomllib.loads(text)
    assert len(parse_recipe(tomllib.loads(text + claim)).published) == 1
    (suite,) = tomllib.loads(presets)["suite"]
    assert suite.pop("presets") == {"file": "presets.json"}
    assert Suite.model_validate({**suite, "attack": values["suite"][0]["attack"]}).target.name == "photo_quality"
    recipe = parse_recipe(values)
    assert [defence.name for defence in recipe.suite[0].all_defences] == ["identity", "jpeg", "chain", "repeat"]
    # What the page shows as the protocol is what a recipe without it gets.
    assert parse_recipe({**values, "protocol": {}}).protocol == recipe.protocol
    assert recipe.suite[0].target == ScenesClassifier()


def test_the_changes_that_the_page_shows_apply_to_its_recipe(tmp_path):
    file = tmp_path / "filters.toml"
    file.write_text(blocks("recipes.md", "toml")[0])
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("    lustral run filters.toml --set")]
    assert len(lines) >= 3
    for line in lines:
        changes = [quoted or bare for quoted, bare in re.findall(r'--set (?:"([^"]+)"|(\S+))', line)]
        assert load_recipe(file, changes) != load_recipe(file), line


def test_the_quickstart_runs(tmp_path):
    code = "\n".join(blocks("quickstart.md", "python"))
    code = code.replace("count=32", "count=8").replace("steps=20", "steps=2")
    done = python("-W", "error", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "robust accuracy" in done.stdout


def test_results_can_be_read_as_the_page_says(tiny_run, tmp_path):
    (code,) = blocks("store.md", "python")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(tiny_run / "out")
    done = python("-W", "error", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("scenes/") >= 8


def test_columns_named_on_the_page_exist(tiny_run):
    import pyarrow.parquet as parquet

    text = (DOCS / "store.md").read_text(encoding="utf-8")
    table = text[text.index("| Column | In | Meaning |") :]
    named = {name for line in table.splitlines()[2:] for name in re.findall(r"`([a-z_0-9]+)`", line.split("|")[1])}
    stored = {name for path in (tiny_run / "out" / "cells").iterdir() for name in parquet.read_schema(path).names}
    # tests/report/test_inside.py and tests/bench/test_cells.py make runs that have these
    stored |= {"picture_steps_clean", "picture_steps_attacked", "purified_attacked_paired"}
    assert len(named) > 20
    assert named <= stored, named - stored


def test_every_kind_of_knowledge_and_every_indicator_is_explained():
    text = (DOCS / "protocol.md").read_text(encoding="utf-8")
    for knowledge in get_args(Knowledge):
        assert re.search(rf"^\| `{knowledge}` \|", text, re.MULTILINE), knowledge
    for indicator in INDICATORS:
        assert len(re.findall(rf"^\| {indicator} \|", text, re.MULTILINE)) == 2, indicator


@pytest.mark.parametrize("kind", ["purifiers", "attacks", "targets", "data"])
def test_pages_of_methods_hold_all_three_generated_parts(kind):
    text = (DOCS / f"{kind}.md").read_text(encoding="utf-8")
    for name in (kind, f"settings of {kind}", f"reference of {kind}"):
        assert f"<!-- table: {name} -->" in text


def test_fragments_are_one_sentence_each():
    fragments = [file for file in (ROOT / "changes").glob("*.md") if file.name != "README.md"]
    assert fragments
    for file in fragments:
        text = file.read_text(encoding="utf-8")
        assert text.endswith(".\n"), file.name
        assert text.count("\n") == 1, file.name
        assert len(re.findall(r"[.!?](?=\s)", text)) == 1, file.name
