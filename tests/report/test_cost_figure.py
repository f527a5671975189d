"""The figure of cost against quality, and labels that can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import EXACT, FakeStore, add_suite, rich_store

from lustral.report import build_table
from lustral.report.cost_figure import cost_figure, default_measure
from lustral.report.figures import view_rows
from lustral.report.labels import LINE, NARROW, WIDE, Points, place_labels, short_names

PURIFLOW = {"name": "puriflow", "scale": 2, "network": {"name": "edsr", "weights": "photographs_x2"}, "steps": 20}


def rows_of(folder: Path, costs: dict[str, tuple[int, float]]) -> list[Any]:
    fake = FakeStore()
    defences = [({"name": name}, False, robust) for name, robust in
                (("identity", 0.1), ("flip", 0.5), ("median_blur", 0.4), ("jpeg", 0.9))]  # fmt: skip
    add_suite(fake, "scenes", "classifier", defences, [("a", EXACT, 0.0)], count=24)
    rows = view_rows(build_table(fake.write(folder)).rows, "worst")
    for row in rows:
        row["upper_bound"] = False
        row["cost"]["passes"], row["cost"]["milliseconds"] = costs[row["defence_settings"]["name"]]
    return rows


COSTS = {"identity": (0, 0.001), "flip": (10, 3.0), "median_blur": (20, 5.0), "jpeg": (100, 50.0)}


def test_cost_is_the_axis_and_fronts_hold_what_no_cheaper_defence_reaches(tmp_path: Path):
    rows = rows_of(tmp_path, COSTS)
    robust = {row["defence_settings"]["name"]: 100 * row["robust"]["average"] for row in rows}
    assert robust["flip"] > robust["median_blur"]  # cheaper and better: median_blur is on no front
    drawn = {trace["name"]: trace for trace in cost_figure(rows, [0, 1, 2, 3], "passes")["data"] if "name" in trace}
    assert drawn["robust"]["x"] == [0.5, 10, 20, 100]
    assert drawn["robust"]["y"] == pytest.approx([robust[name] for name in COSTS])
    front = drawn["front of robust"]
    assert front["x"] == [0.5, 10, 100, 100]  # its end reaches to the dearest
    assert front["y"][:3] == pytest.approx([robust[name] for name in ("identity", "flip", "jpeg")])
    assert drawn["clean (accuracy)"]["y"] == pytest.approx([100 * row["clean"]["average"] for row in rows])
    figure = cost_figure(rows, [0, 1, 2, 3], "passes")
    assert figure["layout"]["xaxis"]["ticktext"][0] == "0"
    times = cost_figure(rows, [0, 1, 2, 3], "milliseconds")["data"]
    assert next(trace for trace in times if trace.get("name") == "robust")["x"] == [0.01, 3.0, 5.0, 50.0]


def test_an_upper_bound_is_on_no_front_and_an_unmeasured_cost_is_left_out(tmp_path: Path):
    rows = rows_of(tmp_path, {**COSTS, "flip": (10, float("nan"))})
    rows[3]["upper_bound"] = True
    drawn = {t["name"]: t for t in cost_figure(rows, [0, 1, 2, 3], "milliseconds")["data"] if "name" in t}
    assert drawn["front of robust"]["x"] == [0.01, 5.0, 50.0]
    assert drawn["front of robust"]["y"][1] == drawn["front of robust"]["y"][2]
    assert drawn["robust, upper bound only"]["customdata"] == [3]
    assert drawn["robust"]["customdata"] == [0, 2]


def test_a_figure_of_nothing_and_of_a_quality_metric(tmp_path: Path):
    assert cost_figure([], [], "passes")["data"]
    table = build_table(rich_store().write(tmp_path))
    rows = view_rows([row for row in table.rows if row["suite"] == "quality"], "worst")
    assert default_measure(rows) == "milliseconds"
    figure = cost_figure(rows, range(len(rows)), "milliseconds")
    assert "SROCC" in figure["layout"]["yaxis"]["title"]["text"]


def test_names_keep_what_tells_defences_apart():
    long = [{**PURIFLOW, "steps": steps} for steps in (5, 20)]
    chain = {"name": "chain", "parts": [long[0], {"name": "jpeg", "quality": 75, "backward": "identity"}]}
    other = {"name": "chain", "parts": [long[0], {"name": "jpeg", "quality": 50, "backward": "identity"}]}
    names = short_names([*long, chain, other, {"name": "flip"}])
    assert names == [
        "puriflow<br>steps=5",
        "puriflow<br>steps=20",
        "puriflow | jpeg<br>quality=75",
        "puriflow | jpeg<br>quality=50",
        "flip",
    ]
    nested = short_names([PURIFLOW, {**PURIFLOW, "network": {"name": "rrdb", "weights": "photographs_x2"}}])
    assert nested == ["puriflow<br>edsr", "puriflow<br>rrdb"]
    twice = [
        {"name": "chain", "parts": [{"name": "jpeg", "quality": q}, {"name": "jpeg", "quality": 95}]} for q in (5, 9)
    ]
    assert short_names([*twice, {**twice[0], "parts": twice[0]["parts"][::-1]}]) == [
        "jpeg | jpeg<br>0.quality=5,1.quality=95",
        "jpeg | jpeg<br>0.quality=9,1.quality=95",
        "jpeg | jpeg<br>0.quality=95,1.quality=5",
    ]


def test_long_and_evil_names_are_cut_and_harmless():
    (name,) = short_names([{"name": "<img src=x>" * 9, "a": "b" * 99}])
    assert "<img" not in name
    assert len(name.replace("&lt;", "<").replace("&gt;", ">")) <= LINE + len("...")


def test_labels_never_cover_each_other_and_the_first_ones_win():
    points = Points(["first name", "second name", "third name", "far"], [1.0, 1.0, 1.0, 9.0], [50.0, 51.0, 52.0, 50.0])
    labels = place_labels(points, [0, 1, 2, 3], [10.0] * 4, WIDE)
    assert [label.text for label in labels] == ["first name", "second name", "", "far"]
    assert [label.side for label in labels[:2]] == ["top right", "bottom right"]
    assert labels[3].side == "top left"
    crowded = Points(["a long enough name"] * 2, [0.0, 1.0], [50.0, 50.0])
    assert [label.side for label in place_labels(crowded, [0, 1], [10.0] * 2, NARROW)] == ["top right", "top left"]
