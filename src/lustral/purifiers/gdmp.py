"""Guided diffusion model for purification: denoise, and stay near the image that came in."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.purifiers.diffusion import DiffusionPurifier
from lustral.purifiers.smoothing import gaussian
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.diffusion.samplers import Denoise, State
    from lustral.seeds import Noise

__all__ = ["GDMP"]

_WINDOW, _DEVIATION = 11, 1.5  # pixels, as Wang et al. 2004
_STABLE_MEAN, _STABLE_VARIANCE = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # states span [-1, 1], a data range of 2


def _likeness_mse(a: State, b: State) -> Tensor:
    return -(a - b).square().flatten(1).mean(1)


def _likeness_ssim(a: State, b: State) -> Tensor:
    def window(x: State) -> State:
        return gaussian(x, _WINDOW, _DEVIATION)

    mean_a, mean_b = window(a), window(b)
    spread = window(a * a) + window(b * b) - mean_a * mean_a - mean_b * mean_b
    shared = window(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + _STABLE_MEAN) * (2 * shared + _STABLE_VARIANCE)
    below = (mean_a * mean_a + mean_b * mean_b + _STABLE_MEAN) * (spread + _STABLE_VARIANCE)
    return (above / below).flatten(1).mean(1)


_LIKENESS = {"mse": _likeness_mse, "ssim": _likeness_ssim}


class GDMP(DiffusionPurifier):
    """Several rounds of DDPM, each step pulled towards the incoming image.

    A step from time t adds ``v_t g`` to the new state, with the variance ``v_t = beta_t`` of the step and
    ``g = 3 scale sigma_t / (2 epsilon) * d likeness(x_t, reference) / d x_t``.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        time: time step out of 1,000 to which every round diffuses.
        steps: strides of a round; None takes every time step.
        rounds: how often to diffuse and denoise.
        guidance: likeness per image: "mse" is minus the mean squared error over its pixels and channels, "ssim"
            the mean structural similarity (Gaussian window 11 x 11, data range 2).
        scale: strength of the guidance; 0 is plain DDPM.
        reference: "noised", the incoming image with fresh noise of the same time, or "image", as it came in.
        epsilon: size of the attack that is expected, in units of the [0, 1] range.

    Cost: ``rounds * steps`` network passes per image; guidance needs none, but SSIM takes as long as half a
        pass of the shipped network.

    Source: Wang et al., arXiv:2205.14969; formulas and numbers of the published code: on CIFAR-10 time 36, 4 rounds,
        MSE 60,000 or, against BPDA, time 60, 2 rounds, SSIM 1,000; on ImageNet 45 of 250 strides, SSIM or MSE 1,000.
    Differs: the likeness is that of one image, where published code takes the mean over the batch, so that its
        guidance grows weaker with the batch; that is ours for batches of one. As it is a mean over pixels, a scale
        belongs to an image size. Exact gradients, including those through the guidance; published code has BPDA
        only. No guidance in the last stride, whose variance is 0 (5e-5 there). The variance is beta ("fixedlarge") on
        ImageNet too, where theirs is learnt. SSIM mirrors the border. Averaging over purified copies is ``votes``.
    """

    name: ClassVar[str] = "gdmp"
    source: ClassVar[str] = "Wang et al. 2022, arXiv:2205.14969"
    presets: ClassVar = (
        {"time": 36, "rounds": 4, "guidance": "mse", "scale": 60000.0},
        {"time": 60, "rounds": 2, "guidance": "ssim", "scale": 1000.0},
        *(
            {"time": 180, "steps": 45, "rounds": 1, "guidance": guidance, "scale": 1000.0, "reference": "image",
             "epsilon": 4 / 255}
            for guidance in ("ssim", "mse")
        ),
    )  # fmt: skip
    time: int = Field(default=36, ge=1, le=1000)
    steps: int | None = Field(default=None, ge=1)
    rounds: int = Field(default=4, ge=1, le=100)
    guidance: Literal["mse", "ssim"] = "mse"
    scale: float = Field(default=60000.0, ge=0)
    reference: Literal["noised", "image"] = "noised"
    epsilon: Number = Field(default=8 / 255, gt=0, le=1)

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Network passes per image."""
        return self.rounds * (self.steps or self.time)

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        from lustral.diffusion.samplers import diffuse
        from lustral.diffusion.schedules import vp_linear
        from lustral.steps import show, step

        image, schedule = x, vp_linear()
        for _ in range(self.rounds):
            x = diffuse(x, schedule, self.time, noise)
            for t, s in pairwise(schedule.times(self.time, self.steps)):
                draws = [noise.normal(x) for _ in range(2 if self.reference == "noised" else 1)]
                x = step(partial(self._stride, denoise, t, s), x, image, *draws)
                show("state", x=x, schedule=schedule, t=s)
        return x

    def _stride(self, denoise: Denoise, t: int, s: int, x: State, image: State, z: State, *e: State) -> State:
        from lustral.diffusion.samplers import ancestral_step
        from lustral.diffusion.schedules import vp_linear
        from lustral.purifiers.guidance import slope

        schedule = vp_linear()
        moved, _, deviation = ancestral_step(denoise, x, schedule, t, s, z, large=True)
        if deviation == 0:
            return moved
        reference = schedule.scales[t] * (image + schedule.sigmas[t] * e[0]) if e else image
        strength = 3 * self.scale * schedule.sigmas[t] / (2 * self.epsilon)
        return moved + deviation**2 * strength * slope(_LIKENESS[self.guidance], x, reference)
