"""Large questions in passes that fit into memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lustral.seeds import Noise

__all__ = ["in_groups", "slopes"]

Ask = Callable[[Tensor, Noise, int], tuple[Tensor, ...]]


def in_groups(ask: Ask, x: Tensor, draws: int, noise: Noise, batch: int) -> tuple[Tensor, ...]:
    """Ask about images in groups of at most ``batch`` passes: several images, or some draws of one image.

    Args:
        ask: ``(places (m,), noise, draws)`` -> tensors (m, ...) that are means over the ``draws`` draws.
        x: all images (n, ...).
        draws: passes per image.
        noise: one stream per pass, the draws of one image side by side; anything else is handed on as it is,
            for systems that are not random.
        batch: most passes at once.

    Returns:
        What ``ask`` gives, for all images and averaged over all draws.
    """
    pieces = [draws] if draws <= batch else [len(piece) for piece in torch.arange(draws).split(batch)]
    found: list[tuple[Tensor, ...]] = []
    for part in torch.arange(len(x), device=x.device).split(max(1, batch // draws)):
        for index, piece in enumerate(pieces):
            if piece * len(part) == len(noise) or len(noise) != draws * len(x):
                some = noise
            else:
                span = torch.arange(piece, device=part.device) + sum(pieces[:index])
                some = noise.select((part[:, None] * draws + span).flatten())
            found.append(ask(part, some, piece))
    if len(found) == 1:
        return found[0]
    columns = tuple(map(torch.cat, zip(*found, strict=True)))
    return columns if len(pieces) == 1 else tuple(_mean(column, pieces) for column in columns)


def slopes(losses: Tensor, x: Tensor) -> Tensor:
    """Gradients of losses (m,) or (m, c), each of its own image, to the images only: (m, 3, h, w) or (m, c, 3, h, w).

    Weights that somebody left unfrozen cost nothing.
    """
    sums = losses.sum(0).view(-1).unbind()
    found = [
        torch.autograd.grad(one, x, retain_graph=one is not sums[-1], allow_unused=True, materialize_grads=True)[0]
        for one in sums
    ]
    return found[0] if losses.ndim == 1 else torch.stack(found, 1)


def _mean(column: Tensor, pieces: list[int]) -> Tensor:
    """Mean over the draws of values (n * pieces, ...) that are means over pieces of them."""
    split = column.unflatten(0, (-1, len(pieces)))
    return sum((split[:, k] * (piece / sum(pieces)) for k, piece in enumerate(pieces)), torch.zeros_like(split[:, 0]))
