"""Backward passes for steps that have none: a value with somebody else's gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["needs_gradient", "substitute"]


class _Substitute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, carrier: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] torch types it (*args)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride] torch types it (*args)
        return None, gradient


def needs_gradient(x: Tensor) -> bool:
    """Whether autograd is recording operations on ``x``."""
    return torch.is_grad_enabled() and x.requires_grad


def substitute(value: Tensor, carrier: Tensor) -> Tensor:
    """Bit-exactly ``value`` forward, the gradient of ``carrier`` backward.

    The usual ``carrier + (value - carrier).detach()`` has the same gradient but rounds the value.

    Raises:
        ValueError: shapes or dtypes differ.

    >>> x = torch.tensor([0.3], requires_grad=True)
    >>> y = substitute(x.detach().round(), x)
    >>> y.item(), torch.autograd.grad(y.sum(), x)[0].item()
    (0.0, 1.0)
    """
    if value.shape != carrier.shape or value.dtype != carrier.dtype:
        raise ValueError(
            f"value and carrier must agree in shape and dtype, got {tuple(value.shape)} {value.dtype} "
            f"and {tuple(carrier.shape)} {carrier.dtype}"
        )
    return _Substitute.apply(value.detach(), carrier)  # pyright: ignore[reportReturnType] torch types it as Any or None
