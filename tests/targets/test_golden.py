"""Outputs have not moved since the golden values were reviewed."""

import json
from pathlib import Path

import pytest

from lustral.targets import TARGETS
from tests.golden.targets import fingerprint

FILE = Path(__file__).parents[1] / "golden" / "targets.json"
GOLDEN = json.loads(FILE.read_text())


@pytest.mark.parametrize("name", TARGETS)
def test_output_equals_the_golden_value(name: str) -> None:
    if name not in GOLDEN["values"]:
        pytest.fail(f"{name} has no golden value: run `make golden`, look at the difference and commit {FILE.name}")
    hint = f"golden values were made with {GOLDEN['made_with']}; new weights or a change of code moved {name}"
    assert fingerprint(name)["outputs"] == pytest.approx(GOLDEN["values"][name]["outputs"], abs=2e-3, rel=1e-3), hint


def test_no_golden_value_is_left_of_a_target_that_is_gone() -> None:
    assert set(GOLDEN["values"]) <= set(TARGETS)
