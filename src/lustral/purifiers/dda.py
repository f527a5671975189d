"""DDA: diffusion-driven adaptation, pulled towards the coarse structure of the input at every step."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from lustral.purifiers.diffusion import DiffusionPurifier
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.diffusion.samplers import Denoise, State
    from lustral.seeds import Noise

__all__ = ["DDA", "coarse"]


class DDA(DiffusionPurifier):
    """DDPM loop over respaced time steps whose guess must agree with the input once both are made coarse.

    After every ancestral step the state moves by ``-scale`` times the gradient, through the network, of the Euclidean
    distance between the coarse input and the coarse guess.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        respaced: time steps that are kept of the 1,000.
        start: how many of these to go back; 50 of 100 begin at time step 495.
        factor: the coarse image has 1 / ``factor`` of the side (the paper's D). The paper's 4 keeps 64 x 64 pixels of
            256 x 256, but only 8 x 8 of 32 x 32, for which there is a preset with 2.
        scale: strength of the guidance (w). It is a length: a step moves the whole image, in [-1, 1], by at most about
            this. The paper's 6 is for 256 x 256 pixels, 0.0135 per value; the same per value is 0.75 at 32 x 32, where
            6 means 0.108 per value.

    Cost: ``start`` network passes forward and as many backward, each of these counted as two passes. An exact gradient
        differentiates the backward passes too.

    Source: Gao et al., arXiv:2207.03442, diffusion for input adaptation; settings of the published code.
    Differs: the distance is one per image, theirs one per batch, by which images influence each other; torch's
        antialiased bicubic resampling, which differs from theirs at the borders; fixed variance of the posterior,
        theirs is learnt; without the self-ensemble of the classifier. The result is clamped to [0, 1].
    """

    name: ClassVar[str] = "dda"
    source: ClassVar[str] = "Gao et al. 2023, arXiv:2207.03442"
    presets: ClassVar = ({"scale": 0.75}, {"scale": 6.0}, {"scale": 6.0, "factor": 2})
    respaced: int = Field(default=100, ge=2, le=1000)
    start: int = Field(default=50, ge=1, le=1000)
    factor: int = Field(default=4, ge=2, le=64)
    scale: Number = Field(default=6.0, ge=0)

    @model_validator(mode="after")
    def _starts_within(self) -> Self:
        if self.start > self.respaced:
            raise ValueError(f"start must be at most respaced={self.respaced}, got {self.start}")
        return self

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Network passes per image, a backward pass counted as two."""
        return 3 * self.start

    def times(self) -> tuple[int, ...]:
        """The time steps it visits, descending to 0."""
        kept = [1 + round(k * 999 / (self.respaced - 1)) for k in range(self.respaced)]
        return (*reversed(kept[: self.start]), 0)

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        from lustral.diffusion.samplers import diffuse
        from lustral.diffusion.schedules import vp_linear
        from lustral.steps import show, step

        target, times = coarse(x, self.factor), self.times()
        x = diffuse(x, vp_linear(), times[0], noise)
        for t, s in pairwise(times):
            x = step(partial(self._move, denoise, t=t, s=s), x, target, noise.normal(x))
            show("state", x=x, schedule=vp_linear(), t=s)
        return x

    def _move(self, denoise: Denoise, x: State, target: State, z: State, t: int, s: int) -> State:
        import torch

        from lustral.diffusion.samplers import ancestral_step
        from lustral.diffusion.schedules import vp_linear

        differentiable = torch.is_grad_enabled() and x.requires_grad
        with torch.enable_grad():
            at = x if differentiable else x.detach().requires_grad_()
            moved, guess, _ = ancestral_step(denoise, at, vp_linear(), t, s, z)
            distance = _distances(coarse(guess, self.factor), target if differentiable else target.detach())
            # Always with a graph: without one some derivatives are rounded otherwise, and a purified image
            # would depend in its last bits on whether anybody asks for its gradient.
            (slope,) = torch.autograd.grad(distance.sum(), at, create_graph=True)
            moved = moved - self.scale * slope
        return moved if differentiable else moved.detach()


def _distances(a: State, b: State) -> Tensor:
    """Euclidean distance per image (n,), with a zero gradient where it vanishes."""
    return (a - b).square().flatten(1).sum(1).clamp_min(1e-12).sqrt()


def coarse(x: State, factor: int) -> State:
    """The image at 1 / ``factor`` of its sides, rounded up, and back at its size; bicubic with antialiasing."""
    from torch.nn.functional import interpolate

    height, width = x.shape[2:]
    small = interpolate(x, (-(-height // factor), -(-width // factor)), mode="bicubic", antialias=True)
    return interpolate(small, (height, width), mode="bicubic", antialias=True)
