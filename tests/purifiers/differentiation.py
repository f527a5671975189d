"""Checks of purifiers by diffusion over a small network in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from lustral.purifiers.diffusion import DiffusionPurifier
from lustral.steps import checkpointing
from tests.diffusion.examples import images, noise_for, tiny_denoiser

NETWORK = tiny_denoiser()


def value_of(settings: DiffusionPurifier, x: Tensor) -> Tensor:
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(7), dtype=x.dtype)
    return (weights * settings.clean(NETWORK, x, noise_for(len(x)))).sum()


def gradient_of(settings: DiffusionPurifier, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(value_of(settings, x), x)[0]


def gradients_agree(settings: DiffusionPurifier) -> None:
    """Plain and checkpointed ones to the last bit, and both with central differences."""
    x, generator = 0.8 * images(2), torch.Generator().manual_seed(3)
    gradient = gradient_of(settings, x)
    with checkpointing():
        assert torch.equal(gradient_of(settings, x), gradient)
    for _ in range(2):
        direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        slope = (value_of(settings, x + 1e-6 * direction) - value_of(settings, x - 1e-6 * direction)) / 2e-6
        expected = (gradient * direction).sum()
        assert abs(slope - expected) <= 1e-5 * abs(expected)


def image_stands_alone(settings: DiffusionPurifier) -> None:
    """An image does not depend on the others of its batch, and without a gradient no graph is kept."""
    x = 0.8 * images(3)
    together = settings.clean(NETWORK, x, noise_for(3))
    alone = settings.clean(NETWORK, x[1:2], noise_for(3).select([1]))
    torch.testing.assert_close(alone, together[1:2], rtol=0, atol=1e-11)
    assert not together.requires_grad


def passes_taken(settings: DiffusionPurifier) -> int:
    calls: list[Tensor] = []

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(sigma)
        return 0.5 * x

    settings.clean(counted, images(1), noise_for(1))
    return len(calls)
