"""Attacks on the numbers behind an image: flows, fields of colour, hints. They own the way from there to pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lustral.attacks.best import Best
from lustral.attacks.oracle import Oracle
from lustral.tensors import Images

__all__ = ["climb"]


def climb(
    oracle: Oracle,
    x: Images,
    start: Tensor,
    render: Callable[[Tensor], Images],
    project_: Callable[[Tensor], Tensor],
    *,
    steps: int,
    rate: float,
    loss: str | None = None,
    penalty: Callable[[Tensor], Tensor] | None = None,
    confidence: float | None = None,
) -> Images:
    """Adam on parameters whose image raises the objective, less a penalty; the best image on the way stands.

    The oracle differentiates what it owns, the system behind the image; the way from the parameters to the image
    belongs to the attack and is differentiated here, so that no threat model learns more than it grants.
    A broken image beats any other, then the larger objective wins.

    Cost: ``steps`` gradients and one loss per image and draw.

    Args:
        oracle: of the attacked system.
        x: clean images (n, 3, h, w).
        start: first parameters (n, ...); they are changed.
        render: parameters (n, ...) -> images (n, 3, h, w) in [0, 1], differentiable, row by row.
        project_: moves parameters back to where they are allowed, in place.
        steps: of Adam.
        rate: its learning rate, in units of the parameters.
        loss: name of the loss that the oracle is asked for; None is the natural one.
        penalty: parameters (n, ...) -> what they cost (n,).
        confidence: beyond this loss an image gains nothing and only its penalty falls; None is never.

    Returns:
        Images that ``render`` made (n, 3, h, w).
    """
    best, rows = Best(x), torch.arange(len(x), device=x.device)
    enough = torch.inf if confidence is None else confidence
    theta = start.detach()
    adam = torch.optim.Adam([theta], lr=rate)
    for _ in range(steps):
        with torch.enable_grad():
            leaf = theta.clone().requires_grad_()
            image = render(leaf)
            cost = x.new_zeros(len(x)) if penalty is None else penalty(leaf)
        point = image.detach()
        value, broken, gradient = oracle.gradient(point, rows, loss)
        best.offer(rows, point, value.clamp_max(enough) - cost.detach(), broken)
        pushes = (value < enough).to(gradient)[:, None, None, None]
        with torch.enable_grad():
            objective = (image * (gradient * pushes)).sum() - cost.sum()
        theta.grad = torch.autograd.grad(-objective, leaf)[0]
        adam.step()
        project_(theta)
    with torch.no_grad():
        point = render(theta)
        cost = x.new_zeros(len(x)) if penalty is None else penalty(theta)
    value, broken = oracle.loss(point, rows, loss)
    best.offer(rows, point, value.clamp_max(enough) - cost, broken)
    return best.x
