"""Adaptive denoising purification: noise, then deterministic Langevin steps whose size the score itself tells."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.diffusion import DiffusionPurifier

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.diffusion.samplers import Denoise, State
    from lustral.seeds import Noise

__all__ = ["ADP"]

_PROBE = 0.05  # share of the way to the guess over which the curvature is measured
_NOTHING = 1e-30  # squared length below which there is no way to go


class ADP(DiffusionPurifier):
    """Add noise, then follow ``d(x) = D(x, level) - x``, which is the score times ``level**2``, for a few steps.

    A step is ``x + a d(x)`` with ``a = rate / c``, at least 0 and at most 1, where
    ``c = <d(x), d(x) - d(x + p d(x))> / (p <d(x), d(x)>)`` tells how fast d falls along itself. On a straight way to
    a fixed guess c is 1, and every step goes the share ``rate`` of what is left of it.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        deviation: of the noise at the start, in units of the [0, 1] range.
        steps: most steps.
        level: the one noise level at which the denoiser is asked, in units of [-1, 1].
        rate: share of the way to a fixed guess that a step goes, the paper's lambda.
        stop: an image whose next step is at most ``stop * level`` long (root mean square of its values) stays.

    Cost: two network passes per step, at most ``2 * steps`` per image.

    Source: Yoon, Hwang, Lee, "Adversarial purification with score-based generative models", arXiv:2106.06041, with
        noise 0.25 and 10 steps as in its code. They average 10 noisy copies, here the ``votes`` of ``Defended``.
    Differs: the published bounds of the step (1e-5 to 0.1), its end (1e-3), the probe (1e-3 of the score) and lambda
        (0.05) belong to the scale of a network that is not public. Here lengths are counted in ways to the guess and
        in levels, so that no setting depends on the scale of a score; 0.05 would go a third of the way in 10 steps.
        Level, rate and stop were chosen by PSNR on 40 training images of CIFAR-10 under sign noise of 8/255, with
        denoisers early in training; on 16 of them 13.1 dB after the noise, 22.5 dB after three steps with the
        defaults, 23.1 dB in one step to the guess at level 0.5. Without ``stop`` PSNR falls by dBs again: beyond the
        third or fourth step the score at a fixed level wears details away. Where the score grows along itself a
        step is 0, there 1e-5.
    """

    name: ClassVar[str] = "adp"
    source: ClassVar[str] = "Yoon, Hwang, Lee 2021, arXiv:2106.06041"
    deviation: float = Field(default=0.25, gt=0, le=1)
    steps: int = Field(default=10, ge=1, le=1000)
    level: float = Field(default=0.25, gt=0, le=80)
    rate: float = Field(default=0.5, gt=0, le=1)
    stop: float = Field(default=0.25, ge=0)

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Most network passes per image."""
        return 2 * self.steps

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        from lustral.diffusion.schedules import Schedule
        from lustral.steps import show, step

        schedule = Schedule("adp", (0.0, 2 * self.deviation), (1.0, 1.0))
        e = noise.normal(x)
        show("diffused", x=x, e=e, schedule=schedule, t=1)
        x = (x + schedule.sigmas[1] * e).clamp(-1, 1)
        for _ in range(self.steps):
            before, x = x, step(partial(self._move, denoise), x)
            if x.equal(before):  # every image has stopped
                break
            show("state", x=x, schedule=schedule, t=0)
        return x

    def _move(self, denoise: Denoise, x: State) -> State:
        level = x.new_full((len(x),), self.level)

        def way(x: State) -> State:
            return denoise(x, level) - x

        def product(a: State, b: State) -> Tensor:
            return (a * b).flatten(1).sum(1)[:, None, None, None]  # (n, 1, 1, 1)

        d = way(x)
        length = product(d, d)
        curvature = product(d, d - way(x + _PROBE * d)) / (_PROBE * length.clamp_min(_NOTHING))
        share = (self.rate / curvature.clamp_min(self.rate)).where(curvature > 0, 0.0)
        is_long = share * (length / x[0].numel()).sqrt() > self.stop * self.level
        return (x + share * d).clamp(-1, 1).where(is_long, x)
