"""Outputs have not moved since the golden values were reviewed."""

import json
from pathlib import Path

import pytest

from lustral.purifiers import PURIFIERS
from tests.golden.purifiers import fingerprint, photograph

FILE = Path(__file__).parents[1] / "golden" / "purifiers.json"
GOLDEN = json.loads(FILE.read_text())


@pytest.mark.parametrize("name", PURIFIERS)
def test_output_equals_the_golden_value(name: str) -> None:
    if name not in GOLDEN["values"]:
        pytest.fail(f"{name} has no golden value: run `make golden`, look at the difference and commit {FILE.name}")
    now, golden = fingerprint(name), GOLDEN["values"][name]
    hint = f"golden values were made with {GOLDEN['made_with']}; if the change is meant, raise `version` of {name}"
    assert now["settings"] == golden["settings"], hint
    for key in ("mean", "deviation", "values"):
        assert now[key] == pytest.approx(golden[key], abs=1e-4), hint


def test_no_golden_value_is_left_of_a_purifier_that_is_gone() -> None:
    assert set(GOLDEN["values"]) <= set(PURIFIERS)


def test_the_photograph_is_the_one_the_values_were_made_with() -> None:
    assert GOLDEN["values"]["identity"]["mean"] == pytest.approx(float(photograph().mean()), abs=1e-6)
