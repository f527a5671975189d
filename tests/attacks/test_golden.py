"""Attacks have not moved since the golden values were reviewed."""

import json
from pathlib import Path

import pytest

from lustral.attacks import ATTACKS
from tests.golden.attacks import fingerprint

FILE = Path(__file__).parents[1] / "golden" / "attacks.json"
GOLDEN = json.loads(FILE.read_text())


@pytest.mark.parametrize("name", ATTACKS)
def test_result_equals_the_golden_value(name: str) -> None:
    if name not in GOLDEN["values"]:
        pytest.fail(f"{name} has no golden value: run `make golden`, look at the difference and commit {FILE.name}")
    now, golden = fingerprint(name), GOLDEN["values"][name]
    hint = f"golden values were made with {GOLDEN['made_with']}; if the change is meant, raise `version` of {name}"
    assert now["settings"] == golden["settings"], hint
    assert now["queries"] == golden["queries"], hint
    for key in ("margins", "shift"):
        assert now[key] == pytest.approx(golden[key], abs=1e-3), hint


def test_no_golden_value_is_left_of_an_attack_that_is_gone() -> None:
    assert set(GOLDEN["values"]) <= set(ATTACKS)
