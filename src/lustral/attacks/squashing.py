"""Images as ``(tanh(w) + 1) / 2`` of unbounded numbers w, so that every w is an allowed image."""

from __future__ import annotations

import torch
from torch import Tensor

from lustral.tensors import Images

__all__ = ["squash", "unsquash"]

_INSIDE = 1 - 1e-6  # 0 and 1 themselves would be infinitely far


def squash(w: Tensor) -> Images:
    """Images in [0, 1] of numbers ``w`` (n, 3, h, w)."""
    return torch.tanh(w).add_(1).div_(2)


def unsquash(x: Images) -> Tensor:
    """Numbers (n, 3, h, w) whose images differ from ``x`` by at most 5e-7."""
    return (2 * x - 1).mul_(_INSIDE).atanh_()
