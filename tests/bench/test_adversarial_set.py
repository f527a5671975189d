"""Adversarial images leave a run as files that others can read, and come back as an attack with the same scores."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image

from lustral.attacks import parse_attack
from lustral.attacks.stored import Stored
from lustral.bench.adversarial_set import _slugs, export_adversarial
from lustral.bench.cells import execute
from lustral.bench.encoding import unpack_images
from lustral.bench.plan import Plan, make_plan
from lustral.bench.recipe import parse_recipe
from lustral.bench.store import Store
from lustral.data import adversarial_set
from lustral.data.adversarial_set import find_shards, read_manifest, read_shards
from lustral.seeds import Noise
from lustral.settings import SettingsError

RECIPE: dict[str, Any] = {
    "name": "quality",
    "chunk": 4,
    "pictures": 0,
    "protocol": {"draws": 2, "worst_of": 2, "votes": 2, "selection_draws": 2, "checks": False},
    "suite": [
        {
            "name": "photos, small",
            "data": "photos:split=test,count=6,side=48",
            "target": "photo_quality",
            "defences": ["random_noise"],
            "attack": [
                {"label": "I-FGSM, weak", "attack": "ifgsm:epsilon=2/255,steps=2", "access": "blind"},
                {"label": "I-FGSM, strong", "attack": "ifgsm:epsilon=8/255,steps=2", "access": "blind"},
            ],
        }
    ],
}


def run_into(folder: Path, recipe: dict[str, Any]) -> tuple[Store, Plan]:
    store, plan = Store(folder), make_plan(parse_recipe(recipe))
    for cell in plan.cells:
        store.write(cell, execute(cell, {need: store.read(need) for need in cell.needs}), {})
    return store, plan


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Plan, Path]:
    folder = tmp_path_factory.mktemp("set")
    store, plan = run_into(folder / "run", RECIPE)
    export_adversarial(store, plan.places, folder / "out", "lustral run quality.toml")
    return store, plan, folder / "out"


def scores(store: Store, plan: Plan, label: str) -> list[list[float]]:
    found = [cell for cell in plan.cells if cell.kind == "score" and cell.label == label]
    return [values for cell in found for values in store.read(cell.id).columns["purified_attacked"]]


def test_what_is_written_is_what_was_made(made: tuple[Store, Plan, Path]) -> None:
    store, plan, out = made
    manifest = read_manifest(out)
    assert len(manifest.shards) == 4  # two attacks in two chunks
    assert manifest.command == "lustral run quality.toml"
    for shard in manifest.shards:
        columns = store.read(shard.cell).columns
        pixels = read_shards(out, (shard,))
        assert list(pixels) == columns["image"]
        assert np.array_equal(np.stack(list(pixels.values())), unpack_images(columns))
        table = parquet.read_table(out / shard.path)
        assert table.column("score").to_pylist() == columns["bare_attacked"]
        facts = json.loads(table.schema.metadata[b"lustral"])
        attack = next(cell.settings["attack"] for cell in plan.cells if cell.id == shard.cell)
        assert facts["attack"] == {name: value for name, value in attack.items() if name != "versions"}
        assert "root" not in facts["data"]


def test_the_files_say_to_hugging_face_datasets_what_they_hold(made: tuple[Store, Plan, Path]) -> None:
    """As its Parquet reader and its Image feature expect: a struct of bytes and path, and features in the metadata."""
    table = parquet.read_table(made[2] / read_manifest(made[2]).shards[0].path)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert set(features) == set(table.column_names)
    assert features["image"] == {"_type": "Image"}
    for name, feature in features.items():
        kind = str(table.schema.field(name).type)
        wanted = {"float64": "double", "int64": "int64", "string": "string"}.get(feature.get("dtype"))
        assert wanted == kind if wanted else kind == "struct<bytes: binary, path: string>"
    picture = table.column("image")[0].as_py()
    assert Image.open(io.BytesIO(picture["bytes"])).format == "PNG"
    card = (made[2] / "README.md").read_text()
    head = card.split("---\n")[1].splitlines()
    assert head[0] == "configs:"
    names = [line.split(": ")[1] for line in head if "config_name" in line]
    assert sorted(names) == ["photos-small--i-fgsm-strong", "photos-small--i-fgsm-weak"]
    found = [list(made[2].glob(line.split("path: ")[1].rstrip("}"))) for line in head if "path: " in line]
    assert [len(files) for files in found] == [2, 2]


def test_names_that_a_folder_cannot_tell_apart_get_folders_of_their_own() -> None:
    folders = _slugs(["I-FGSM, weak", "FGSM 2/255", "FGSM 2-255", "\u5f3a", "\u5f31"])
    assert folders["I-FGSM, weak"] == "i-fgsm-weak"
    assert len(set(folders.values())) == 5
    assert all(re.fullmatch("[a-z0-9-]+", folder) for folder in folders.values())


def test_exporting_again_gives_the_same_bytes(made: tuple[Store, Plan, Path], tmp_path: Path) -> None:
    store, plan, out = made
    export_adversarial(store, plan.places, tmp_path, "lustral run quality.toml")
    files = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((out / name).read_bytes() == (tmp_path / name).read_bytes() for name in files)


def test_read_back_as_an_attack_it_gives_the_same_scores(made: tuple[Store, Plan, Path], tmp_path: Path) -> None:
    store, plan, out = made
    recipe = json.loads(json.dumps(RECIPE))
    recipe["suite"][0]["attack"] = [
        {"label": label, "attack": {"name": "stored", "folder": str(out), "label": label}, "access": "blind"}
        for label in ("I-FGSM, weak", "I-FGSM, strong")
    ]
    again, second = run_into(tmp_path, recipe)
    for label in ("I-FGSM, weak", "I-FGSM, strong"):
        assert scores(again, second, label) == scores(store, plan, label)
    recipe["suite"][0]["target"] = {"name": "photo_quality", "direction": "down"}
    other, third = run_into(tmp_path / "other", recipe)
    for label in ("I-FGSM, weak", "I-FGSM, strong"):  # they stand although they move the score the wrong way
        assert scores(other, third, label) == scores(store, plan, label)
    attack = next(cell for cell in second.cells if cell.kind == "attack")
    hashes = {shard.sha256 for shard in find_shards(out, attack.label)}
    assert hashes <= set(attack.settings["attack"]["versions"].values())


def test_cells_that_two_suites_share_are_exported_under_both_names(
    made: tuple[Store, Plan, Path], tmp_path: Path
) -> None:
    recipe = json.loads(json.dumps(RECIPE))
    first = recipe["suite"][0]
    recipe["suite"].append({**first, "name": "again", "attack": [{**first["attack"][0], "label": "weakest"}]})
    plan = make_plan(parse_recipe(recipe))
    assert len(plan.cells) == len(made[1].cells) < len(plan.places)
    export_adversarial(made[0], plan.places, tmp_path)
    one, two = find_shards(tmp_path, "I-FGSM, weak", "photos, small"), find_shards(tmp_path, "weakest", "again")
    assert [shard.sha256 for shard in one] == [shard.sha256 for shard in two]
    assert {Path(shard.path).parent.as_posix() for shard in two} == {"data/again/weakest"}
    assert "again--weakest" in (tmp_path / "README.md").read_text()


def test_an_unfinished_run_is_not_exported(made: tuple[Store, Plan, Path], tmp_path: Path) -> None:
    store, plan, _ = made
    partly = Store(tmp_path / "run")
    with pytest.raises(SettingsError, match="no finished attack"):
        export_adversarial(partly, plan.places, tmp_path / "out")
    first = next(cell for cell in plan.cells if cell.kind == "attack")
    partly.write(first, store.read(first.id), {})
    with pytest.raises(SettingsError, match="3 of 4 attacks"):
        export_adversarial(partly, plan.places, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def stored(out: Path, **changes: Any) -> Stored:
    return Stored.make(**{"folder": str(out), "label": "I-FGSM, weak", **changes})


def test_wrong_sets_are_refused(made: tuple[Store, Plan, Path], tmp_path: Path) -> None:
    out, x = made[2], torch.zeros(1, 3, 48, 48)
    with pytest.raises(SettingsError, match="no manifest"):
        stored(tmp_path).weights_used()
    with pytest.raises(SettingsError, match="I-FGSM, strong"):
        stored(out, label="other").weights_used()
    with pytest.raises(ValueError, match="has no image 'unknown'"):
        stored(out).run(None, x, Noise(0, "start", ["unknown"]))
    name = next(iter(read_shards(out, find_shards(out, "I-FGSM, weak"))))
    with pytest.raises(ValueError, match=r"\(3, 48, 48\) in .* and \(3, 8, 8\)"):
        stored(out).run(None, x[:, :, :8, :8], Noise(0, "start", [name]))
    assert parse_attack({"name": "stored", "folder": str(out), "label": "I-FGSM, weak"}) == stored(out)


def test_the_list_and_the_images_are_read_once_until_they_change(
    made: tuple[Store, Plan, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, plan, _ = made
    export_adversarial(store, plan.places, tmp_path, "one")
    reads: list[str] = []
    for name in ("read_regular", "read_columns"):
        real = getattr(adversarial_set, name)
        monkeypatch.setattr(adversarial_set, name, lambda *a, real=real, name=name: (reads.append(name), real(*a))[1])
    names = store.read(find_shards(tmp_path, "I-FGSM, weak")[0].cell).columns["image"]
    for name in names[:2]:
        stored(tmp_path).run(None, torch.zeros(1, 3, 48, 48), Noise(0, "start", [name]))
    assert sorted(reads) == ["read_columns", "read_columns", "read_regular"], "one list, two shards"
    export_adversarial(store, plan.places, tmp_path, "another")
    assert read_manifest(tmp_path).command == "another"


def test_two_images_of_one_id_are_refused(made: tuple[Store, Plan, Path]) -> None:
    shards = read_manifest(made[2]).shards  # both attacks, on the same images
    with pytest.raises(ValueError, match=r"has another image 'photos/.*name the suite"):
        read_shards(made[2], shards)


def test_a_shard_that_was_changed_is_not_read(made: tuple[Store, Plan, Path], tmp_path: Path) -> None:
    store, plan, _ = made
    export_adversarial(store, plan.places, tmp_path)
    shards = find_shards(tmp_path, "I-FGSM, weak")
    path = tmp_path / shards[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match="is not the file that"):
        read_shards(tmp_path, shards)
    text = (tmp_path / "manifest.json").read_text().replace(shards[0].path, "../" + shards[0].path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(SettingsError, match="outside the folder"):
        read_manifest(tmp_path)
