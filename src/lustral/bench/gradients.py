"""Is the gradient that attacks follow the derivative of what is deployed? Indicator I1."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lustral.attacks.goals import Goal
from lustral.bench.evidence import GradientCheck
from lustral.purifiers import PurifierSettings
from lustral.seeds import Noise
from lustral.steps import checkpointing
from lustral.targets import TargetSettings
from lustral.tensors import Images

__all__ = ["Defended", "build_in_float64", "check_gradient"]

PerImage = Float[Tensor, " n"]
PerDirection = Float[Tensor, "n k"]

DIRECTIONS = 8
STRIDES = (1e-7, 1e-8, 1e-9)
"""Steps of the differences in every pixel. Smooth parts agree over the first. A kink between both ends (a ReLU, a
maximum, a median) spoils a difference, ten times more rarely over a tenth of the step; a wrong gradient disagrees
over all of them. Rounding stays below a relative 1e-6."""

ENOUGH = 1e-6
"""Relative error below which a shorter step is not worth its cost."""


class Defended(NamedTuple):
    """A target and the purifier before it, both of one precision."""

    target: Callable[[Images], Tensor]
    purifier: Callable[[Images, Noise], Images]


def build_in_float64(target: TargetSettings, purifier: PurifierSettings, device: str = "cpu") -> Defended:
    """Modules of their own: those that other cells share must stay in float32."""
    network = target.build(device).double()
    return Defended(network, purifier.build(device, network if purifier.needs_target else None).double())


def check_gradient(deployed: Defended, exact: Defended, goal: Goal, x: Images, noise: Noise) -> GradientCheck | str:
    """Compare the gradient of the attacker's margin near ``x`` with what it should be, in four ways.

    With the same noise throughout: autograd in float64 against central differences along random directions;
    autograd that recomputes every ``lustral.steps.step`` against autograd that keeps them; float32 against
    float64; and against zero. Errors of an image are relative to the largest slope over its directions, and of
    three steps of the differences the one that agrees best counts.

    Args:
        deployed: what is attacked, in float32.
        exact: modules of the same settings in float64.
        goal: what the attacker wants; its margin is differentiated, which unlike a cross-entropy does not fade
            where the target is certain.
        x: float32 images (n, 3, h, w).
        noise: the defence's randomness, and that of point and directions.

    Returns:
        The measured numbers, or in words why float64 is not possible.

    Cost: per image 3 gradients and 18 forward passes; 16 or 32 more where kinks are in the way. The gradient that
        keeps every step needs the memory of all of them.

    Source: the faults of gradients that DiffBreak lists, arXiv:2411.16598, appendix D.
    Differs: the test by differences and its thresholds are ours.
    """
    x = _generic_point(x, noise.fork("point"))
    wide = x.double()
    try:
        _slopes(exact, goal, wide, noise, torch.zeros_like(wide))
    except (RuntimeError, ValueError) as error:
        return f"it does not run in float64: {error}"[:200]
    single = _gradient(deployed, goal, x, noise).double()
    # Kernels chosen anew in the second pass would make a difference that is not the purifier's.
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        plain = _gradient(exact, goal, wide, noise)
        with checkpointing():
            recomputed = _gradient(exact, goal, wide, noise)
    return GradientCheck(
        error=_numbers(_largest_error(exact, goal, wide, noise, plain)),
        difference=_numbers((recomputed - plain).abs().flatten(1).amax(1)),
        cosine=_numbers(_cosine(single, plain)),
        zero=np.asarray((plain == 0).flatten(1).all(1).cpu().numpy(), dtype=np.bool_),
    )


def _generic_point(x: Images, noise: Noise) -> Images:
    """A point within 0.0125 of ``x``, and inside [0.0075, 0.9925], where nothing is tied.

    8-bit images sit on kinks: equal neighbours under a median or a maximum, pixels at 0 and 1 under a clamp.
    There the derivative depends on the side from which one looks.
    """
    return 0.01 + 0.98 * x + 0.005 * (noise.uniform(x) - 0.5)


def _margins(system: Defended, goal: Goal, n: int, x: Images, noise: Noise) -> PerImage:
    """The margin of each image; ``x`` holds the ``n`` images of the goal once or several times over."""
    outputs = system.target(system.purifier(x, noise.replay()))
    return goal.margin(outputs, torch.arange(len(x), device=x.device) % n)


def _gradient(system: Defended, goal: Goal, x: Images, noise: Noise) -> Images:
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        margins = _margins(system, goal, len(x), leaf, noise)
        if not margins.requires_grad:  # a purifier under no_grad leaves no graph
            return torch.zeros_like(x)
        (found,) = torch.autograd.grad(margins.sum(), leaf, allow_unused=True, materialize_grads=True)
    return found


def _largest_error(system: Defended, goal: Goal, x: Images, noise: Noise, gradient: Images) -> PerImage:
    """Largest relative error per image of ``gradient`` against central differences, over directions."""
    toward = [noise.fork(f"direction {number}").normal(x) for number in range(DIRECTIONS)]
    found = torch.stack([(gradient * direction).flatten(1).sum(1) for direction in toward], 1)  # (n, k)
    error = torch.full_like(found, torch.inf)
    for stride in STRIDES:
        expected = torch.stack([_slopes(system, goal, x, noise, stride * direction) for direction in toward], 1)
        error = torch.minimum(error, _errors(found, expected / stride))
        if bool((error <= ENOUGH).all()):
            break
    return error.amax(1)


@torch.no_grad()
def _slopes(system: Defended, goal: Goal, x: Images, noise: Noise, step: Images) -> PerImage:
    """Half the difference of the margins one ``step`` ahead and one behind."""
    twice = noise.select(torch.arange(len(x)).repeat(2))
    ahead, behind = _margins(system, goal, len(x), torch.cat([x + step, x - step]), twice).chunk(2)
    return (ahead - behind) / 2


def _errors(found: PerDirection, expected: PerDirection) -> PerDirection:
    """Error per direction relative to the largest slope of the image; infinite where a slope is not finite."""
    largest = torch.maximum(found.abs(), expected.abs()).amax(1, keepdim=True)
    error = (found - expected).abs() / largest.clamp(min=torch.finfo(found.dtype).tiny)
    return error.nan_to_num(torch.inf, torch.inf)


def _cosine(a: Images, b: Images) -> PerImage:
    """Cosine per image; 1 where both are zero, 0 where one is."""
    a, b = a.flatten(1), b.flatten(1)
    lengths = a.norm(dim=1) * b.norm(dim=1)
    both_zero = (a == 0).all(1) & (b == 0).all(1)
    cosine = (a * b).sum(1) / lengths.clamp(min=torch.finfo(a.dtype).tiny)
    return torch.where(both_zero, torch.ones_like(cosine), cosine.nan_to_num(0.0))


def _numbers(values: PerImage) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(values.cpu().numpy(), dtype=np.float64)
