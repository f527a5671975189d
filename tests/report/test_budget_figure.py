"""Accuracy against budget: what counts as one attack at several strengths, and what the figure says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import BLIND, EVIL, EXACT, FakeStore, add_suite

from lustral.report import build_table
from lustral.report.budget_figure import budget_figures
from lustral.report.page import make_page
from lustral.report.results import WORST
from lustral.report.table import Row, Table

DEFENCES = [
    ({"name": "identity"}, False, 0.9),
    ({"name": "random_noise", "sigma": 0.05}, True, 0.9),
    ({"name": "jpeg", "quality": 75}, False, 0.7),
]
PGD = {"name": "pgd", "norm": "linf", "steps": 20}


def table_of(
    folder: Path,
    attacks: dict[str, tuple[dict[str, Any], dict[str, Any]]],
    kind: str = "classifier",
    defences: list[tuple[dict[str, Any], bool, float]] = DEFENCES,
) -> Table:
    """A suite whose attacks have the given settings and access, each stronger than the one before."""
    fake = FakeStore()
    lines = [(label, access, index / len(attacks)) for index, (label, (_, access)) in enumerate(attacks.items())]
    add_suite(fake, "scenes", kind, defences, lines, count=24)
    table = build_table(fake.write(folder))
    for row in table.rows:
        if row["attack"] != WORST:
            row["attack_settings"] = attacks[row["attack"]][0]
            if not row["is_random"]:
                row["access_settings"] = {**row["access_settings"], "eot": 1}
    return table


def strengths(*levels: int, access: dict[str, Any] = EXACT, **changes: Any) -> Attacks:
    return {
        f"EOT-PGD, {level}/255": ({**PGD, "epsilon": level / 255, "step": level / 510, **changes}, access)
        for level in levels
    }


def drawn(table: Table) -> list[tuple[str, dict[str, Any]]]:
    return [(one.title, one.figure) for one in budget_figures(table.rows, range(len(table.rows)))]


def share(rows: tuple[Row, ...], defence: str, attack: str) -> float:
    (row,) = [row for row in rows if row["defence_settings"]["name"] == defence and row["attack"] == attack]
    return 100 * row["robust"]["average"]


def test_a_line_per_defence_from_clean_accuracy_to_the_largest_budget(tmp_path: Path):
    table = table_of(tmp_path, strengths(2, 4, 16))
    ((title, figure),) = drawn(table)
    assert title == "EOT-PGD: attacker differentiates the defence, mean of 10 draws"
    lines = {trace["name"]: trace for trace in figure["data"]}
    assert list(lines) == ["no defence", "random_noise:sigma=0.05", "jpeg:quality=75"]
    for name, trace in lines.items():
        defence = name.split(":")[0].replace("no defence", "identity")
        mine = [row for row in table.rows if row["defence_settings"]["name"] == defence]
        clean = mine[0]["clean"]
        assert trace["x"] == [0, 2, 4, 16]
        wanted = [share(table.rows, defence, f"EOT-PGD, {level}/255") for level in (2, 4, 16)]
        assert trace["y"] == pytest.approx([100 * clean["average"], *wanted])
        assert trace["error_y"]["array"][0] == pytest.approx(100 * (clean["high"] - clean["average"]))
        assert len(trace["customdata"]) == len(trace["hovertext"]) == 4
    assert lines["no defence"]["line"]["dash"] == "dash"
    assert "levels of 255" in figure["layout"]["xaxis"]["title"]["text"]


def test_nine_defences_look_different(tmp_path: Path):
    defences = [({"name": "jpeg", "quality": 10 * number}, False, 0.5) for number in range(1, 10)]
    ((_, figure),) = drawn(table_of(tmp_path, strengths(2, 4, 8), defences=defences))
    looks = [(trace["line"]["color"], trace["marker"]["symbol"][0]) for trace in figure["data"]]
    assert len(set(looks)) == len(looks) == 9


def test_only_the_same_attack_with_the_same_knowledge_makes_a_curve(tmp_path: Path):
    other = strengths(1, 8, steps=5)
    blind = {f"blind {label}": value for label, value in strengths(1, 2, 4, access=BLIND).items()}
    attacks = {**strengths(2, 4), **{f"short {label}": value for label, value in other.items()}, **blind}
    attacks["far"] = ({**PGD, "epsilon": 10_000.0}, EXACT)
    ((title, figure),) = drawn(table_of(tmp_path, attacks))
    assert title == "blind EOT-PGD: attacker does not know the defence"
    assert all(trace["x"] == [0, 1, 2, 4] for trace in figure["data"])


def test_of_two_rows_at_one_budget_the_stronger_counts(tmp_path: Path):
    attacks = strengths(2, 4, 8)
    attacks["longer steps, 8/255"] = ({**PGD, "epsilon": 8 / 255, "step": 1.0}, EXACT)
    table = table_of(tmp_path, attacks)
    ((_, figure),) = drawn(table)
    for trace, defence in zip(figure["data"], ("identity", "random_noise", "jpeg"), strict=True):
        weaker, stronger = (share(table.rows, defence, f"{what}, 8/255") for what in ("EOT-PGD", "longer steps"))
        assert stronger < weaker
        assert trace["y"][-1] == pytest.approx(stronger)


def test_l2_has_its_own_axis_and_a_score_has_no_clean_accuracy(tmp_path: Path):
    attacks = {f"PGD-20, l2 {size}": ({**PGD, "norm": "l2", "epsilon": size}, EXACT) for size in (0.25, 0.5, 1.0)}
    ((title, figure),) = drawn(table_of(tmp_path, attacks, "quality"))
    assert title.startswith("PGD-20, l2: ")
    assert "Euclidean" in figure["layout"]["xaxis"]["title"]["text"]
    assert "score holds" in figure["layout"]["yaxis"]["title"]["text"]
    assert all(trace["x"] == [0.25, 0.5, 1.0] for trace in figure["data"])


def test_upper_bounds_are_hollow_and_evil_labels_are_harmless(tmp_path: Path):
    attacks = {f"{EVIL[0]} {level}/255": ({**PGD, "epsilon": level / 255}, EXACT) for level in (2, 4, 8)}
    table = table_of(tmp_path, attacks)
    for row in table.rows:
        row["upper_bound"] = row["defence_settings"]["name"] == "jpeg"
    ((title, figure),) = drawn(table)
    symbols = [trace["marker"]["symbol"] for trace in figure["data"]]
    assert [one[1].endswith("-open") for one in symbols] == [False, False, True]
    assert title.startswith("<script>")  # plain text; the page writes it as text
    assert "<script" not in figure["layout"]["title"]["text"]
    assert "<script>alert" not in make_page(table)


def test_the_page_has_the_figure_where_a_suite_has_one(tmp_path: Path):
    assert '"budgets": [{"figure"' in make_page(table_of(tmp_path / "three", strengths(2, 4, 8)))
    assert '"budgets": []' in make_page(table_of(tmp_path / "two", strengths(2, 4)))
