"""Recipes take strengths from a file, one attack per level, and never evaluate the images they were chosen on."""

import json
import shutil

import pytest

from lustral.alignment.intensity import MEASURES
from lustral.alignment.levels import Alignment, align_levels
from lustral.attacks import parse_attack
from lustral.bench.plan import make_plan
from lustral.bench.recipe import load_recipe, parse_recipe
from lustral.data import parse_data
from lustral.settings import SettingsError
from lustral.targets import TARGETS
from tests.alignment.tiny import Tiny, write_pictures

RECIPE = """
name = "small"
chunk = 4
[protocol]
checks = false
[[suite]]
name = "tiny"
data = "folder:path={data}"
target = "tiny"
defences = []
[[suite.attack]]
label = "FGSM"
attack = "{attack}"
access = "blind"
aligned = {{ file = "strengths.json", measure = "{measure}"{more} }}
[[suite.attack]]
label = "plain"
attack = "ifgsm:steps=1"
access = "blind"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a file of strengths for FGSM, its pictures and held-out ones."""
    folder = tmp_path_factory.mktemp("strengths")
    data = parse_data(write_pictures(folder / "calibration"))
    write_pictures(folder / "others", seed=9)
    for measure, levels in (
        ("linf", {"weak": 2 / 255, "medium": 4 / 255, "strong": 8 / 255}),
        ("psnr", {"weak": 40.0}),  # out of reach of FGSM
    ):
        wanted = Alignment(parse_attack("fgsm"), Tiny(), data, MEASURES[measure], levels)
        align_levels(wanted, folder / "strengths.json")
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A copy of it that a test may change, and the target under its name."""
    monkeypatch.setitem(TARGETS, "tiny", Tiny)
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


def recipe(folder, *, data="others", attack="fgsm", measure="linf", more="", changes=()):
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(data=folder / data, attack=attack, measure=measure, more=more))
    return load_recipe(path, changes)


def test_an_attack_becomes_one_for_each_level(folder, monkeypatch):
    monkeypatch.chdir("/")  # the file is looked for beside the recipe
    loaded = recipe(folder, attack="fgsm:epsilon=0.5")
    lines = loaded.suite[0].attack
    assert [line.label for line in lines] == ["FGSM, weak", "FGSM, medium", "FGSM, strong", "plain"]
    assert [round(255 * line.attack.epsilon, 6) for line in lines[:3]] == [2, 4, 8]
    assert {line.access.knowledge for line in lines} == {"blind"}
    strength = lines[0].strength
    assert (strength.measure, strength.level) == ("linf", "weak")
    assert strength.reached == pytest.approx(2 / 255, abs=1e-7)
    assert lines[3].strength is None
    assert [line.label for line in recipe(folder, more=', levels = ["strong"]').suite[0].attack] == [
        "FGSM, strong",
        "plain",
    ]


def test_cells_are_those_of_the_settings_typed_by_hand(folder):
    loaded = recipe(folder, more=', levels = ["weak"]')
    attack = loaded.suite[0].attack[0].attack.to_json()
    values = loaded.to_json()
    values["suite"][0].pop("calibration")
    values["suite"][0]["attack"][0] = {"label": "by hand", "attack": attack, "access": "blind"}
    ids = [[cell.id for cell in make_plan(one).cells] for one in (loaded, parse_recipe(values))]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 5  # two attacks, the clean control and its scores under both


def test_what_a_run_stores_is_read_back_without_the_file_and_still_refuses(folder):
    loaded = recipe(folder)
    (folder / "strengths.json").unlink()
    stored = json.loads(json.dumps(loaded.to_json()))
    assert parse_recipe(stored) == loaded
    assert make_plan(parse_recipe(stored)).cells
    stored["suite"][0]["data"]["path"] = str(folder / "calibration")
    with pytest.raises(SettingsError, match="4 of 4 images"):
        make_plan(parse_recipe(stored))


def test_images_that_chose_the_strength_are_refused_by_id_and_by_content(folder):
    with pytest.raises(SettingsError, match="suite 'tiny' evaluates 4 of 4 images on which"):
        make_plan(recipe(folder, data="calibration"))
    shutil.copy(folder / "calibration" / "0-2.png", folder / "others" / "renamed.png")
    with pytest.raises(SettingsError, match=r"evaluates 1 of 5 images.*'folder/renamed\.png'"):
        make_plan(recipe(folder))
    write_pictures(folder / "same_names", count=1, side=20)  # another picture as 0-0.png
    with pytest.raises(SettingsError, match="evaluates 1 of 1 images"):
        make_plan(recipe(folder, data="same_names"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measure": "ssim"}, "no strength of fgsm on tiny with ssim_uniform weak; run lustral align"),
        ({"attack": "ifgsm"}, "no strength of ifgsm on tiny with linf weak"),
        ({"attack": "fgsm:norm=l2"}, "no strength of fgsm on tiny with linf weak with other settings"),
        ({"more": ', levels = ["huge"]'}, "linf huge.*It has: fgsm on tiny with linf weak, "),
        ({"more": ', parameter = "step"'}, "no strength"),
        ({"more": ", levels = []"}, "aligned of attack 'FGSM': levels"),
        ({"more": ', strength = "weak"'}, "known keys: file, measure, levels, parameter, nearest"),
        ({"measure": "psnr", "more": ', levels = ["weak"]'}, "was not reached: wanted 40, got 38.58.*nearest = true"),
        ({"changes": ["suite.tiny.target=tiny:weights=1"]}, "no strength of fgsm on tiny"),
        ({"changes": ["suite.tiny.attack.FGSM.main=true"]}, "only one attack can be main"),
        ({"changes": ["suite.tiny.attack.FGSM.aligned.file=other.json"]}, "cannot read .*other.json"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(folder, arguments, message):
    with pytest.raises(SettingsError, match=message):
        recipe(folder, **arguments)


def test_the_nearest_of_an_unreached_level_is_taken_if_the_recipe_says_so(folder):
    loaded = recipe(folder, measure="psnr", more=', levels = ["weak"], nearest = true')
    assert loaded.suite[0].attack[0].strength.reached == pytest.approx(38.588, abs=0.01)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("target_weights", "0" * 64, "other weights of tiny"),
        ("target_version", 7, "tiny or another version of it"),
        ("version", 7, "another version of fgsm"),
    ],
)
def test_strengths_of_other_weights_or_code_are_refused(folder, field, value, message):
    file = folder / "strengths.json"
    values = json.loads(file.read_text())
    for entry in values["strengths"]:
        entry[field] = value
    file.write_text(json.dumps(values))
    with pytest.raises(SettingsError, match=message):
        recipe(folder)


def test_a_file_of_something_else_is_refused(folder):
    (folder / "strengths.json").write_text('{"format": 2}')
    with pytest.raises(SettingsError, match="is not a file that lustral align wrote: format"):
        recipe(folder)
