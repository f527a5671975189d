"""Purification by the variance-exploding SDE: add noise to the image without scaling it, and solve the reverse SDE."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.diffusion import DiffusionPurifier

if TYPE_CHECKING:
    from lustral.diffusion.samplers import Denoise, State
    from lustral.seeds import Noise

__all__ = ["VESDE"]

_SMALLEST = 0.02  # noise level of the last stride but one; denoisers learn no smaller ones


class VESDE(DiffusionPurifier):
    """Add as much noise as DiffPure has at ``time``, relative to the image, and take it off by the reverse VE-SDE.

    The noise levels on the way back are a geometric sequence down to 0.02, and then 0.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        time: time step out of 1,000 of the variance-preserving schedule (the paper's t' = 90), whose noise over signal
            is the sigma that is added.
        steps: strides back; None takes ``time`` of them, as many as DiffPure.

    Cost: ``steps`` network passes per image.

    Source: Park et al. (PuriFlow), ICCV 2025, table 8, with the SDE of Song et al., arXiv:2011.13456, equations 9
        and 46.
    Differs: the paper gives t' = 90 for its VE-SDE too without saying which sigma that is; here it is the sigma of
        the VP-SDE at the same time, 0.31 for images in [-1, 1], so that both are compared at equal noise.
    """

    name: ClassVar[str] = "ve_sde"
    source: ClassVar[str] = "Park et al. 2025 (PuriFlow), table 8"
    presets: ClassVar = ({"time": 90},)
    time: int = Field(default=90, ge=5, le=1000)
    steps: int | None = Field(default=None, ge=2)

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Network passes per image."""
        return self.steps or self.time

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        from lustral.diffusion.samplers import diffuse, ve_sde
        from lustral.diffusion.schedules import variance_exploding, vp_linear

        schedule = variance_exploding(self.passes, _SMALLEST, vp_linear().sigmas[self.time])
        x = diffuse(x, schedule, self.passes, noise)
        return ve_sde(denoise, x, schedule, schedule.times(self.passes), noise)
