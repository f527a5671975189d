"""One-shot denoising: add noise and take the denoiser's guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.diffusion import DiffusionPurifier
from lustral.settings import Number

if TYPE_CHECKING:
    from lustral.diffusion.samplers import Denoise, State
    from lustral.seeds import Noise

__all__ = ["OneShot"]


class OneShot(DiffusionPurifier):
    """Add noise of deviation ``sigma`` and denoise in one pass; the cheapest purifier by diffusion.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        sigma: deviation of the noise for images in [-1, 1], twice that for images in [0, 1]: the smoothing
            deviations 0.25, 0.5 and 1 of the paper are 0.5, 1 and 2 here.

    Cost: one network pass per image.

    Source: Carlini et al., arXiv:2206.10550, algorithm 1; also the surrogate by which ScoreOpt (arXiv:2307.04333) is
        attacked, with ``sigma`` 0.25 or 0.5.
    Differs: exactly the noise asked for, the paper has that of the nearest DDPM time step.
    """

    name: ClassVar[str] = "one_shot"
    source: ClassVar[str] = "Carlini et al. 2022, arXiv:2206.10550"
    passes: ClassVar[int] = 1
    presets: ClassVar = ({"sigma": 0.25}, {"sigma": 0.5}, {"sigma": 1.0}, {"sigma": 2.0})
    sigma: Number = Field(default=0.5, gt=0, le=80)

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        from lustral.diffusion.samplers import diffuse, one_shot
        from lustral.diffusion.schedules import edm_sigmas

        schedule = edm_sigmas(1, self.sigma)
        return one_shot(denoise, diffuse(x, schedule, 1, noise), schedule, 1)
