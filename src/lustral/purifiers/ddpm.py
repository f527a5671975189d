"""DDPM loop: noise the image up to a time step and sample back by DDPM's ancestral process."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.purifiers.diffusion import DiffusionPurifier

if TYPE_CHECKING:
    from lustral.diffusion.samplers import Denoise, State
    from lustral.seeds import Noise

__all__ = ["DDPM"]


class DDPM(DiffusionPurifier):
    """Diffuse to time step ``time`` and go back by ancestral sampling: SDEdit, DiffPure's "ddpm" variant.

    Not the same defence as ``diffpure``, which solves the reverse SDE: attacks on one say little about the other.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        time: time step out of 1,000.
        steps: strides back; None takes every time step.
        clip: clamp each guess of the clean image to [-1, 1].
        variance: "small" (of the posterior) or "large" (beta).

    Cost: ``steps`` network passes per image.

    Source: Ho et al., arXiv:2006.11239, algorithm 2; as an editor Meng et al., arXiv:2108.01073; as a
        purifier the option "ddpm" of DiffPure's published code (arXiv:2205.07460).
    Differs: has gradients, the published code none; the variance is fixed, guided-diffusion's is learnt; SDEdit does
        not clip. The result is clamped to [0, 1].
    """

    name: ClassVar[str] = "ddpm"
    source: ClassVar[str] = "Meng et al. 2022, arXiv:2108.01073; Ho et al. 2020, arXiv:2006.11239"
    presets: ClassVar = ({"time": 75}, {"time": 100}, {"time": 125})
    time: int = Field(default=100, ge=1, le=1000)
    steps: int | None = Field(default=None, ge=1)
    clip: bool = True
    variance: Literal["small", "large"] = "small"

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Network passes per image."""
        return self.steps or self.time

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        from lustral.diffusion.samplers import ancestral, diffuse
        from lustral.diffusion.schedules import vp_linear

        times = vp_linear().times(self.time, self.steps)
        x = diffuse(x, vp_linear(), self.time, noise)
        return ancestral(denoise, x, vp_linear(), times, noise, clip=self.clip, large=self.variance == "large")
