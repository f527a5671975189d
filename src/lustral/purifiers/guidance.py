"""Gradients that a purifier follows on its way, themselves open to differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["slope"]


def slope(function: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
    """Gradient of ``function(x, *others).sum()`` with respect to ``x`` (n, ...), for use inside ``lustral.steps.step``.

    Where autograd records an input, the result depends differentiably on all of them, and a derivative through it
    has the second-order term. Where it does not, as in deployment, the value is the same to the last bit.

    Args:
        function: one number per image, (n,), that depends on no other image of the batch.
        x: images.
        others: what else ``function`` takes.

    Cost: a forward and a backward pass of ``function``.

    >>> x = torch.tensor([2.0], requires_grad=True)
    >>> g = slope(lambda x: x**3, x)
    >>> g.item(), torch.autograd.grad(g, x)[0].item()
    (12.0, 12.0)
    """
    recorded = torch.is_grad_enabled() and any(value.requires_grad for value in (x, *others))
    with torch.enable_grad():
        at = x if recorded and x.requires_grad else x.detach().requires_grad_()
        value = function(at, *(others if recorded else (other.detach() for other in others)))
        # Without create_graph some backward kernels round differently, and deployment would differ from its gradient.
        found = torch.autograd.grad(value.sum(), at, create_graph=True)[0]
    return found if recorded else found.detach()
