"""Published rows beside ours, against numbers worked out by hand; and a recipe without them is as it was."""

from __future__ import annotations

import csv
import json
import tomllib
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from conftest import BLIND, EVIL, EXACT, FakeStore, add_suite
from test_table import NOISE, add_noise_suite
from tests.project.tables import claims as docs_table

from lustral.bench.plan import make_plan
from lustral.bench.recipe import parse_recipe
from lustral.measures import paired_interval
from lustral.report import build_table, write_report
from lustral.report.claims import CLAIM_COLUMNS, build_claims, claims_to_csv
from lustral.settings import SettingsError

SMALL = Path(__file__).parents[1] / "bench" / "small.toml"
CLAIM = {
    "table": "Table 1",
    "paper": "A paper",
    "row": "Noise (ours)",
    "suite": "s",
    "defence": NOISE,
    "clean": 90.06,
    "robust": 83.0,
    "threat": "blind, Linf 8/255",
    "same": "blind",
}


def write(fake: FakeStore, folder: Path, *published: dict[str, Any]) -> Path:
    return fake.write(folder, published=list(published))


def test_three_columns_are_the_papers_the_same_threat_and_the_worst_attack(fake: FakeStore, tmp_path: Path):
    add_noise_suite(fake)
    table = build_table(write(fake, tmp_path, CLAIM))
    (claim,) = build_claims(table)
    assert claim["printed"] == pytest.approx({"clean": 0.9006, "robust": 0.83})
    assert claim["clean"]["average"] == (3 + 0.75) / 4
    rows = {row["attack"]: row for row in table.rows}
    assert claim["same"]["robust"] == rows["blind"]["robust"]
    assert claim["same"]["robust"]["average"] == (1 + 1 + 1 / 4 + 0) / 4
    assert claim["standard"]["robust"] == rows["worst of all"]["robust"]
    assert claim["standard"]["robust"]["average"] == (0.5 + 1 + 0.25 + 0) / 4
    assert (claim["same"]["n"], claim["standard"]["n"]) == (4, 4)
    assert claim["standard"]["attack"] == "worst of blind, exact"
    assert claim["indicator_string"] == rows["blind"]["indicator_string"]
    assert isnan(claim["same"]["difference"]["average"])


def test_the_standard_protocol_can_be_some_of_the_attacks(fake: FakeStore, tmp_path: Path):
    add_noise_suite(fake)
    (claim,) = build_claims(build_table(write(fake, tmp_path, {**CLAIM, "standard": ["exact"], "robust": None})))
    assert claim["standard"]["attack"] == "exact"
    assert claim["standard"]["robust"]["average"] == (0.5 + 1 + 1 + 0.5) / 4
    assert isnan(claim["printed"]["robust"])


def test_a_difference_is_paired_over_images(tmp_path: Path):
    fake = FakeStore()
    defences = [({"name": "identity"}, False, 0.2), (NOISE, True, 0.6)]
    add_suite(fake, "s", "classifier", defences, [("blind", BLIND, 0.1), ("exact", EXACT, 0.6)])
    table = build_table(write(fake, tmp_path, {**CLAIM, "against": {"name": "identity"}}))
    (found,) = build_claims(table)
    held = {}
    for result in table.results:
        if result.label == "blind":
            held[result.defence["name"]] = 1 - result.samples.flags("broken").mean(axis=1)
    difference = held["random_noise"] - held["identity"]
    own = found["same"]["difference"]
    assert own["average"] == pytest.approx(difference.mean())
    assert (own["low"], own["high"]) == paired_interval(difference)
    assert own["n"] == 12
    assert 0 < own["p"] <= 1


def test_a_claim_of_a_run_that_lacks_an_attack_is_not_run(fake: FakeStore, tmp_path: Path):
    add_noise_suite(fake)
    fake.cells = [(cell, result) for cell, result in fake.cells if cell.label != "exact"]
    (claim,) = build_claims(build_table(write(fake, tmp_path, CLAIM)))
    assert claim["same"]["n"] == 4
    assert claim["standard"]["n"] == 0  # the worst of what happens to be there would look better than it is
    assert isnan(claim["standard"]["robust"]["average"])


def test_exports_have_all_columns_and_fill_a_table_of_the_docs(fake: FakeStore, tmp_path: Path):
    add_noise_suite(fake)
    folder = write(fake, tmp_path, {**CLAIM, "row": EVIL[3], "threat": "a | b"})
    page = write_report(folder).read_text(encoding="utf-8")
    assert 'id="claims"' in page
    assert "90.06" in page
    text = (folder / "claims.csv").read_text()
    (line,) = csv.DictReader(text.splitlines())
    assert tuple(line) == CLAIM_COLUMNS
    assert (line["printed.clean"], line["same.robust.average"], line["same.n"]) == ("0.900600", "0.562500", "4")
    assert line["row"].startswith("'=cmd")
    assert json.loads((folder / "claims.json").read_text())[0]["standard"]["robust"]["average"] == 0.4375
    head, _, body = docs_table(folder / "claims.csv").splitlines()
    assert body.replace("\\|", "").count("|") == head.count("|")
    assert "| 90.06 | 83.00 |" in body
    assert "worst of blind, exact, n = 4" in body
    assert (folder / "report" / "claims.md").read_text().startswith("| Published row |")


def test_a_report_without_claims_has_no_trace_of_them(fake: FakeStore, tmp_path: Path):
    add_noise_suite(fake)
    page = write_report(write(fake, tmp_path, CLAIM))
    again = json.loads((tmp_path / "recipe.json").read_text())
    (tmp_path / "recipe.json").write_text(json.dumps({key: again[key] for key in again if key != "published"}))
    assert 'id="claims"' not in write_report(tmp_path).read_text(encoding="utf-8")
    assert not list(tmp_path.rglob("claims.*"))
    assert page.exists()


def test_evil_claims_are_text(fake: FakeStore, tmp_path: Path):
    add_noise_suite(fake)
    folder = write(fake, tmp_path, *({**CLAIM, "row": name, "paper": name, "threat": name} for name in EVIL))
    page = write_report(folder).read_text(encoding="utf-8")
    section = page[page.index('id="claims"') : page.index('id="results"')]
    assert not any(tag in section for tag in ("<script", "<img", "<svg", "\u202e", "\x1b"))
    assert "&lt;script&gt;alert(1)" in section


@pytest.fixture
def values() -> dict[str, Any]:
    return tomllib.loads(SMALL.read_text())


SCENES = {**CLAIM, "suite": "scenes", "defence": "random_noise", "same": "PGD", "against": "bit_depth"}


def test_a_recipe_without_claims_is_what_it_was_and_claims_change_no_cell(values: dict[str, Any]):
    plain = parse_recipe(values)
    assert "published" not in plain.to_json()
    recipe = parse_recipe({**values, "published": [{**SCENES, "standard": ["PGD", "blind FGSM"]}]})
    assert parse_recipe(recipe.to_json()) == recipe
    assert [cell.id for cell in make_plan(recipe).cells] == [cell.id for cell in make_plan(plain).cells]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suite": "scene"}, "names an unknown suite: 'scene'; known: 'scenes'"),
        ({"defence": "jpeg"}, "unknown defence of suite 'scenes': 'jpeg:.*known: 'identity', 'bit_depth:bits="),
        ({"against": "flip"}, "unknown defence of suite 'scenes': 'flip:axes=both'"),
        ({"same": "APGD"}, "unknown attack label of suite 'scenes': 'APGD'; known: 'blind FGSM', 'PGD'"),
        ({"standard": ["PGD", "AA"]}, "unknown attack label of suite 'scenes': 'AA'"),
        ({"robust": 183.0}, "published.0.robust: .*less than or equal to 100"),
        ({"rows": "x"}, "known keys: table, paper, row, suite"),
        ({"defence": "jpge"}, "did you mean 'jpeg'"),
    ],
)
def test_mistakes_in_claims_are_explained(values: dict[str, Any], change: dict[str, Any], message: str):
    with pytest.raises(SettingsError, match=message):
        parse_recipe({**values, "published": [{**SCENES, **change}]})


def test_the_csv_of_no_claims_is_its_heading():
    assert claims_to_csv([]) == ",".join(CLAIM_COLUMNS) + "\n"
