"""Importing packages of an optional extra."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["require_extra"]


def require_extra(module: str, extra: str) -> ModuleType:
    """Import a module that an extra installs.

    Raises:
        ImportError: it is not installed or cannot be imported; one line that names the extra.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as problem:  # RuntimeError: torchvision built for another torch
        reason = " ".join(str(problem).split())[:200]
        raise ImportError(f'{module} cannot be imported ({reason}); pip install "lustral[{extra}]"') from problem
