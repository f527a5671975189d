"""Means of the tables against numbers worked out by hand."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
from conftest import BLIND, EXACT, FakeStore
from quality_store import BLUR, IDENTITY, IFGSM, JPEG, NOISE, ONE_DRAW, SQUARE, TARGET, Defence, Line, add_quality, one

from lustral.report import build_table
from lustral.report.quality.aggregate import average, measure
from lustral.report.quality.content import Content, build_content
from lustral.report.quality.facets import entries_of, mode_of
from lustral.report.quality.resampling import resampled_correlation, resampled_mean
from lustral.settings import canonical

KONIQ = {"name": "photos", "split": "test", "count": 3}
CLEAN = [40.0, 50.0, 60.0]


def small_run(fake: FakeStore) -> None:
    """Two suites on two data sets; values of D(D) are the distances from ``CLEAN``."""
    lines = [
        Line("far, weak", attack=IFGSM),
        Line("far, strong", attack={**IFGSM, "epsilon": 0.02}),
        Line("search", attack=SQUARE, strength={"level": "medium", "measure": "linf", "wanted": 1, "reached": 1}),
        Line("through", ONE_DRAW, IFGSM),
        Line("through EOT", EXACT, IFGSM),
    ]
    identity = Defence(
        IDENTITY,
        one(CLEAN),
        {
            "far, weak": one([41.0, 52.0, 63.0]),
            "far, strong": one([50.0, 60.0, 70.0]),
            "search": one([60.0, 50.0, 40.0]),
            "through": one([70.0, 80.0, 90.0]),
            "through EOT": one([70.0, 80.0, 90.0]),
        },
        psnr=[20.0, 40.0, 100.0],
    )
    noise = Defence(
        NOISE,
        [[40.0, 42.0], [50.0, 50.0], [60.0, 58.0]],
        {"far, weak": [[42.0, 42.0], [51.0, 50.0], [60.0, 50.0]], "through EOT": [[60.0] * 2] * 3},
        paired={"far, weak": [[41.0, 43.0], [51.0, 51.0], [61.0, 59.0]]},
        is_random=True,
        milliseconds=3.0,
    )
    jpeg = Defence(JPEG, one(CLEAN), {"far, weak": one(CLEAN), "through": one(CLEAN)}, gradient="none")
    add_quality(fake, "a", lines, [identity, noise, jpeg], [1.0, 2.0, 3.0])
    second = Defence(IDENTITY, one(CLEAN * 2), {"far, weak": one([50.0] * 6)}, milliseconds=5.0)
    add_quality(fake, "b", lines[:1], [second], [3.0, 2.0, 1.0, 3.0, 2.0, 1.0], data=KONIQ)


@pytest.fixture
def content(fake: FakeStore, tmp_path: Path) -> Content:
    small_run(fake)
    found = build_content(build_table(fake.write(tmp_path)))
    assert found is not None
    return found


def value_of(content: Content, number: str, defence: Any, score: str, mode: str, **options: Any) -> Any:
    part, section = options.get("part", 0), options.get("section", "")
    table = next(table for table in content.tables if table.number == number)
    name = defence if isinstance(defence, str) else canonical(defence)
    row = table.rows.index(name)
    return table.values[content.parts[part]][row][table.columns.index((section, score, mode))]


def test_facets_are_read_from_the_recipe_and_the_settings(fake: FakeStore, tmp_path: Path):
    small_run(fake)
    facets = [entry.facets for entry in entries_of(build_table(fake.write(tmp_path)))]
    found = {(one.suite, one.method, one.label): one for one in facets}
    weak, noise = found["a", "identity", "far, weak"], found["a", "random_noise", "far, weak"]
    assert (weak.level, weak.type, weak.mode, weak.family) == ("weak", "restricted white-box", "blind", "control")
    assert (noise.family, noise.is_random) == ("noising", True)
    assert found["a", "identity", "search"].level == "medium"
    assert found["a", "identity", "search"].type == "black-box"
    assert found["a", "identity", "through"].mode == "paper"
    assert found["a", "identity", "through EOT"].mode == "standard"  # though its cells keep one draw only
    assert ("a", "jpeg", "through") not in found  # no gradient, so a dash as in the paper
    assert ("a", "jpeg", "far, weak") in found
    assert mode_of({"knowledge": "scores", "eot": 1}) == "paper"
    assert mode_of({"knowledge": "bpda", "eot": 1}) == mode_of({"knowledge": "known_noise"}) == "standard"


def test_cells_weigh_alike_whatever_their_images(content: Content):
    mean = value_of(content, "3", IDENTITY, "d_defended", "blind")
    cells = [2.0, 10.0, 40 / 3, 20 / 3]  # three in suite a, one with twice the images in b
    assert mean.value == pytest.approx(np.mean(cells))
    assert (mean.cells, mean.images, mean.left_out) == (4, 3 * 3 + 6, 0)
    assert mean.spread == pytest.approx(np.std([np.mean(cells[:3]), cells[3]]))
    assert mean.low <= mean.value <= mean.high
    assert value_of(content, "3", IDENTITY, "d_defended", "paper").value == pytest.approx(30.0)
    assert value_of(content, "3", JPEG, "d_defended", "paper").cells == 0


def test_parts_are_data_sets_and_sections_are_levels_and_types(content: Content):
    assert [part.kind for part in content.parts] == ["everything", "data set", "data set"]
    assert value_of(content, "3", IDENTITY, "d_defended", "blind", part=2).value == pytest.approx(20 / 3)
    assert value_of(content, "14", IDENTITY, "d", "blind", section="strong").value == pytest.approx(10.0)
    assert value_of(content, "14", IDENTITY, "d", "blind", section="medium").value == pytest.approx(20 / 3)
    assert value_of(content, "17", IDENTITY, "srocc_attacked", "blind", section="black-box").value == pytest.approx(-1)
    names = [part.name for part in content.parts]
    assert value_of(content, "25", IDENTITY, "d", "blind", section=names[2]).value == pytest.approx(0.0)


def test_time_and_clean_correlation_count_once_per_suite(content: Content):
    time = value_of(content, "3", IDENTITY, "milliseconds", "common")  # 1 and 5, not weighted by attacks
    assert (time.value, time.cells) == (3.0, 2)
    assert value_of(content, "3", IDENTITY, "srocc_clean", "common").value == pytest.approx(0.0)  # 1 and -1
    assert value_of(content, "26", IDENTITY, "plcc_clean", "common").spread == pytest.approx(1.0)


def test_constant_scores_are_left_out_of_correlations_and_counted(content: Content):
    mean = value_of(content, "3", IDENTITY, "srocc_attacked", "blind")
    assert (mean.value, mean.cells, mean.left_out) == (pytest.approx((1 + 1 - 1) / 3), 3, 1)


def test_random_defences_have_both_conventions(content: Content):
    fresh, paired = (value_of(content, "3", NOISE, key, "blind").value for key in ("d_defended", "d_paired"))
    assert fresh == pytest.approx((1 + 0.5 + 4) / 3)
    assert paired == pytest.approx(1.0)
    assert math.isnan(value_of(content, "3", NOISE, "d_paired", "standard").value)


def test_squared_error_is_that_of_every_image(content: Content):
    assert value_of(content, "3", IDENTITY, "mse", "paper").value == pytest.approx(1000 * (1e-2 + 1e-4 + 0) / 3)


def test_the_largest_change_is_missing_where_cells_lack_it(content: Content):
    assert value_of(content, "3", IDENTITY, "linf", "paper").value == pytest.approx((1e-1 + 1e-2 + 1e-5) / 3)
    assert math.isnan(value_of(content, "3", NOISE, "linf", "blind").value)


def test_r_is_that_of_the_table(fake: FakeStore, tmp_path: Path):
    small_run(fake)
    table = build_table(fake.write(tmp_path))
    measured = {(one.facets.suite, one.facets.defence, one.facets.label): one for one in measure(entries_of(table))}
    rows = {(row["suite"], row["defence"], row["attack"]): row for row in table.rows}
    for name, own in measured.items():
        for key in ("d", "d_defended", "d_paired", "r", "r_defended", "r_capped", "srocc_attacked", "srocc_clean"):
            assert own.values[key] == pytest.approx(rows[name][key], nan_ok=True), (name, key)


def test_families_hold_all_their_defences_and_randomness_stands_beside_them(content: Content):
    assert value_of(content, "24", "noising", "d", "blind") == value_of(content, "24", "with randomness", "d", "blind")
    assert value_of(content, "24", "compression", "d", "blind").cells == 1


@pytest.mark.parametrize(
    ("data", "target", "sign"),
    [
        ({"name": "live_subset"}, {}, -1),
        ({"name": "listed", "data": {"name": "live_subset"}, "path": "ids.txt"}, {}, -1),
        ({"name": "photos"}, {"direction": "down"}, 1),  # which way an attacker pushes says nothing
    ],
    ids=["lower is better", "of a part", "attacked downwards"],
)
def test_agreement_is_positive_where_both_say_good(
    fake: FakeStore, tmp_path: Path, data: dict[str, Any], target: dict[str, Any], sign: int
):
    perfect = Defence(IDENTITY, one(CLEAN), {"x": one(CLEAN)})
    truth = [sign * value for value in (1.0, 2.0, 3.0)]
    add_quality(fake, "a", [Line("x")], [perfect], truth, data=data, target={**TARGET, **target})
    table = build_table(fake.write(tmp_path))
    (entry,) = entries_of(table)
    assert average(measure([entry]), "srocc_clean").value == pytest.approx(1.0)
    assert table.rows[0]["srocc_clean"] == pytest.approx(1.0)


def test_resampled_statistics_are_those_of_repeated_images():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 12).astype(float), rng.normal(size=12)  # with ties
    counts = rng.multinomial(12, [1 / 12] * 12, size=20).astype(float)
    spearman, pearson = (resampled_correlation(x, y, counts, ranks) for ranks in (True, False))
    for row, drawn in enumerate(counts):
        repeated = np.repeat(np.arange(12), drawn.astype(int))
        assert spearman[row] == pytest.approx(scipy.stats.spearmanr(x[repeated], y[repeated]).statistic)
        assert pearson[row] == pytest.approx(np.corrcoef(x[repeated], y[repeated])[0, 1])
        assert resampled_mean(x, counts)[row] == pytest.approx(x[repeated].mean())
    assert np.isnan(resampled_correlation(np.ones(12), y, counts, True)).all()


def test_intervals_cover_the_mean_of_new_images():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        values = rng.normal(size=40)
        counts = rng.multinomial(40, [1 / 40] * 40, size=300).astype(float)
        low, high = np.quantile(resampled_mean(values, counts), [0.025, 0.975])
        held += low <= 0 <= high
    assert 180 <= held <= 199


def test_files_do_not_depend_on_the_order_of_cells(fake: FakeStore, tmp_path: Path):
    from lustral.report.quality.exports import csv_files

    small_run(fake)
    texts = []
    for shuffle in (1, 2):
        content = build_content(build_table(fake.write(tmp_path / str(shuffle), shuffle)))
        assert content is not None
        texts.append(csv_files(content))
    assert texts[0] == texts[1]
    lines = list(csv.DictReader(texts[0]["table_3.csv"].splitlines()))
    assert {line["mode"] for line in lines} == {"common", "blind", "paper", "standard"}
    assert "milliseconds" not in {line["score"] for line in lines}


def test_what_is_missing_is_said(content: Content):
    assert any("Fewer attacks than others" in gap and "jpeg" in gap for gap in content.gaps)
    assert any("Without a gradient" in remark for remark in content.remarks)


def test_presets_are_marked_by_their_correlation_and_the_page_is_told(fake: FakeStore, tmp_path: Path):
    good = Defence(BLUR, one(CLEAN), {"x": one([1.0, 2.0, 3.0])})
    bad = Defence({**BLUR, "kernel": 7}, one(CLEAN), {"x": one([3.0, 2.0, 1.0])})
    chosen = {"by": "srocc_attacked", "better": "up", "among": "blind", "on_test": True}
    add_quality(fake, "a", [Line("x", BLIND)], [bad, good], [1.0, 2.0, 3.0], chosen=chosen)
    content = build_content(build_table(fake.write(tmp_path)))
    assert content is not None
    assert [json.loads(name) for name in content.marked.presets] == [BLUR]
    assert content.marked.on_test
    assert any("chosen on the very images" in note for note in content.marked.notes)


def test_suites_whose_presets_were_chosen_alike_share_a_sentence(fake: FakeStore, tmp_path: Path):
    chosen = {"by": "srocc_attacked", "better": "up", "among": "blind", "on_test": False}
    for name in ("a", "b"):
        defence = Defence(BLUR, one(CLEAN), {"x": one([1.0, 2.0, 3.0])})
        add_quality(fake, name, [Line("x", BLIND)], [defence], [1.0, 2.0, 3.0], chosen=chosen)
    content = build_content(build_table(fake.write(tmp_path)))
    assert content is not None
    assert content.marked.notes == (
        "Presets have the best SROCC attacked under blind attacks of another run, "
        "on images that are not evaluated here.",
    )
