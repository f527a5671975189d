"""The commands as people type them: what they write, and one clear line when something is wrong."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from skimage.data import chelsea

from lustral.cli import main
from lustral.images import read_image, write_image
from lustral.purifiers import PURIFIERS
from tests.project.shell import lustral


def refusal(done):
    """The one line of an expected error."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("lustral: ")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def purify(tmp_path, monkeypatch, capfd):
    """``lustral purify`` in this process, which has torch already, and in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr("sys.argv", ["lustral", "purify", *arguments])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, out, err)

    return command


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 31, 3), dtype=np.uint8)
    write_image(tmp_path / "cat.png", pixels)
    return pixels


def test_list_as_a_table_and_as_json():
    table = lustral("list", "purifiers")
    rows = json.loads(lustral("list", "purifiers", "--json").stdout)
    assert [row["name"] for row in rows] == list(PURIFIERS)
    for row in rows:
        assert {"summary", "source", "gradient", "is_random", "settings"} <= set(row)
        assert row["name"] in table.stdout
    assert rows[list(PURIFIERS).index("jpeg")]["settings"]["quality"] == PURIFIERS["jpeg"].make().quality


def test_list_refuses_an_unknown_kind_and_names_the_known_ones():
    assert "purifiers, attacks, targets, data" in refusal(lustral("list", "things"))


def test_purify_repeats_with_a_seed_and_only_with_a_seed(tmp_path, picture, purify):
    outs = {}
    for name, seed in (("a", ["--seed", "7"]), ("b", ["--seed", "7"]), ("c", ["--seed", "8"]), ("d", []), ("e", [])):
        done = purify("cat.png", "--with", "random_noise:sigma=0.05", "--out", name, *seed)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith("cat.png")
        outs[name] = read_image(tmp_path / name / "cat.png")
    assert np.array_equal(outs["a"], outs["b"])
    for one, other in (("a", "c"), ("a", "d"), ("d", "e")):
        assert not np.array_equal(outs[one], outs[other])
    shift = outs["a"].astype(float) - picture
    assert 5 < shift.std() < 13  # sigma 0.05 is 12.75 levels, less what is clamped at black and white
    assert outs["a"].shape == picture.shape


def test_purify_takes_a_chain(tmp_path, picture, purify):
    done = purify("cat.png", "--with", "flip:axes=horizontal | flip:axes=horizontal", "--out", "o")
    assert done.returncode == 0, done.stderr
    assert np.array_equal(read_image(tmp_path / "o" / "cat.png"), picture)


def test_purify_refuses_a_file_that_is_no_picture(tmp_path, purify):
    (tmp_path / "bad.png").write_text("this is text")
    message = refusal(purify("bad.png", "--with", "flip", "--out", "o"))
    assert "bad.png" in message
    assert "expected one of PNG, JPEG" in message
    assert not list((tmp_path / "o").glob("*"))


def test_attack_raises_a_score_within_its_bound(tmp_path):
    picture = chelsea()[100:180, 100:180]
    write_image(tmp_path / "cat.png", picture)
    done = lustral(
        *("attack", "cat.png", "--target", "photo_quality", "--with", "ifgsm:epsilon=4/255,steps=5"),
        *("--defence", "jpeg:quality=75", "--out", "o"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    before, after = (float(number) for number in done.stdout.strip().split(": ")[1].split(" -> "))
    assert after > before + 0.03
    shift = read_image(tmp_path / "o" / "cat.png").astype(int) - picture.astype(int)
    assert 3 <= abs(shift).max() <= 4


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("jpg", "did you mean 'jpeg'?"),
        ("jpeg:qualty=75", "known settings: backward, quality, subsampling"),
        ("jpeg:quality=750", "jpeg.quality"),
        ("jpeg:75", "expected key=value"),
    ],
)
def test_purify_explains_a_wrong_purifier_in_one_line(picture, purify, spec, words):
    assert words in refusal(purify("cat.png", "--with", spec, "--out", "o"))


def test_dry_run_says_what_would_be_done_and_writes_nothing(tiny_run):
    before = sorted(tiny_run.rglob("*"))
    done = lustral("run", "tiny.toml", "--dry-run", "--set", "seed=5", cwd=tiny_run)
    assert done.returncode == 0, done.stderr
    assert "0 of 4 cells are finished" in done.stdout
    assert sorted(tiny_run.rglob("*")) == before


def test_run_again_does_nothing_twice(tiny_run):
    cells = {path: path.stat().st_mtime_ns for path in (tiny_run / "out" / "cells").iterdir()}
    table = (tiny_run / "out" / "table.csv").read_bytes()
    done = lustral("run", "tiny.toml", "--out", "out", "--workers", "0", cwd=tiny_run)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 cells are finished" in done.stdout
    assert "(4 were before)" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (tiny_run / "out" / "cells").iterdir()} == cells
    assert (tiny_run / "out" / "table.csv").read_bytes() == table


def test_run_writes_table_and_page(tiny_run):
    rows = json.loads((tiny_run / "out" / "table.json").read_text())
    assert {row["defence"].partition(":")[0] for row in rows} == {"identity", "flip"}
    assert "flip" in (tiny_run / "out" / "report" / "index.html").read_text()


def test_unknown_recipe_is_one_line(tmp_path):
    assert "no recipe 'nothing'" in refusal(lustral("run", "nothing", cwd=tmp_path))


def test_wrong_keys_of_a_recipe_are_named_with_the_known_ones(tiny_run):
    done = lustral("run", "tiny.toml", "--dry-run", "--set", "protocol.drawz=3", cwd=tiny_run)
    assert done.returncode == 2
    assert "protocol.drawz" in done.stderr
    assert "known keys: draws, worst_of" in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_engine_is_one_line(tiny_run):
    done = lustral("run", "tiny.toml", "--engine", "pigeon", "--out", "other", cwd=tiny_run)
    assert "engine must be one of local" in refusal(done)


def test_status_counts_cells(tiny_run):
    done = lustral("status", tiny_run / "out")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 cells are finished" in done.stdout
    assert "0 failed" in done.stdout


def test_status_of_another_folder_is_one_line(tmp_path):
    assert "holds no recipe.json" in refusal(lustral("status", tmp_path))


def test_verify_finds_a_changed_byte_and_explain_says_what_is_done(tiny_run, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(tiny_run / "out", folder)
    assert lustral("verify", folder).stdout == "4 cells, 0 problems\n"
    damaged = sorted((folder / "cells").iterdir())[0]
    data = bytearray(damaged.read_bytes())
    data[len(data) // 3] ^= 1
    damaged.write_bytes(data)
    done = lustral("verify", folder)
    assert done.returncode == 1
    assert damaged.name in done.stdout
    assert lustral("verify", folder, "--quarantine").returncode == 1
    assert "has to run" in lustral("explain", folder, damaged.stem[:10]).stdout
    whole = sorted((folder / "cells").iterdir())[0]
    assert ": done " in lustral("explain", folder, whole.stem).stdout


def test_explain_refuses_an_unknown_cell(tiny_run):
    assert "begins with 'zzz'" in refusal(lustral("explain", tiny_run / "out", "zzz"))


def test_report_works_where_the_data_set_is_not(tiny_run, tmp_path, monkeypatch):
    monkeypatch.delenv("LUSTRAL_DATA", raising=False)
    folder = tmp_path / "out"
    shutil.copytree(tiny_run / "out", folder)
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["suite"][0]["data"] = {"name": "cifar10", "root": str(tmp_path)}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    before = (folder / "table.csv").read_bytes()
    done = lustral("report", folder)
    assert done.returncode == 0, done.stderr
    assert "every stored cell is reported" in done.stderr
    assert (folder / "table.csv").read_bytes() == before


def test_a_recipe_that_cannot_be_read_is_listed_as_such(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "broken.toml").write_text("name = [")
    done = lustral("list", "recipes", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row["summary"] for row in json.loads(done.stdout)}
    assert rows["broken"].startswith("cannot be read: ")
    assert {"demo", "cifar10_filters"} <= rows.keys()
