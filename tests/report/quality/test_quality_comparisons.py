"""Tests between defences, transferred attacks and the composite rank on constructed data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import BLIND, EXACT, FakeStore
from quality_store import BLUR, IDENTITY, JPEG, NOISE, Defence, Line, add_quality, one

from lustral.report import build_table
from lustral.report.quality.aggregate import measure
from lustral.report.quality.composite import composite_rank
from lustral.report.quality.content import Content, build_content
from lustral.report.quality.facets import entries_of
from lustral.report.quality.wilcoxon import PairTests, matrix_of
from lustral.settings import canonical

COUNT = 24


def moved(by: float, spread: float = 0.0) -> list[list[float]]:
    return one([50 + by + spread * image for image in range(COUNT)])


def compared(fake: FakeStore, folder: Path, count: int = COUNT) -> Content:
    """Blur moves less than nothing at all; jpeg moves exactly as far as nothing."""
    clean = moved(0)[:count]
    defences = [
        Defence(defence, clean, {label: moved(by, 0.1)[:count] for label in ("x", "y")}, psnr=[psnr] * count)
        for defence, by, psnr in ((IDENTITY, 20, 40.0), (BLUR, 10, 30.0), (JPEG, 20, 40.0))
    ]
    attack = {"name": "fgsm", "epsilon": 0.02}
    lines = [Line("x"), Line("y", attack=attack)]
    add_quality(fake, "a", lines, defences, [float(image) for image in range(count)])
    content = build_content(build_table(fake.write(folder)))
    assert content is not None
    return content


def pairs_by(content: Content, score: str) -> PairTests:
    return next(tests for tests in content.tests if tests.score == score)


def test_the_better_defence_wins_every_cell_and_equal_ones_none(fake: FakeStore, tmp_path: Path):
    content = compared(fake, tmp_path)
    tests = pairs_by(content, "d_defended")
    assert [name for name in tests.presets] == [canonical(one) for one in (IDENTITY, BLUR, JPEG)]
    for correction in ("bonferroni", "holm"):
        found = matrix_of(tests, content.parts[0], correction)
        assert np.array_equal(found.shares, [[np.nan, 0, 0], [1, np.nan, 1], [0, 0, np.nan]], equal_nan=True)
        assert (found.m, found.cells) == (3 * 2 * 2, 2)  # six ordered pairs, two attacks
        assert found.reachable
    psnr = matrix_of(pairs_by(content, "psnr"), content.parts[0]).shares
    assert np.array_equal(psnr, [[np.nan, 1, 0], [0, np.nan, 0], [0, 1, np.nan]], equal_nan=True)


def test_too_few_images_find_nothing_and_the_matrix_says_so(fake: FakeStore, tmp_path: Path):
    content = compared(fake, tmp_path, count=6)
    found = matrix_of(pairs_by(content, "d_defended"), content.parts[0])
    assert not found.reachable  # 2^-6 times 12 tests
    assert np.nansum(found.shares) == 0


def test_a_pair_without_a_common_cell_is_not_tested(fake: FakeStore, tmp_path: Path):
    first = Defence(IDENTITY, moved(0), {"x": moved(20)})
    second = Defence(BLUR, moved(0), {"y": moved(10)})
    add_quality(fake, "a", [Line("x"), Line("y", attack={"name": "fgsm"})], [first, second], [1.0] * COUNT)
    content = build_content(build_table(fake.write(tmp_path)))
    assert content is not None
    found = matrix_of(pairs_by(content, "d"), content.parts[0])
    assert found.m == 0
    assert np.isnan(found.shares).all()


def transferred(fake: FakeStore, suite: str, factor: float) -> None:
    """The attack on row i moves the score behind column j by ``factor`` times 10 i + j."""
    names = [IDENTITY, BLUR, NOISE]

    def scores(row: int, column: int) -> list[list[float]]:
        return one([50 + factor * (10 * row + column)] * 4)

    defences = [
        Defence(
            defence,
            one([50.0] * 4),
            {"x": scores(column, column)},
            transferred={
                ("x", canonical(maker)): (maker, scores(row, column))
                for row, maker in enumerate(names)
                if row != column
            },
        )
        for column, defence in enumerate(names)
    ]
    add_quality(fake, suite, [Line("x", EXACT, transfer=True)], defences, [1.0, 2.0, 3.0, 4.0])


def test_transfer_has_makers_in_rows_and_the_adaptive_attack_on_the_diagonal(fake: FakeStore, tmp_path: Path):
    transferred(fake, "a", 1.0)
    transferred(fake, "b", 2.0)
    content = build_content(build_table(fake.write(tmp_path)))
    assert content is not None
    first, _, mean = content.transfer
    assert first.defences == tuple(canonical(one) for one in (IDENTITY, BLUR, NOISE))
    gains = np.array([[0, 1, 2], [10, 11, 12], [20, 21, 22]], dtype=float)
    assert first.values["gain"] == pytest.approx(gains)
    assert first.values["broken"] == pytest.approx(100.0 * (gains > 10))
    assert (mean.suite, mean.suites, mean.images) == ("", 2, 4)
    assert mean.values["gain"] == pytest.approx(1.5 * gains)


def test_transfer_of_a_classifier_is_its_robust_accuracy(rich: FakeStore, tmp_path: Path):
    cell, result = next(pair for pair in rich.cells if pair[0].suite == "scenes" and pair[0].label == "APGD-EOT")
    maker = {"name": "median_blur", "size": 3}
    settings = {**cell.settings, "maker": maker}
    label = f"APGD-EOT [made on {canonical(maker)}]"
    rich.cells.append((type(cell)("score", "scenes", settings, "transfer", label), result))
    content = build_content(build_table(rich.write(tmp_path)))
    assert content is not None
    (found,) = content.transfer
    assert found.label == "APGD-EOT"
    value = found.values["robust"][found.defences.index(canonical(maker)), 0]
    assert value == pytest.approx(100 - 100 * np.mean([np.mean(row) for row in result.columns["broken"]]))


def ranked(fake: FakeStore, folder: Path, **options: object):
    rng = np.random.default_rng(0)
    truth = [float(image) for image in range(COUNT)]
    noise = rng.normal(size=COUNT)
    defences = [
        Defence(
            defence,
            moved(0),
            {"x": one([50 + by + 0.01 * image + far * noise[image] for image in range(COUNT)])},
            psnr=[psnr] * COUNT,
            milliseconds=time,
        )
        for defence, by, far, psnr, time in (
            (IDENTITY, 20.0, 0.01, 50.0, 1.0),
            (BLUR, 10.0, 0.02, 30.0, 2.0),
            (JPEG, 10.0, 0.02, 20.0, 3.0),
        )
    ]
    add_quality(fake, "a", [Line("x", BLIND)], defences, truth)
    return composite_rank(measure(entries_of(build_table(fake.write(folder)))), **options)  # type: ignore[arg-type]


def test_composite_is_the_weighted_mean_of_ranks(fake: FakeStore, tmp_path: Path):
    order = ranked(fake, tmp_path)
    assert order is not None
    assert set(order.weights.values()) == {0.2}
    found = {one.preset: one for one in order.ranked}
    identity, blur, jpeg = (found[canonical(one)] for one in (IDENTITY, BLUR, JPEG))
    assert identity.ranks == {"srocc_attacked": 1, "d_defended": 3, "r": 3, "psnr": 1, "milliseconds": 1}
    assert blur.ranks == {"srocc_attacked": 2.5, "d_defended": 1.5, "r": 1.5, "psnr": 2, "milliseconds": 2}
    assert identity.mean == pytest.approx(1.8)
    assert jpeg.mean == pytest.approx((2.5 + 1.5 + 1.5 + 3 + 3) / 5)
    for one_place in order.ranked:
        assert one_place.low <= one_place.mean <= one_place.high


def test_only_weighted_scores_count_and_overlap_shares_places(fake: FakeStore, tmp_path: Path):
    order = ranked(fake, tmp_path, weights={"d_defended": 3.0, "milliseconds": 0.0})
    assert order is not None
    assert order.weights == {"d_defended": 1.0}
    places = {one.preset: (one.first, one.last) for one in order.ranked}
    assert places == {canonical(BLUR): (1, 2), canonical(JPEG): (1, 2), canonical(IDENTITY): (3, 3)}


@pytest.mark.parametrize(
    ("weights", "words"), [({"nonsense": 1.0}, "unknown"), ({"d": -1.0}, "negative"), ({}, "zero")]
)
def test_composite_refuses_weights_without_a_meaning(weights: dict[str, float], words: str):
    with pytest.raises(ValueError, match=words):
        composite_rank([], weights)
