"""Recipes are checked, and plans depend on what results depend on, and on nothing else."""

import copy
import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lustral.attacks import PGD, CAdv
from lustral.bench.plan import make_plan
from lustral.bench.recipe import load_recipe, parse_recipe
from lustral.settings import SettingsError

SMALL = Path(__file__).with_name("small.toml")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def values():
    return tomllib.loads(SMALL.read_text())


def ids(values):
    return [cell.id for cell in make_plan(parse_recipe(values)).cells]


def test_a_recipe_survives_json():
    recipe = load_recipe(SMALL)
    assert parse_recipe(recipe.to_json()) == recipe
    assert ids(recipe.to_json()) == ids(tomllib.loads(SMALL.read_text()))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.title


def test_the_identity_control_and_the_needed_cells_come_first():
    plan = make_plan(load_recipe(SMALL))
    seen = set()
    for cell in plan.cells:
        assert set(cell.needs) <= seen
        seen.add(cell.id)
    assert len(seen) == len(plan.cells)
    assert next(cell.settings["defence"]["name"] for cell in plan.cells if "defence" in cell.settings) == "identity"
    assert {cell.kind for cell in plan.cells} == {"clean", "attack", "score", "adaptive"}


def test_a_defence_without_randomness_gets_one_draw():
    for cell in make_plan(load_recipe(SMALL)).cells:
        random = cell.settings.get("defence", {}).get("name") == "random_noise"
        if cell.kind == "adaptive":
            assert cell.settings["access"]["eot"] == (2 if random else 1)
        if "draws" in cell.settings:
            assert cell.settings["draws"] == (3 if random else 1)


def test_names_and_titles_are_cosmetic(values):
    changed = copy.deepcopy(values)
    changed["title"] = "other"
    changed["suite"][0]["name"] = "other"
    changed["suite"][0]["attack"][0]["label"] = "other"
    assert ids(changed) == ids(values)


@pytest.mark.parametrize(
    ("key", "value", "kinds"),
    [
        ("seed", 2, {"clean", "attack", "score", "adaptive"}),
        ("chunk", 5, {"clean", "attack", "score", "adaptive"}),
        ("suite.scenes.data", "scenes:split=test,count=10,choice_seed=1", {"clean", "attack", "score", "adaptive"}),
        ("suite.scenes.attack.PGD.attack", "pgd:epsilon=4/255,steps=3", {"adaptive"}),
        ("suite.scenes.attack.blind FGSM.attack", "fgsm:epsilon=4/255", {"attack", "score"}),
        ("protocol.selection_draws", 3, {"adaptive"}),
        ("protocol.worst_of", 1, set()),
    ],
)
def test_a_change_remakes_exactly_what_depends_on_it(key, value, kinds):
    before = {cell.id: cell.kind for cell in make_plan(load_recipe(SMALL)).cells}
    after = make_plan(load_recipe(SMALL, [f"{key}={value!r}" if isinstance(value, int) else f"{key}={value}"])).cells
    assert {cell.kind for cell in after if cell.id not in before} == kinds


def gradient_cells(*changes):
    cells = make_plan(load_recipe(SMALL, ["protocol.checks=true", *changes])).cells
    return [cell for cell in cells if cell.kind == "gradient"]


def test_every_defence_gets_one_gradient_cell_whatever_the_chunk():
    found = gradient_cells()
    names = [cell.settings["defence"]["name"] for cell in found]
    assert names == ["identity", "bit_depth", "random_noise"]
    assert {cell.settings["stop"] for cell in found} == {2}
    assert gradient_cells("chunk=1", "protocol.draws=4", "suite.scenes.attack.PGD.attack=pgd:steps=9") == found
    more = gradient_cells("protocol.gradient_images=30")
    assert {len(cell.settings["images"]) for cell in more} == {10}
    assert not {cell.id for cell in found} & {cell.id for cell in more}


def test_gradient_cells_change_no_other_cell():
    with_checks = make_plan(load_recipe(SMALL, ["protocol.checks=true"])).cells
    assert {cell.id for cell in make_plan(load_recipe(SMALL)).cells} < {cell.id for cell in with_checks}
    assert not any(cell.needs for cell in with_checks if cell.kind == "gradient")


@pytest.mark.parametrize(
    "change",
    [
        "protocol.checks=false",
        "suite.scenes.attack.PGD.main=false",
        "suite.scenes.attack.PGD.access=bpda",
        "suite.scenes.attack.PGD.access=blind",
        "suite.scenes.attack.PGD.attack=square:queries=3",
    ],
)
def test_gradients_that_no_examined_attack_follows_are_not_checked(change):
    assert not gradient_cells(change)


def test_work_that_two_suites_share_is_planned_once_and_stands_in_both(values):
    suite = copy.deepcopy(values["suite"][0])
    suite["name"] = "the same again"
    once = make_plan(parse_recipe(values))
    twice = make_plan(parse_recipe(values | {"suite": [*values["suite"], suite]}))
    assert [cell.id for cell in twice.cells] == [cell.id for cell in once.cells]
    assert {(cell.id, cell.suite) for cell in twice.places} >= {(cell.id, suite["name"]) for cell in twice.cells[:3]}


def test_ids_do_not_depend_on_the_process():
    code = (
        "import sys, pathlib; from lustral.bench.plan import make_plan; from lustral.bench.recipe import load_recipe;"
        "print(*(cell.id for cell in make_plan(load_recipe(pathlib.Path(sys.argv[1]))).cells));"
        "assert 'torch' not in sys.modules"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, str(SMALL)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert found == {" ".join(ids(tomllib.loads(SMALL.read_text()))) + "\n"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sede=1", r"sede: .*known keys: name, title"),
        ("protocol.drawz=1", "known keys: draws, worst_of"),
        ("protocol.draws=1", "worst_of=2 and votes=3 need at least that many draws, got draws=1"),
        ("suite.scenes.defences=['jpge']", "did you mean 'jpeg'"),
        ("suite.scenes.defences=3", 'defences must be "all" or a list'),
        ("suite.scenes.target=nothing", "unknown target 'nothing'"),
        ("suite.scenes.data=nothing", "unknown data set 'nothing'"),
        ("suite.scenes.attack.PGD.attack=pgd:stepz=3", "unknown setting 'stepz' of pgd"),
        ("suite.scenes.attack.PGD.access=psychic", "access.knowledge"),
        ("suite.scenes.attack.PGD.label=blind FGSM", "attack labels repeat"),
        ("suite.other.target=x", "nothing is called 'other'"),
        ("chunk", "expected key=value"),
        ("chunk=0", "greater than or equal to 1"),
    ],
)
def test_mistakes_in_recipes_are_explained(change, message):
    with pytest.raises(SettingsError, match=message):
        load_recipe(SMALL, [change])


def test_a_file_that_is_no_recipe_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="no recipe at"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = [")
    with pytest.raises(SettingsError, match="is not a TOML file"):
        load_recipe(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not a TOML file"):
        load_recipe(tmp_path / "binary.toml")


def with_transfer(values):
    values["suite"][0]["attack"][1]["transfer"] = True
    return values


def test_transfer_puts_what_each_defence_was_attacked_with_before_all_others(values):
    before, plan = ids(values), make_plan(parse_recipe(with_transfer(values)))
    assert set(before) < {cell.id for cell in plan.cells}  # what was there stays what it was
    known = {cell.id: cell for cell in plan.cells}
    moved = [cell for cell in plan.cells if cell.role == "transfer"]
    assert len(moved) == 3 * 2 * 3  # ordered pairs of identity, bit_depth and random_noise in three chunks
    for cell in moved:
        made, clean = (known[name] for name in cell.needs)
        assert (cell.kind, made.kind, clean.kind) == ("score", "adaptive", "clean")
        assert made.settings["defence"] == cell.settings["maker"] != cell.settings["defence"]
        assert clean.settings["defence"] == cell.settings["defence"]
        assert made.settings["start"] == clean.settings["start"] == cell.settings["start"]
    assert parse_recipe(parse_recipe(values).to_json()) == parse_recipe(values)


@pytest.mark.parametrize("access", ["blind", "known_noise"])
def test_only_an_attack_made_on_a_defence_without_its_noise_can_transfer(values, access):
    with_transfer(values)["suite"][0]["attack"][1]["access"] = access
    with pytest.raises(SettingsError, match="transfer is for attacks made on a defence"):
        parse_recipe(values)


def test_paired_noise_is_asked_of_random_defences_of_quality_metrics_only(values):
    values["protocol"]["paired"] = True
    before = ids(values)
    values["protocol"]["paired"] = False
    assert ids(values) == before  # a classifier has no use for it
    values["suite"][0] |= {"data": "photos:split=test,count=4", "target": "photo_quality"}
    plain = make_plan(parse_recipe(values)).cells
    values["protocol"]["paired"] = True
    for cell, other in zip(make_plan(parse_recipe(values)).cells, plain, strict=True):
        random = cell.settings.get("defence", {}).get("name") == "random_noise"
        assert (cell.id != other.id) is (cell.kind in ("score", "adaptive") and random)


def test_the_weights_of_an_attack_are_part_of_a_cell_and_other_attacks_add_nothing(values, tmp_path):
    path = tmp_path / "colorization.safetensors"
    values["suite"][0]["attack"][0]["attack"] = f"cadv:weights={path}"
    made = {}
    for content in (b"first", b"other"):
        path.write_bytes(content)
        made[content] = make_plan(parse_recipe(values)).cells
    kinds = {cell.kind for cell, other in zip(*made.values(), strict=True) if cell.id != other.id}
    assert kinds == {"attack", "score"}
    found = [cell.settings["attack"] for cell in made[b"first"] if "attack" in cell.settings]
    versions = {attack["name"]: attack["versions"] for attack in found}
    assert versions == {
        "cadv": {"cadv": CAdv.version, f"weights of {path}": hashlib.sha256(b"first").hexdigest()},
        "pgd": {"pgd": PGD.version},
    }
