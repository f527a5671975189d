"""Values of the table against numbers worked out by hand."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BLIND, EXACT, TARGETS, FakeStore, attack_columns, clean_columns, score_columns

from lustral.bench.evidence import Evidence, Verdict
from lustral.bench.store import StoreError
from lustral.report import build_table, write_report
from lustral.report.columns import verdict_of
from lustral.report.ranking import rank
from lustral.report.samples import Samples

NOISE = {"name": "random_noise", "sigma": 0.05}
IMAGES = [["b", "a"], ["c", "d"]]
TRUTH = [[1.0, 0.0], [2.0, 3.0]]
LABELS = ("blind", "exact")


def add_noise_suite(fake: FakeStore) -> None:
    """Four images in two chunks, a random defence with four draws, one blind and one adaptive attack.

    Attacked classes per image (truth): a (0): blind 0000, exact 0099. b (1): 1111, 1111.
    c (2): 9992, 2222. d (3): 9999, 3399. Clean classes: right but for one draw of d.
    """
    target, data = TARGETS["classifier"]
    fake.suites.append(
        {"name": "s", "defences": [NOISE], "attack": [{"label": name, "main": name == "exact"} for name in LABELS]}
    )
    clean = [[[1.0] * 4, [0.0] * 4], [[2.0] * 4, [3.0, 3.0, 3.0, 9.0]]]
    answers = {
        "blind": [[[1.0] * 4, [0.0] * 4], [[9.0, 9.0, 9.0, 2.0], [9.0] * 4]],
        "exact": [[[1.0] * 4, [0.0, 0.0, 9.0, 9.0]], [[2.0] * 4, [3.0, 3.0, 9.0, 9.0]]],
    }
    for chunk, (images, truth) in enumerate(zip(IMAGES, TRUTH, strict=True)):
        common = {"target": target, "data": data, "start": 2 * chunk}
        facts = {"is_random": True, "gradient": "exact", "passes": 3}
        timing = {"purify_milliseconds": 2.0 + 2 * chunk, "target_milliseconds": 1.0}
        own = {**common, "defence": NOISE}
        columns = clean_columns(images, truth, clean[chunk], quality=False)
        cell = fake.add("clean", "s", columns, **own, facts={**facts, "timing": timing})
        shared = fake.add("attack", "s", attack_columns(images), **common, attack={"name": "fgsm"}, label="blind")
        for label, access, needs in (("blind", BLIND, [cell.id, shared.id]), ("exact", EXACT, [cell.id])):
            got = answers[label][chunk]
            broken = [[a != b for a in row] for row, b in zip(got, truth, strict=True)]
            columns = score_columns(images, truth, got, broken)
            columns = columns if label == "blind" else {**attack_columns(images), **columns}
            kind = "score" if label == "blind" else "adaptive"
            options = {"attack": {"name": "fgsm"}, "access": access, "needs": needs}
            fake.add(kind, "s", columns, **own, **options, label=label)


@pytest.fixture
def rows(fake: FakeStore, tmp_path: Path) -> dict[str, Any]:
    add_noise_suite(fake)
    table = build_table(fake.write(tmp_path))
    return {row["attack"]: row for row in table.rows}


def test_rows_are_the_attacks_and_the_worst_of_all(rows: dict[str, Any]):
    assert list(rows) == ["blind", "exact", "worst of all"]
    assert {row["n"] for row in rows.values()} == {4}
    assert [row["main"] for row in rows.values()] == [False, True, False]
    assert [row["access"] for row in rows.values()] == ["blind", "exact:eot=10", "any"]
    assert {row["defence"] for row in rows.values()} == {"random_noise:sigma=0.05"}


def test_average_is_the_mean_over_images_and_draws(rows: dict[str, Any]):
    assert rows["blind"]["robust"]["average"] == (1 + 1 + 1 / 4 + 0) / 4
    assert rows["exact"]["robust"]["average"] == (0.5 + 1 + 1 + 0.5) / 4
    assert rows["exact"]["clean"]["average"] == (3 + 0.75) / 4


def test_worst_of_all_takes_per_image_the_attack_that_breaks_most(rows: dict[str, Any]):
    # a: exact 1/2, b: none, c: blind 3/4, d: blind 4/4
    assert rows["worst of all"]["robust"]["average"] == (0.5 + 1 + 0.25 + 0) / 4


def test_worst_of_two_is_one_minus_the_chance_that_both_of_two_draws_hold(rows: dict[str, Any]):
    # 2 of 4 draws broken: both hold in 1 of the 6 pairs; 1 of 4 hold: never
    assert rows["exact"]["robust"]["worst"] == pytest.approx((1 / 6 + 1 + 1 + 1 / 6) / 4)
    assert rows["blind"]["robust"]["worst"] == pytest.approx((1 + 1 + 0 + 0) / 4)
    assert rows["exact"]["clean"]["worst"] == pytest.approx((3 + 0.5) / 4)


def test_vote_is_over_the_first_three_draws(rows: dict[str, Any]):
    assert rows["exact"]["robust"]["vote"] == 1.0  # 0,0,9 and 3,3,9 are still right
    assert rows["blind"]["robust"]["vote"] == 0.5


def test_intervals_are_wilson_and_hold_the_average(rows: dict[str, Any]):
    from scipy.stats import binomtest

    robust = rows["exact"]["robust"]  # 3 of 4 images
    wanted = binomtest(3, 4).proportion_ci(method="wilson")
    assert (robust["low"], robust["high"]) == pytest.approx((wanted.low, wanted.high))
    for row in rows.values():
        assert row["robust"]["low"] <= row["robust"]["average"] <= row["robust"]["high"]


def test_distortion_of_a_blind_attack_comes_from_the_cell_that_made_it(rows: dict[str, Any]):
    assert rows["blind"]["linf"] == pytest.approx(8 / 255)
    assert (rows["blind"]["queries"], rows["blind"]["gradients"]) == (20, 10)


def test_cost_is_averaged_over_chunks(rows: dict[str, Any]):
    assert rows["blind"]["cost"] == {"passes": 3.0, "milliseconds": 3.0, "ratio": 4.0}


def test_the_indicators_see_what_the_cells_say(fake: FakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[Evidence] = []

    def judge(evidence: Evidence) -> dict[str, Verdict]:
        seen.append(evidence)
        return {"I9": Verdict("FAIL", 0.5, "too weak"), "I11": Verdict("PASS")}

    monkeypatch.setattr("lustral.report.evidence.judge", judge)
    add_noise_suite(fake)
    fake.cells[-1][1].facts["attack_purifier"] = "other"
    table = build_table(fake.write(tmp_path))
    (evidence,) = seen
    assert (evidence.kind, evidence.gradient, evidence.main, evidence.is_random) == (
        "classifier",
        "exact",
        "exact",
        True,
    )
    assert evidence.images == ("a", "b", "c", "d")
    assert evidence.correct.sum(axis=1).tolist() == [4, 4, 4, 3]
    assert evidence.worst_of == pytest.approx((2, 1 / 4, 5 / 12))
    assert evidence.cost_ratio == 4.0
    assert evidence.control is None
    attacks = {attack.label: attack for attack in evidence.attacks}
    assert attacks["exact"].rate.tolist() == [0.5, 0, 0, 0.5]
    assert attacks["blind"].rate.tolist() == [0, 0, 0.75, 1]
    assert attacks["exact"].trace[0].tolist() == [-1.0, 0.5, 0.5]
    assert attacks["exact"].facts == {"attack_purifier": "other"}
    assert attacks["blind"].gradients.tolist() == [10] * 4
    for row in table.rows:
        assert row["upper_bound"]
        assert row["order"] is None
        assert row["indicator_string"] == "I9! I11+"


@pytest.mark.parametrize(
    ("main", "found", "verdict"),
    [
        ("exact", {"I2": Verdict("PASS")}, "passes checks"),
        ("blind", {"I2": Verdict("PASS")}, "blind attacks only"),
        ("blind", {"I2": Verdict("FAIL")}, "upper bound"),
        ("blind", {}, "not checked"),
    ],
)
def test_checks_of_an_attack_that_did_not_see_the_defence_pass_nothing(
    fake: FakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: str, found: dict[str, Verdict], verdict: str
):
    monkeypatch.setattr("lustral.report.evidence.judge", lambda _: found)
    add_noise_suite(fake)
    fake.suites[-1]["attack"] = [{"label": name, "main": name == main} for name in LABELS]
    assert {verdict_of(row) for row in build_table(fake.write(tmp_path)).rows} == {verdict}


def test_checks_are_evidence_and_not_rows(fake: FakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[Evidence] = []
    monkeypatch.setattr("lustral.report.evidence.judge", lambda evidence: seen.append(evidence) or {})
    add_noise_suite(fake)
    cell, result = next(pair for pair in fake.cells if pair[0].label == "exact")
    again = {**cell.settings, "attack": {"name": "fgsm", "epsilon": 1.0}}
    fake.cells.append((type(cell)(cell.kind, cell.suite, again, "I9:unbounded", "exact [I9]"), result))
    table = build_table(fake.write(tmp_path))
    assert [row["attack"] for row in table.rows] == ["blind", "exact", "worst of all"]
    unbounded = seen[0].with_role("I9:unbounded")
    assert unbounded is not None
    assert unbounded.images == ("a", "b")
    assert not table.rows[0]["upper_bound"]


def test_quality_scores_of_a_metric(fake: FakeStore, tmp_path: Path):
    target, data = TARGETS["quality"]
    images, truth, own = ["a", "b"], [10.0, float("nan")], {"target": target, "data": data, "defence": NOISE}
    clean = clean_columns(images, truth, [[40.0], [60.0]], quality=True)
    cell = fake.add("clean", "q", clean, **own, facts={"is_random": False, "gradient": "exact", "passes": 0})
    columns = {**attack_columns(images), **score_columns(images, truth, [[60.0], [60.0]], [[True], [False]])}
    options = {"attack": {"name": "fgsm"}, "access": EXACT, "needs": [cell.id]}
    fake.add("adaptive", "q", columns, **own, **options, label="x")
    row = build_table(fake.write(tmp_path)).rows[0]
    assert row["d"] == 10.0  # bare score 50, attacked 60 and 60, range 100
    assert row["d_defended"] == 10.0  # 20 and 0
    assert row["gain"] == pytest.approx(0.1)
    assert row["r"] == pytest.approx(np.log10(50 / (10 + 1e-6)))
    assert row["r_defended"] == pytest.approx((np.log10(60 / (20 + 1e-6)) + np.log10(60 / 1e-6)) / 2)
    assert row["robust"]["average"] == 0.5
    assert isnan(row["srocc_clean"])  # one human score is no rank correlation
    assert isnan(row["clean"]["average"])
    text = (write_report(tmp_path).parent.parent / "table.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)[0]["srocc_clean"] is None


def board(broken: list[bool]) -> Samples:
    return Samples(tuple(f"{i:03d}" for i in range(len(broken))), {"broken": np.array(broken)[:, None]})


def test_an_order_is_printed_only_where_every_pair_across_the_line_differs():
    # Six images are broken under b and not under a: exact McNemar p = 2/64 = 0.031, so two defences are ordered ...
    a, b = board([False] * 6 + [True] * 4), board([True] * 10)
    assert rank([b, a], [0.0, 0.6]) == [(2, 2, 1), (1, 1, 1)]
    # ... but not among three, where Holm multiplies the smallest p-value by three.
    assert rank([b, a, a], [0.0, 0.6, 0.6]) == [(1, 3, 3)] * 3
    # a > c only, with b between them, is no order at all.
    strong, middle, weak = board([False] * 16), board([True] * 5 + [False] * 11), board([True] * 10 + [False] * 6)
    assert rank([strong, middle, weak], [1.0, 11 / 16, 6 / 16]) == [(1, 3, 3)] * 3


def test_equal_defences_are_rarely_ordered():
    rng = np.random.default_rng(0)
    ordered = 0
    for _ in range(200):
        boards = [board((rng.random(100) < 0.5).tolist()) for _ in range(4)]
        places = rank(boards, [1 - float(part.flags("broken").mean()) for part in boards])
        ordered += len({place.first for place in places}) > 1
    assert ordered <= 10


def test_table_is_byte_identical_for_any_order_and_any_timing(rich: FakeStore, tmp_path: Path):
    texts = set()
    for shuffle in (1, 2, 3):
        for _, result in rich.cells:
            if "seconds" in result.columns:
                result.columns["seconds"] = [float(shuffle)] * len(result.columns["seconds"])
            if "timing" in result.facts:
                result.facts["timing"] = {"purify_milliseconds": float(shuffle), "target_milliseconds": 1.0}
        folder = rich.write(tmp_path / str(shuffle), shuffle)
        write_report(folder)
        texts.add((folder / "table.csv").read_bytes())
    assert len(texts) == 1
    lines = list(csv.DictReader(texts.pop().decode().splitlines()))
    assert len(lines) == 5 * 3 + 3 * 3 + 11 * 3


@dataclass(frozen=True)
class Planned:
    id: str
    kind: str
    suite: str
    settings: dict[str, Any]
    needs: tuple[str, ...]
    role: str
    label: str


def test_a_plan_decides_names_and_which_cells_count(fake: FakeStore, tmp_path: Path):
    add_noise_suite(fake)
    folder = fake.write(tmp_path)
    wanted = [cell for cell, _ in fake.cells if cell.label != "blind"]
    plan = [Planned(c.id, c.kind, "renamed", c.settings, c.needs, c.role, f"new {c.label}") for c in wanted]
    absent = Planned("f" * 32, "clean", "renamed", {}, (), "main", "")
    table = build_table(folder, [*plan, absent])
    assert {(row["suite"], row["attack"]) for row in table.rows} == {
        ("renamed", "new exact"),
        ("renamed", "worst of all"),
    }
    assert table.source.missing == 1


def test_cells_of_two_recipes_in_one_folder_are_refused_not_mixed(fake: FakeStore, tmp_path: Path):
    add_noise_suite(fake)
    for cell, result in list(fake.cells):
        if cell.label == "exact":
            fake.cells.append(
                (type(cell)(cell.kind, cell.suite, {**cell.settings, "seed": 8}, "main", "exact"), result)
            )
    with pytest.raises(StoreError, match="two recipes"):
        build_table(fake.write(tmp_path))


def test_an_empty_folder_says_what_to_do(tmp_path: Path):
    with pytest.raises(StoreError, match="run a recipe"):
        build_table(tmp_path)


def test_the_report_needs_no_torch(rich: FakeStore, tmp_path: Path):
    folder = rich.write(tmp_path)
    code = (
        "import sys; from lustral.report import write_report; write_report(sys.argv[1]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_cell_that_two_suites_share_stands_in_both(fake: FakeStore, tmp_path: Path):
    add_noise_suite(fake)
    plan = [cell for cell, _ in fake.cells]
    again = [replace(cell, suite="another", label=cell.label and f"{cell.label} again") for cell in plan]
    table = build_table(fake.write(tmp_path), [*plan, *again])
    named = {(row["suite"], row["attack"]): row["robust"]["average"] for row in table.rows}
    for label in (*LABELS, "worst of all"):
        other = label if label == "worst of all" else f"{label} again"
        assert named["s", label] == named["another", other]
    assert len(named) == 6
    assert len(table.source.cells) == len(plan)
