"""Langevin purification: no noising first, a walk around the input that the score pulls to natural images."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.diffusion import DiffusionPurifier
from lustral.settings import Number

if TYPE_CHECKING:
    from lustral.diffusion.samplers import Denoise, State
    from lustral.seeds import Noise

__all__ = ["Langevin"]

LEVEL = 10  # time step at which the score is taken all along: t = 0.01
STRIDE = 10  # time steps of one Euler step: 0.01


class Langevin(DiffusionPurifier):
    """Langevin dynamics on the score at t = 0.01, tied to the input; DiffPure's variant "ldsde".

    Over the span ``time / 1000`` it solves, with the input y and the score s,
    ``dx = rate / 2 (s(x) - (x - y) / variance) dt + sqrt(rate) temperature dw`` by Euler's method.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        time: length of the walk in time steps; a walk takes one step for every ten, the last one may be shorter.
        variance: of the Gaussian around the input that holds the walk, for images in [-1, 1] (the paper's sigma^2).
        rate: speed of the walk (lambda).
        temperature: factor of its noise (eta).

    Cost: ``time / 10`` network passes per image, rounded up.

    Source: Nie et al., arXiv:2205.07460, the LD-SDE that it compares with; defaults of the published code.
    Differs: ends at 0 instead of 1e-5; the result is clamped to [0, 1].
    """

    name: ClassVar[str] = "langevin"
    source: ClassVar[str] = "Nie et al. 2022, arXiv:2205.07460 (LD-SDE)"
    time: int = Field(default=100, ge=1, le=1000)
    variance: Number = Field(default=1e-3, gt=0)
    rate: Number = Field(default=1e-2, gt=0)
    temperature: Number = Field(default=5.0, ge=0)

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Network passes per image."""
        return math.ceil(self.time / STRIDE)

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        from lustral.diffusion.schedules import vp_continuous
        from lustral.steps import show, step

        start = x
        x = start.clone()  # two inputs of the first step, summed alike with and without checkpointing
        for done in range(0, self.time, STRIDE):
            span = min(STRIDE, self.time - done) / 1000
            x = step(partial(self._move, denoise, span=span), x, start, noise.normal(x))
            show("state", x=x, schedule=vp_continuous(), t=LEVEL)
        return x

    def _move(self, denoise: Denoise, x: State, start: State, z: State, span: float) -> State:
        from lustral.diffusion.samplers import denoised
        from lustral.diffusion.schedules import vp_continuous

        schedule = vp_continuous()
        scale = schedule.scales[LEVEL]
        score = (scale * denoised(denoise, x, schedule, LEVEL) - x) / (scale * schedule.sigmas[LEVEL]) ** 2
        drift = 0.5 * self.rate * (score - (x - start) / self.variance)
        return x + span * drift + math.sqrt(self.rate * span) * self.temperature * z
