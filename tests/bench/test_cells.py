"""Real cells on a tiny real recipe: what they hold, that they repeat, and what the attacker got to see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from lustral.bench import cells
from lustral.bench.cell import CellResult
from lustral.bench.cells import execute
from lustral.bench.encoding import unpack_images
from lustral.bench.plan import Cell, make_plan
from lustral.bench.recipe import parse_recipe
from lustral.bench.rows import TIMING, digest_rows, to_table
from lustral.data import DATA as DATA_SETS
from lustral.data import parse_data
from lustral.purifiers import parse_purifier
from lustral.seeds import Noise
from lustral.targets import parse_target
from lustral.tensors import from_uint8
from tests.bench.traps import Pictures, recipe_of, traps

__all__ = ["traps"]

EPSILON = 4
DATA = "scenes:split=test,count=10"
RECIPE = {
    "name": "tiny",
    "seed": 3,
    "chunk": 8,
    "pictures": 2,
    "protocol": {"draws": 3, "worst_of": 3, "votes": 3, "selection_draws": 3, "checks": False},
    "suite": [
        {
            "name": "scenes",
            "data": DATA,
            "target": "scenes_classifier",
            "defences": ["gaussian_blur", "random_noise"],
            "attack": [
                {"label": "blind", "attack": f"pgd:epsilon={EPSILON}/255,steps=3", "access": "blind"},
                {"label": "known", "attack": f"pgd:epsilon={EPSILON}/255,steps=3", "access": "known_noise"},
                {
                    "label": "main",
                    "attack": f"pgd:epsilon={EPSILON}/255,steps=3",
                    "access": "exact:eot=2",
                    "main": True,
                },
            ],
        }
    ],
}

ALL = {"image", "truth", "seconds", "peak_memory"}
CLEAN = {
    *("bare_clean", "purified_clean", "correct", "psnr_clean", "ssim_clean", "linf_clean"),
    *("picture_clean", "picture_purified_clean"),
}
ATTACK = {
    *("adversarial", "height", "width", "bare_attacked", "attack_rate", "final_rate", "rescued"),
    *("linf_float", "linf", "l2", "psnr_attack", "ssim_attack", "queries", "gradients"),
    *("dead_start", "dead_tenth", "trace_first", "trace_early", "trace_last", "picture_attacked"),
}
SCORE = {
    *("purified_attacked", "broken", "picture_purified_attacked"),
    *("psnr_attacked", "ssim_attacked", "linf_attacked"),
}
EXPECTED = {"clean": CLEAN, "attack": ATTACK, "score": SCORE, "adaptive": ATTACK | SCORE}

Results = dict[str, tuple[Cell, CellResult]]


def run_all(recipe: dict[str, Any]) -> Results:
    results: Results = {}
    for cell in make_plan(parse_recipe(recipe)).cells:
        results[cell.id] = cell, execute(cell, {need: results[need][1] for need in cell.needs})
    return results


def digests(results: Results) -> dict[str, str]:
    return {name: digest_rows(to_table(result.columns)) for name, (_, result) in results.items()}


@pytest.fixture(scope="module")
def results() -> Results:
    return run_all(RECIPE)


def pick(results: Results, kind: str, defence: str | None, label: str = "", start: int = 0) -> tuple[Cell, CellResult]:
    for cell, result in results.values():
        own = cell.settings.get("defence", {}).get("name")
        if (cell.kind, own, cell.label, cell.settings["start"]) == (kind, defence, label, start):
            return cell, result
    raise LookupError((kind, defence, label, start))


def test_every_kind_of_cell_has_all_its_columns(results: Results) -> None:
    seen: set[str] = set()
    for cell, result in results.values():
        seen.add(cell.kind)
        assert set(result.columns) == ALL | EXPECTED[cell.kind]
        assert result.columns["image"] == cell.settings["images"]
        to_table(result.columns)
        json.dumps(result.facts)
        for name in set(result.columns) - TIMING:
            if not name.startswith("picture"):
                assert None not in result.columns[name], name
    assert seen == set(EXPECTED)


def test_rows_of_the_padding_are_dropped(results: Results) -> None:
    ids = list(parse_data(DATA).load().ids)
    for start, expected in ((0, ids[:8]), (8, ids[8:])):
        for kind, defence, label in (
            ("clean", "random_noise", ""),
            ("attack", None, "blind"),
            ("score", "random_noise", "blind"),
            ("adaptive", "random_noise", "main"),
        ):
            columns = pick(results, kind, defence, label, start)[1].columns
            assert columns["image"] == expected
            assert {len(values) for values in columns.values()} == {len(expected)}


def test_random_defences_are_scored_on_all_draws_and_others_on_one(results: Results) -> None:
    for defence, draws in (("gaussian_blur", 1), ("random_noise", 3)):
        clean = pick(results, "clean", defence)[1].columns
        assert {len(values) for values in (*clean["purified_clean"], *clean["correct"])} == {draws}
        for kind, label in (("score", "blind"), ("adaptive", "main")):
            columns = pick(results, kind, defence, label)[1].columns
            assert {len(values) for values in (*columns["purified_attacked"], *columns["broken"])} == {draws}
    known = pick(results, "adaptive", "random_noise", "known")[1].columns
    assert {len(values) for values in known["broken"]} == {1}


def test_correct_and_broken_say_what_the_classes_say(results: Results) -> None:
    for cell, result in results.values():
        columns = result.columns
        truth = np.array(columns["truth"])[:, None]
        if cell.kind == "clean":
            assert np.array_equal(np.array(columns["correct"]), np.array(columns["purified_clean"]) == truth)
        if "broken" in columns:
            assert np.array_equal(np.array(columns["broken"]), np.array(columns["purified_attacked"]) != truth)


def test_the_same_plan_gives_the_same_rows(results: Results) -> None:
    assert digests(run_all(RECIPE)) == digests(results)


def test_another_process_in_another_order_gives_the_same_rows(results: Results) -> None:
    code = (
        "import json\n"
        "from tests.bench import test_cells as t\n"
        "plan = t.make_plan(t.parse_recipe(t.RECIPE)).cells\n"
        "done = {}\n"
        "def get(cell):\n"
        "    if cell.id not in done:\n"
        "        inputs = {c.id: get(c) for c in plan if c.id in cell.needs}\n"
        "        done[cell.id] = t.execute(cell, inputs)\n"
        "    return done[cell.id]\n"
        "random = [c for c in plan if c.settings.get('defence', {}).get('name') == 'random_noise']\n"
        "print(json.dumps({c.id: t.digest_rows(t.to_table(get(c).columns)) for c in reversed(random)}))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    found, expected = json.loads(done.stdout), digests(results)
    assert len(found) == 8
    assert found == {name: expected[name] for name in found}


def test_another_seed_gives_other_rows(results: Results) -> None:
    cell, ours = pick(results, "clean", "random_noise")
    other = next(cell for cell in make_plan(parse_recipe({**RECIPE, "seed": 4})).cells if cell.kind == "clean")
    theirs = execute(replace(cell, settings={**cell.settings, "seed": 4}), {})
    assert other.id not in results
    assert ours.columns["psnr_clean"] != theirs.columns["psnr_clean"]


def test_attacked_images_are_8_bit_images_within_epsilon(results: Results) -> None:
    images = parse_data(DATA).load().stack().astype(int)
    for cell, result in results.values():
        if "adversarial" not in result.columns:
            continue
        adversarial = unpack_images(result.columns)
        clean = images[cell.settings["start"] : cell.settings["stop"]]
        moved = np.abs(adversarial - clean)
        assert adversarial.dtype == np.uint8
        assert 0 < moved.max() <= EPSILON
        assert np.allclose(moved.max((1, 2, 3)) / 255, result.columns["linf"], atol=1e-6)
        assert np.allclose(np.sqrt((moved**2).sum((1, 2, 3))) / 255, result.columns["l2"], atol=1e-5)
        assert max(result.columns["linf_float"]) <= EPSILON / 255 + 1e-6


@pytest.mark.parametrize(("kind", "label"), [("score", "blind"), ("adaptive", "known"), ("adaptive", "main")])
@pytest.mark.parametrize("defence", ["identity", "gaussian_blur", "random_noise"])
def test_the_stored_images_scored_again_give_the_stored_verdicts(
    results: Results, kind: str, label: str, defence: str
) -> None:
    cell, result = pick(results, kind, defence, label)
    source = pick(results, "attack", None, "blind")[1] if kind == "score" else result
    x = from_uint8(unpack_images(source.columns))
    purifier, target = parse_purifier(defence).build(), parse_target("scenes_classifier").build()
    noise = Noise(RECIPE["seed"], "score/attacked", cell.settings["images"])
    for draw in range(len(result.columns["broken"][0])):
        with torch.no_grad():
            classes = target(purifier(x, noise.draws(draw, 1))).argmax(1).tolist()
        assert [values[draw] for values in result.columns["purified_attacked"]] == classes


def test_an_attacker_who_knows_the_noise_sees_its_verdicts_come_true(results: Results) -> None:
    columns = pick(results, "adaptive", "random_noise", "known")[1].columns
    assert [float(values[0]) for values in columns["broken"]] == columns["attack_rate"]


class Spy:
    """Counts calls of every purifier by the purpose of the noise it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.purposes: list[str] = []
        real = cells._purifier

        def watched(*arguments: Any) -> Any:
            settings, module = real(*arguments)
            return settings, _Watched(module, self.purposes)

        monkeypatch.setattr(cells, "_purifier", watched)


class _Watched(torch.nn.Module):
    def __init__(self, module: Any, purposes: list[str]) -> None:
        super().__init__()
        self.module = module
        self.purposes = purposes

    def forward(self, x: torch.Tensor, noise: Noise) -> torch.Tensor:
        self.purposes.append(noise.purpose)
        return self.module(x, noise)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spy]:
    return Spy(monkeypatch)


def again(results: Results, cell: Cell) -> CellResult:
    return execute(cell, {need: results[need][1] for need in cell.needs})


def test_a_blind_attack_never_calls_the_purifier(results: Results, spy: Spy) -> None:
    again(results, pick(results, "attack", None, "blind")[0])
    assert spy.purposes == []
    adaptive = pick(results, "adaptive", "random_noise", "main")[0]
    access = {**adaptive.settings["access"], "knowledge": "blind"}
    again(results, replace(adaptive, settings={**adaptive.settings, "access": access}))
    assert spy.purposes == ["score/attacked"] * 3


def test_attack_selection_and_scoring_use_noise_of_their_own(results: Results, spy: Spy) -> None:
    cell, before = pick(results, "adaptive", "random_noise", "main")
    again(results, cell)
    steps = 4  # three gradients and the last point
    assert spy.purposes[:steps] == ["attack"] * steps
    assert set(spy.purposes[steps:-3]) == {"selection"}
    assert spy.purposes[-3:] == ["score/attacked"] * 3
    assert set(before.columns["queries"]) == {2 * steps}
    assert set(before.columns["gradients"]) == {2 * 3}


def test_known_noise_is_the_noise_of_the_scoring_phase(results: Results, spy: Spy) -> None:
    again(results, pick(results, "adaptive", "random_noise", "known")[0])
    assert set(spy.purposes) == {"score/attacked"}


def test_clean_images_have_noise_of_their_own(results: Results, spy: Spy) -> None:
    again(results, pick(results, "clean", "random_noise")[0])
    assert spy.purposes == ["score/clean"] * 4  # three draws, and one before them that warms up


def test_facts_name_the_purifier_that_was_attacked_and_the_one_that_was_scored(results: Results) -> None:
    cell, exact = pick(results, "adaptive", "gaussian_blur", "main")
    assert exact.facts["attack_purifier"] == exact.facts["score_purifier"]
    access = {**cell.settings["access"], "knowledge": "surrogate", "surrogate": {"name": "gaussian_blur", "kernel": 5}}
    other = again(results, replace(cell, settings={**cell.settings, "access": access}))
    assert other.facts["score_purifier"] == exact.facts["score_purifier"] != other.facts["attack_purifier"]


def test_images_that_changed_since_the_plan_are_refused(results: Results) -> None:
    cell = pick(results, "clean", "identity")[0]
    with pytest.raises(ValueError, match="changed since the plan was made"):
        execute(replace(cell, settings={**cell.settings, "data_digest": "0" * 32}), {})


def test_pictures_are_kept_of_the_first_images_only(results: Results) -> None:
    for cell, result in results.values():
        for name, values in result.columns.items():
            if name.startswith("picture"):
                assert [value is not None for value in values] == [
                    row < 2 - cell.settings["start"] for row in range(len(values))
                ]
                assert all(value.startswith(b"\x89PNG") for value in values if value is not None)


def test_scores_are_broken_when_they_moved_far_enough(traps: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(
        "random_noise:sigma=0.02", "pgd:epsilon=28/255,steps=4", "exact:eot=2", target="trap_quality",
        count=12, draws=4, checks=False,
    )  # fmt: skip
    target = recipe.suite[0].target
    low, high = target.range
    results: Results = {}
    for cell in make_plan(recipe).cells:
        results[cell.id] = cell, execute(cell, {need: results[need][1] for need in cell.needs})
    clean = pick(results, "clean", "random_noise")[1].columns
    assert set(np.array(clean["correct"]).flat) == {True}
    reference = np.array(clean["purified_clean"]).mean(1, keepdims=True)
    shares: list[float] = []
    for kind, label in (("score", "other 0"), ("adaptive", "main")):
        columns = pick(results, kind, "random_noise", label)[1].columns
        moved = (np.array(columns["purified_attacked"]) - reference) / (high - low)
        assert np.isnan(columns["truth"]).all()
        broken = np.array(columns["broken"])
        sure = np.abs(moved - target.success) > 1e-6
        assert np.array_equal(broken[sure], moved[sure] > target.success)
        shares.append(broken.mean())
    assert all(0 < share < 1 for share in shares)


class Judged(Pictures):
    """The labels of the trap pictures, as if people had judged them."""

    name: ClassVar[str] = "trap_judged"
    kind: ClassVar = "quality"


def test_labels_are_no_opinions_on_quality(traps: pytest.MonkeyPatch) -> None:
    traps.setitem(DATA_SETS, "trap_judged", Judged)

    def truths(data: str, target: str) -> list[float]:
        suite = {
            "name": "trap", "data": f"{data}:count=6", "target": target, "defences": [],
            "attack": [{"label": "blind", "attack": "fgsm:epsilon=1/255", "access": "blind"}],
        }  # fmt: skip
        plan = make_plan(parse_recipe({"name": "trap", "chunk": 4, "pictures": 0, "suite": [suite]}))
        return [value for cell in plan.cells if cell.kind == "clean" for value in execute(cell, {}).columns["truth"]]

    labels = truths("trap_pictures", "trap_linear")
    assert set(labels) == {0.0, 1.0}
    assert np.isnan(truths("trap_pictures", "trap_quality")).tolist() == [True] * 6
    assert truths("trap_judged", "trap_quality") == labels


def test_images_made_on_one_defence_are_scored_behind_another(results: Results) -> None:
    recipe = json.loads(json.dumps(RECIPE))
    recipe["suite"][0]["attack"][2]["transfer"] = True
    ours = run_all(recipe)
    moved = [(cell, result) for cell, result in ours.values() if cell.role == "transfer"]
    assert len(moved) == 3 * 2 * 2
    cell, result = next(pair for pair in moved if pair[0].settings["defence"]["name"] == "identity")
    _, made = next(pair for pair in ours.values() if pair[0].id == cell.needs[0])
    target = parse_target("scenes_classifier").build()
    with torch.no_grad():
        seen = target(from_uint8(unpack_images(made.columns))).argmax(1)
    assert [values[0] for values in result.columns["purified_attacked"]] == seen.tolist()
    assert set(result.columns) == ALL | SCORE


def test_paired_scores_have_the_noise_of_the_clean_image() -> None:
    recipe = json.loads(json.dumps(RECIPE))
    recipe["protocol"]["paired"] = True
    recipe["suite"][0] |= {"data": "photos:split=test,count=8,side=48", "target": "photo_quality"}
    recipe["suite"][0]["attack"] = [{"label": "blind", "attack": "ifgsm:epsilon=1/255,steps=1", "access": "blind"}]
    found = run_all(recipe)
    columns = pick(found, "score", "random_noise", "blind")[1].columns
    clean = np.array(pick(found, "clean", "random_noise")[1].columns["purified_clean"])
    fresh, paired = (np.array(columns[name]) for name in ("purified_attacked", "purified_attacked_paired"))
    assert paired.shape == fresh.shape == clean.shape
    # The same noise moves both scores alike, so that what differs is the attack alone.
    assert (paired - clean).std(1).mean() < 0.5 * (fresh - clean).std(1).mean()
    assert "purified_attacked_paired" not in pick(found, "score", "gaussian_blur", "blind")[1].columns
