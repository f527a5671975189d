"""Tests of lustral.measures, and how to reach its own error messages."""

from __future__ import annotations

import importlib.util
from types import ModuleType


def plain(module: ModuleType) -> ModuleType:
    """A copy of the module as users load it, without the shape checks that this test run adds."""
    spec = importlib.util.spec_from_file_location(f"plain_{module.__name__.rpartition('.')[2]}", module.__file__)
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy
