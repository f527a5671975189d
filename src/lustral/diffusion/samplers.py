"""Ways from a noisy image back to a clean one, all over one denoiser ``D(x, sigma) -> x0``.

States are images in [-1, 1] in the form of their schedule, ``x_t = scale_t (x_0 + sigma_t e)``. Every function is
differentiable, takes its noise from ``Noise`` (one sampling call per random step), runs each step through
``lustral.steps.step`` so that an oracle can checkpoint it, and shows its states to ``lustral.steps.watching``.
``times`` are time steps of the schedule in falling order; the last one is 0 for a clean image. Cost is one network
pass per stride unless said otherwise. A schedule or times that do not fit raise ``ValueError``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from lustral.diffusion.schedules import Schedule, vp_beta
from lustral.seeds import Noise
from lustral.steps import show, step

__all__ = [
    "Denoise",
    "State",
    "ancestral",
    "ancestral_step",
    "ddim",
    "denoised",
    "diffuse",
    "heun",
    "one_shot",
    "probability_flow",
    "ve_sde",
    "vp_sde",
]

State = Float[Tensor, "n 3 h w"]
Denoise = Callable[[State, Float[Tensor, " n"]], State]
"""``D(x, sigma)``: best guess of the clean image from ``x = x_0 + sigma e``, one sigma per image."""


def denoised(denoise: Denoise, x: State, schedule: Schedule, t: int) -> State:
    """What the denoiser makes of a state at time step ``t``."""
    return denoise(x / schedule.scales[t], torch.full((len(x),), schedule.sigmas[t], dtype=x.dtype, device=x.device))


def diffuse(x: State, schedule: Schedule, t: int, noise: Noise) -> State:
    """Add the noise of time step ``t`` to clean images; one normal draw."""
    e = noise.normal(x)
    show("diffused", x=x, e=e, schedule=schedule, t=t)
    return schedule.scales[t] * (x + schedule.sigmas[t] * e)


def _again(noise: Noise) -> Callable[[State], State]:
    """The next normal draw as a function of what it should look like, the same numbers at every call.

    A step that draws by it again when it is recomputed needs not keep its noise, which is half of its inputs.
    """
    own = noise.replay(noise.step)
    noise.step += 1
    return lambda like: own.replay(own.step).normal(like)


def _need(fits: bool, sampler: str, kind: str, schedule: Schedule) -> None:
    if not fits:
        raise ValueError(f"{sampler} needs a {kind} schedule, got {schedule.name}")


def _walk(x: State, schedule: Schedule, times: Sequence[int], move: Callable[[State, int, int], State]) -> State:
    if not all(schedule.steps >= t > s >= 0 for t, s in pairwise(times)):
        raise ValueError(f"expected falling time steps from at most {schedule.steps} to 0, got {tuple(times)}")
    for t, s in pairwise(times):
        x = move(x, t, s)
        show("state", x=x, schedule=schedule, t=s)
    return x


def ancestral(
    denoise: Denoise,
    x: State,
    schedule: Schedule,
    times: Sequence[int],
    noise: Noise,
    *,
    clip: bool = True,
    large: bool = False,
) -> State:
    """Ancestral sampling of DDPM: the mean of q(x_s | x_t, x_0) at the guess of x_0, plus its deviation.

    Args:
        denoise: the denoiser.
        x: state at ``times[0]``.
        schedule: variance-preserving.
        times: descending time steps, the last one 0.
        noise: one normal draw per stride, also for the last one, which does not use it.
        clip: clamp the guess to [-1, 1], as DDPM does.
        large: deviation beta instead of the posterior's ("fixedlarge").

    Source: arXiv:2006.11239, equations 6, 7 and 15. Differs: strides over several steps use the beta of the stride.
    """
    _need(schedule.is_variance_preserving, "ancestral", "variance-preserving", schedule)

    def move(x: State, t: int, s: int) -> State:
        draw = _again(noise)

        def one(x: State) -> State:
            return ancestral_step(denoise, x, schedule, t, s, draw(x), clip=clip, large=large)[0]

        return step(one, x)

    return _walk(x, schedule, times, move)


def ancestral_step(
    denoise: Denoise, x: State, schedule: Schedule, t: int, s: int, z: State, *, clip: bool = True, large: bool = False
) -> tuple[State, State, float]:
    """One stride from ``t`` to ``s``: the new state, the guess of x_0, and the deviation that was used."""
    abar_t, abar_s = schedule.scales[t] ** 2, schedule.scales[s] ** 2
    alpha = abar_t / abar_s
    guess = denoised(denoise, x, schedule, t)
    guess = guess.clamp(-1, 1) if clip else guess
    mean = math.sqrt(abar_s) * (1 - alpha) / (1 - abar_t) * guess + math.sqrt(alpha) * (1 - abar_s) / (1 - abar_t) * x
    variance = (1 - alpha) * (1.0 if large else (1 - abar_s) / (1 - abar_t))
    deviation = math.sqrt(variance) if s > 0 else 0.0
    return (mean + deviation * z if s > 0 else mean), guess, deviation


def ddim(
    denoise: Denoise,
    x: State,
    schedule: Schedule,
    times: Sequence[int],
    noise: Noise | None = None,
    *,
    eta: float = 0.0,
    clip: bool = False,
) -> State:
    """DDIM; ``eta`` 0 is deterministic and 1 is as random as DDPM. Draws one normal per stride if ``eta`` > 0.

    Args:
        denoise: the denoiser.
        x: state at ``times[0]``.
        schedule: variance-preserving.
        times: descending time steps, the last one 0.
        noise: needed if ``eta`` > 0.
        eta: share of the deviation of ancestral sampling, 0 to 1.
        clip: clamp the guess of x_0 to [-1, 1]; the direction to x_t then follows from the clamped guess.

    Source: arXiv:2010.02502, equations 12 and 16.
    """
    _need(schedule.is_variance_preserving, "ddim", "variance-preserving", schedule)
    if eta > 0 and noise is None:
        raise ValueError("ddim with eta > 0 needs noise")

    def move(x: State, t: int, s: int) -> State:
        draw = _again(noise) if noise is not None and eta > 0 else None

        def one(x: State) -> State:
            after, fresh = _ddim_step(denoise, x, schedule, t, s, eta, clip)
            return after if draw is None else after + fresh * draw(x)

        return step(one, x)

    return _walk(x, schedule, times, move)


def _ddim_step(
    denoise: Denoise, x: State, schedule: Schedule, t: int, s: int, eta: float, clip: bool
) -> tuple[State, float]:
    """The new state without fresh noise, and the deviation of the fresh noise."""
    abar_t, abar_s = schedule.scales[t] ** 2, schedule.scales[s] ** 2
    guess = denoised(denoise, x, schedule, t)
    guess = guess.clamp(-1, 1) if clip else guess
    e = (x - math.sqrt(abar_t) * guess) / math.sqrt(1 - abar_t)
    fresh = eta * math.sqrt((1 - abar_t / abar_s) * (1 - abar_s) / (1 - abar_t))
    return math.sqrt(abar_s) * guess + math.sqrt(max(0.0, 1 - abar_s - fresh**2)) * e, fresh


def _score(denoise: Denoise, x: State, schedule: Schedule, t: int) -> State:
    """Gradient of the log density of the state at ``t``, by Tweedie's formula."""
    variance = (schedule.scales[t] * schedule.sigmas[t]) ** 2
    return (schedule.scales[t] * denoised(denoise, x, schedule, t) - x) / variance


def _rate(schedule: Schedule, t: int, s: int) -> float:
    """Integral of beta from ``s`` to ``t`` by its value at ``t``."""
    return vp_beta(t / schedule.steps) * (t - s) / schedule.steps


def vp_sde(denoise: Denoise, x: State, schedule: Schedule, times: Sequence[int], noise: Noise) -> State:
    """Reverse variance-preserving SDE by Euler-Maruyama over integer time steps; one normal draw per stride.

    Source: arXiv:2011.13456, equation 6, with beta(t) = 0.1 + 19.9 t; what DiffPure solves with torchsde.
        Differs: integer time steps to 0, where theirs ends at 1e-5. As there, the last stride adds noise too, of
        deviation 0.011 if it is one time step long.
    """
    _need(schedule.is_variance_preserving, "vp_sde", "variance-preserving", schedule)

    def move(x: State, t: int, s: int) -> State:
        rate, draw = _rate(schedule, t, s), _again(noise)

        def one(x: State) -> State:
            return x + rate * (0.5 * x + _score(denoise, x, schedule, t)) + math.sqrt(rate) * draw(x)

        return step(one, x)

    return _walk(x, schedule, times, move)


def probability_flow(denoise: Denoise, x: State, schedule: Schedule, times: Sequence[int]) -> State:
    """Probability-flow ODE of the variance-preserving SDE by Euler; no randomness.

    Source: arXiv:2011.13456, equation 13.
    """
    _need(schedule.is_variance_preserving, "probability_flow", "variance-preserving", schedule)

    def move(x: State, t: int, s: int) -> State:
        def one(x: State) -> State:
            return x + 0.5 * _rate(schedule, t, s) * (x + _score(denoise, x, schedule, t))

        return step(one, x)

    return _walk(x, schedule, times, move)


def ve_sde(denoise: Denoise, x: State, schedule: Schedule, times: Sequence[int], noise: Noise) -> State:
    """Reverse variance-exploding SDE by Euler-Maruyama; one normal draw per stride, also for the last.

    Source: arXiv:2011.13456, equation 46 (reverse diffusion sampling). Differs: the last stride adds no noise.
    """
    _need(schedule.is_unscaled, "ve_sde", "variance-exploding", schedule)

    def move(x: State, t: int, s: int) -> State:
        rate, draw = schedule.sigmas[t] ** 2 - schedule.sigmas[s] ** 2, _again(noise)

        def one(x: State) -> State:
            after = x + rate * _score(denoise, x, schedule, t)
            return after + math.sqrt(rate) * draw(x) if s > 0 else after

        return step(one, x)

    return _walk(x, schedule, times, move)


def one_shot(denoise: Denoise, x: State, schedule: Schedule, t: int) -> State:
    """The denoiser's guess in one pass (Tweedie's formula)."""

    def one(x: State) -> State:
        return denoised(denoise, x, schedule, t)

    return _walk(x, schedule, (t, 0), lambda x, _t, _s: step(one, x))


def heun(denoise: Denoise, x: State, schedule: Schedule, times: Sequence[int]) -> State:
    """Deterministic second-order sampler of EDM. Two passes per stride, one for the last.

    Args:
        denoise: the denoiser.
        x: state at ``times[0]``.
        schedule: without scaling: ``edm_sigmas`` or ``variance_exploding``.
        times: descending time steps, the last one 0.

    Source: arXiv:2206.00364, algorithm 1.
    """
    _need(schedule.is_unscaled, "heun", "variance-exploding", schedule)

    def move(x: State, t: int, s: int) -> State:
        high, low = schedule.sigmas[t], schedule.sigmas[s]

        def one(x: State) -> State:
            slope = (x - denoised(denoise, x, schedule, t)) / high
            end = x + (low - high) * slope
            if s == 0:
                return end
            return x + (low - high) * 0.5 * (slope + (end - denoised(denoise, end, schedule, s)) / low)

        return step(one, x)

    return _walk(x, schedule, times, move)
