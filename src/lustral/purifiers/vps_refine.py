"""Variance-preservation sampling: draw a slightly noised image to where images are likely, and denoise it."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.purifiers.diffusion import DiffusionPurifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lustral.diffusion.samplers import Denoise, State
    from lustral.diffusion.schedules import Schedule
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Start", "VPSRefine", "vps_refine"]

Start = Literal["forward", "inversion"]


def vps_refine(
    denoise: Denoise,
    x: Images,
    noise: Noise,
    *,
    time: int = 10,
    steps: int | None = None,
    gamma: float = 0.05,
    repeats: int = 1,
    start: Start = "forward",
) -> Images:
    """Remove the artefacts of a restored image by variance-preservation sampling.

    At each time step t the state moves ``repeats`` times by ``eta_l score + eta_g z``, which leaves the variance of
    pure noise as it is, and then takes a stride of DDIM. With a = abar_t, ``score = -e / sqrt(1 - a)`` for the
    predicted noise e, ``eta_l = gamma (1 - a)`` and ``eta_g = sqrt(gamma (2 - gamma)) sqrt(1 - a)``.

    Args:
        denoise: denoiser of images in [-1, 1].
        x: images (n, 3, h, w) in [0, 1].
        noise: one draw per move, and one for the start if it is "forward".
        time: time step out of 1,000 at which to begin (tau).
        steps: strides back; None takes every time step.
        gamma: step size, above 0 and below 1.
        repeats: moves per time step (M); 0 is DDIM alone.
        start: "forward" adds the noise of ``time``; "inversion" goes there by DDIM backwards, without noise.

    Returns:
        Images in [0, 1].

    Cost: ``steps (repeats + 1)`` network passes, and ``steps`` more for the inversion.

    Source: paper 001 (MSID), section 4.4.2, algorithm 2 and equations 4.10 to 4.12; the method is that of DreamClean
        (ICLR 2024), which starts by inversion.
    Differs: line 9 of algorithm 2 prints sqrt(1 - abar_{t-1}) in its estimate of x_0; here it is sqrt(1 - abar_t), the
        noise that the state has, as in DDIM. The inversion asks for the noise of the clean image at time step 1,
        because at 0 there is none to predict. The result is clamped.

    Raises:
        TypeError: ``x`` is no floating point tensor.
        ValueError: ``x`` has a wrong shape or leaves [0, 1], a number is out of range, or there are more strides than
            time steps.
    """
    from lustral.diffusion.samplers import ddim, diffuse
    from lustral.diffusion.schedules import vp_linear
    from lustral.steps import show, step
    from lustral.tensors import check_images

    check_images(x)
    if not 0 < gamma < 1:
        raise ValueError(f"gamma must be above 0 and below 1, got {gamma}")
    if repeats < 0:
        raise ValueError(f"repeats must be at least 0, got {repeats}")
    schedule = vp_linear()
    times = schedule.times(time, steps)
    y = 2 * x - 1
    y = _invert(denoise, y, schedule, times[::-1]) if start == "inversion" else diffuse(y, schedule, time, noise)
    for t, s in pairwise(times):
        for _ in range(repeats):
            y = step(partial(_preserve, denoise, schedule, t, gamma), y, noise.normal(y))
            show("state", x=y, schedule=schedule, t=t)
        y = ddim(denoise, y, schedule, (t, s))
    return ((y + 1) / 2).clamp(0, 1)


def _preserve(denoise: Denoise, schedule: Schedule, t: int, gamma: float, y: State, z: State) -> State:
    """A move at time step ``t``: along the score, with fresh noise ``z`` in place of the noise that this takes away."""
    from lustral.diffusion.samplers import denoised

    noise_power = 1 - schedule.scales[t] ** 2
    score = (schedule.scales[t] * denoised(denoise, y, schedule, t) - y) / noise_power  # Tweedie's formula
    return y + gamma * noise_power * score + math.sqrt(gamma * (2 - gamma) * noise_power) * z


def _invert(denoise: Denoise, y: State, schedule: Schedule, times: Sequence[int]) -> State:
    """DDIM inversion along rising time steps: each stride takes the noise predicted where it begins."""
    from lustral.steps import show, step

    for s, t in pairwise(times):
        y = step(partial(_invert_stride, denoise, schedule, s, t), y)
        show("state", x=y, schedule=schedule, t=t)
    return y


def _invert_stride(denoise: Denoise, schedule: Schedule, s: int, t: int, y: State) -> State:
    level = schedule.sigmas[max(s, 1)]
    x = y / schedule.scales[s]  # x_0 + sigma_s e
    e = (x - denoise(x, x.new_full((len(x),), level))) / level
    return schedule.scales[t] * (x + (schedule.sigmas[t] - schedule.sigmas[s]) * e)


class VPSRefine(DiffusionPurifier):
    """Add a little noise and take it off by variance-preservation sampling, which removes artefacts of inpainting.

    The function ``vps_refine`` is the same for a denoiser and images at hand.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        time: time step out of 1,000 (tau).
        steps: strides back; None takes every time step.
        gamma: step size of a move along the score.
        repeats: moves per time step (M).
        start: "forward" adds noise, "inversion" goes back by DDIM.

    Cost: ``steps (repeats + 1)`` network passes per image, and ``steps`` more for the inversion; 20 by default.

    Source: paper 001 (MSID), section 4.4.2 and algorithm 2; the method is that of DreamClean (ICLR 2024).
    Differs: as ``vps_refine`` says: line 9 of algorithm 2 is corrected. The result is clamped to [0, 1].
    """

    name: ClassVar[str] = "vps_refine"
    source: ClassVar[str] = "MSID (paper 001), section 4.4.2; DreamClean, ICLR 2024"
    presets: ClassVar = ({"time": 10}, {"time": 10, "start": "inversion"})
    time: int = Field(default=10, ge=1, le=1000)
    steps: int | None = Field(default=None, ge=1)
    gamma: float = Field(default=0.05, gt=0, lt=1)
    repeats: int = Field(default=1, ge=0, le=1000)
    start: Start = "forward"

    @property
    def is_random(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Whether noise is added anywhere."""
        return self.start == "forward" or self.repeats > 0

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Network passes per image."""
        return (self.steps or self.time) * (self.repeats + 1 + (self.start == "inversion"))

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        refine = partial(
            vps_refine, time=self.time, steps=self.steps, gamma=self.gamma, repeats=self.repeats, start=self.start
        )
        return 2 * refine(denoise, (x + 1) / 2, noise) - 1
