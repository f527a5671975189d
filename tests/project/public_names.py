"""Names that users may rely on. After a change that is meant: ``python -m tests.project.public_names``."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

FILE = Path(__file__).with_name("public_names.json")

MODULES = (
    "lustral",
    "lustral.attacks",
    "lustral.catalogue",
    "lustral.data",
    "lustral.defended",
    "lustral.evaluation",
    "lustral.images",
    "lustral.measures",
    "lustral.purifiers",
    "lustral.report",
    "lustral.seeds",
    "lustral.settings",
    "lustral.targets",
    "lustral.tensors",
    "lustral.weights",
)
LISTS = {
    "lustral.attacks": "ATTACKS",
    "lustral.data": "DATA",
    "lustral.purifiers": "PURIFIERS",
    "lustral.targets": "TARGETS",
}


def public_names() -> dict[str, list[str]]:
    """Names of ``__all__`` by module; methods are left out, because their names are the keys of their dictionary."""
    return {module: _names(module) for module in MODULES}


def _names(module: str) -> list[str]:
    loaded = importlib.import_module(module)
    methods = getattr(loaded, LISTS[module]).values() if module in LISTS else ()
    return sorted(name for name in loaded.__all__ if not any(getattr(loaded, name) is method for method in methods))


if __name__ == "__main__":
    FILE.write_text(json.dumps(public_names(), indent=1) + "\n", encoding="utf-8")
