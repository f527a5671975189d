"""Importing torchvision where its compiled part does not match the installed torch.

A torchvision built for CUDA next to a torch built for the CPU fails on import, because two operators that
it describes were never defined. Defining them (without an implementation: no classifier uses them) is enough.
Only tests do this; users are told to install matching packages.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings

import pytest
import torch

_LIBRARIES: list[torch.library.Library] = []  # the operators vanish with the object that defined them


def require_torchvision() -> None:
    """Make ``import torchvision`` and ``import timm`` work, or skip the test with the reason."""
    for name in ("torchvision", "timm"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed; it comes with the extra classify")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the compiled part that could not be loaded
        try:
            importlib.import_module("torchvision")
        except RuntimeError as problem:
            if "does not exist" not in str(problem):
                raise
            library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _LIBRARIES.append(library)
            importlib.import_module("torchvision")
