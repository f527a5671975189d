"""Outputs of every target on one fixed photograph."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lustral.targets import TARGETS
from tests.golden.purifiers import photograph
from tests.targets.examples import example


def fingerprint(name: str) -> dict[str, object]:
    """The first ten logits, or the score."""
    with tempfile.TemporaryDirectory() as folder:
        target = example(name, Path(folder)).build()
    return {"outputs": [round(float(value), 5) for value in target(photograph()).flatten()[:10]]}


def fingerprints() -> dict[str, dict[str, object]]:
    return {name: fingerprint(name) for name in TARGETS}
