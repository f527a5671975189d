"""EDM: add noise and go back by Heun's method in a few steps, without further noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.diffusion import DiffusionPurifier
from lustral.settings import Number

if TYPE_CHECKING:
    from lustral.diffusion.samplers import Denoise, State
    from lustral.seeds import Noise

__all__ = ["EDM"]

LOWEST = 0.02  # last level before 0; what ``lustral train denoiser`` goes down to


class EDM(DiffusionPurifier):
    """Add noise of deviation ``sigma`` and follow the probability flow back: cheap, its only noise the one added.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        sigma: deviation of the noise for images in [-1, 1]; 0.34 is time step 100 of DiffPure.
        steps: Heun steps back.

    Cost: ``2 steps - 1`` network passes per image.

    Source: Karras et al., arXiv:2206.00364, algorithm 1 with equation 5; as a purifier the multi-step variant in the
        published code of ScoreOpt (arXiv:2307.04333), there by Euler's method.
    Differs: starts at the noisy image instead of pure noise; the lowest level is 0.02 instead of 0.002, the least that
        our denoisers learn. The result is clamped to [0, 1].
    """

    name: ClassVar[str] = "edm"
    source: ClassVar[str] = "Karras et al. 2022, arXiv:2206.00364"
    presets: ClassVar = ({"sigma": 0.25}, {"sigma": 0.34}, {"sigma": 0.5})
    sigma: Number = Field(default=0.34, gt=LOWEST, le=80)
    steps: int = Field(default=5, ge=1, le=1000)

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Network passes per image."""
        return 2 * self.steps - 1

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        from lustral.diffusion.samplers import diffuse, heun
        from lustral.diffusion.schedules import edm_sigmas

        schedule = edm_sigmas(self.steps, self.sigma, LOWEST)
        x = diffuse(x, schedule, self.steps, noise)
        return heun(denoise, x, schedule, schedule.times(self.steps))
