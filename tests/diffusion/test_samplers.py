"""Samplers against diffusers, against plain loops of the textbook, and against what is known in closed form."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor

from lustral.diffusion.samplers import (
    ancestral,
    ancestral_step,
    ddim,
    diffuse,
    heun,
    one_shot,
    probability_flow,
    ve_sde,
    vp_sde,
)
from lustral.diffusion.schedules import edm_sigmas, variance_exploding, vp_continuous, vp_linear
from lustral.steps import watching
from tests.diffusion.examples import SAMPLERS, gaussian, images, noise_for, purified, tiny_denoiser, warped

N, SIDE = 2, 4


def start(scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return scale * torch.randn(N, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)


def in_double(kind: type, **settings: Any) -> Any:
    """A scheduler of diffusers with its table in float64: in float32 its betas of small t have three digits."""
    scheduler = kind(beta_schedule="linear", **settings)
    beta = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    scheduler.alphas_cumprod = torch.cumprod(1 - beta, 0)
    return scheduler


def noise_network(x: Tensor, i: int, table: Tensor) -> Tensor:
    """The denoiser ``warped`` as a network that predicts the noise, with the index of published code."""
    abar = table[i]
    sigma = ((1 - abar) / abar).sqrt().expand(len(x))
    return (x - abar.sqrt() * warped(x / abar.sqrt(), sigma)) / (1 - abar).sqrt()


@pytest.mark.parametrize(
    ("variance", "clip", "first"),
    [
        ("fixed_small", True, 1000),
        ("fixed_large", False, 150),
        ("fixed_small", False, 150),
        ("fixed_large", True, 150),
    ],
)
def test_ancestral_trajectory_equals_ddpm_of_diffusers(
    variance: str, clip: bool, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = in_double(diffusers.DDPMScheduler, variance_type=variance, clip_sample=clip)
    noise = noise_for(N)
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: noise.normal(start()))
    x, theirs = start(), {}
    for i in range(first - 1, -1, -1):
        x = scheduler.step(noise_network(x, i, scheduler.alphas_cumprod), i, x).prev_sample
        theirs[i] = x
    ours: dict[int, Tensor] = {}
    times, large = range(first, -1, -1), variance == "fixed_large"
    with watching(lambda _, facts: ours.update({facts["t"]: facts["x"]})):
        ancestral(warped, start(), vp_linear(), times, noise_for(N), clip=clip, large=large)
    assert ours.keys() == theirs.keys()
    for t in theirs:
        torch.testing.assert_close(ours[t], theirs[t], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("strides", [4, 20])
def test_ddim_over_strides_equals_diffusers(strides: int, eta: float, clip: bool) -> None:
    scheduler = in_double(diffusers.DDIMScheduler, clip_sample=clip)
    scheduler.set_timesteps(strides)
    noise, x = noise_for(N), start()
    for i in scheduler.timesteps.tolist():
        x = scheduler.step(
            noise_network(x, i, scheduler.alphas_cumprod),
            i,
            x,
            eta=eta,
            use_clipped_model_output=True,
            variance_noise=noise.normal(x) if eta > 0 else None,
        ).prev_sample
    times = [i + 1 for i in scheduler.timesteps.tolist()] + [0]
    ours = ddim(warped, start(), vp_linear(), times, noise_for(N), eta=eta, clip=clip)
    torch.testing.assert_close(ours, x, rtol=1e-7, atol=1e-9)


def test_diffuse_equals_diffusers() -> None:
    scheduler = in_double(diffusers.DDPMScheduler)
    for t in (1, 100, 1000):
        theirs = scheduler.add_noise(start(), noise_for(N).normal(start()), torch.full((N,), t - 1))
        torch.testing.assert_close(diffuse(start(), vp_linear(), t, noise_for(N)), theirs, rtol=1e-10, atol=0)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers
def test_heun_trajectory_equals_diffusers() -> None:
    scheduler = diffusers.HeunDiscreteScheduler(
        beta_schedule="linear", use_karras_sigmas=True, prediction_type="sample"
    )
    scheduler.set_timesteps(12)
    schedule = edm_sigmas(12, sigma_max=float(scheduler.sigmas[0]), sigma_min=float(scheduler.sigmas[-2]))
    levels = torch.tensor(schedule.sigmas[::-1], dtype=torch.float64)
    scheduler.sigmas = torch.cat([levels[:1], levels[1:-1].repeat_interleave(2), levels[-1:]])
    scheduler.set_begin_index(0)
    x = start(schedule.sigmas[-1])
    for i in range(len(scheduler.timesteps)):
        # In pairs: the level of the stride, then the level it ends at.
        level = scheduler.sigmas[i] if scheduler.state_in_first_order else scheduler.sigmas[scheduler.step_index]
        x = scheduler.step(warped(x, level.expand(N)), scheduler.timesteps[i], x).prev_sample
    ours = heun(warped, start(schedule.sigmas[-1]), schedule, schedule.times(12))
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)


def test_vp_sde_equals_a_loop_over_the_continuous_equation() -> None:
    """Drift f(x, t) - g(t)^2 score with f = -beta x / 2, g^2 = beta, backwards by Euler-Maruyama."""
    noise, x = noise_for(N), start().numpy()
    for t, s in [(120, 90), (90, 50), (50, 7), (7, 0)]:
        time, dt = t / 1000, (t - s) / 1000
        beta = 0.1 + (20 - 0.1) * time
        mean_factor = math.exp(-0.25 * time**2 * (20 - 0.1) - 0.5 * time * 0.1)
        deviation = math.sqrt(1 - mean_factor**2)
        sigma = torch.full((N,), deviation / mean_factor, dtype=torch.float64)
        guess = warped(torch.from_numpy(x / mean_factor), sigma).numpy()
        score = -(x - mean_factor * guess) / deviation**2
        drift = -0.5 * beta * x - beta * score
        x = x - drift * dt + math.sqrt(beta * dt) * noise.normal(start()).numpy()
    ours = vp_sde(warped, start(), vp_continuous(), (120, 90, 50, 7, 0), noise_for(N))
    np.testing.assert_allclose(ours.numpy(), x, rtol=1e-10)


def test_probability_flow_equals_a_loop_over_the_continuous_equation() -> None:
    x = start().numpy()
    for t, s in [(120, 90), (90, 50), (50, 7), (7, 0)]:
        time, beta = t / 1000, 0.1 + 19.9 * t / 1000
        abar = math.exp(-9.95 * time**2 - 0.1 * time)
        sigma = torch.full((N,), math.sqrt(1 / abar - 1), dtype=torch.float64)
        e = (x - math.sqrt(abar) * warped(torch.from_numpy(x / math.sqrt(abar)), sigma).numpy()) / math.sqrt(1 - abar)
        x = x - (t - s) / 1000 * (-0.5 * beta * x + 0.5 * beta * e / math.sqrt(1 - abar))
    ours = probability_flow(warped, start(), vp_continuous(), (120, 90, 50, 7, 0))
    np.testing.assert_allclose(ours.numpy(), x, rtol=1e-10)


def test_ve_sde_equals_a_loop_over_the_levels() -> None:
    schedule, times = variance_exploding(20, 0.05, 5.0), (20, 13, 6, 1, 0)
    levels = [0.0, *np.geomspace(0.05, 5.0, 20)]
    noise, x = noise_for(N), start(5.0).numpy()
    for t, s in [(20, 13), (13, 6), (6, 1), (1, 0)]:
        guess = warped(torch.from_numpy(x), torch.full((N,), levels[t], dtype=torch.float64)).numpy()
        z = noise.normal(start()).numpy()
        step = levels[t] ** 2 - levels[s] ** 2
        x = x + step * (guess - x) / levels[t] ** 2 + (math.sqrt(step) * z if s else 0)
    np.testing.assert_allclose(ve_sde(warped, start(5.0), schedule, times, noise_for(N)).numpy(), x, rtol=1e-10)


MEAN, DEVIATION = 0.3, 0.25


@pytest.mark.parametrize("name", ["ancestral_large", "ddim_random", "vp_sde", "ve_sde"])
@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_random_samplers_give_back_the_distribution_of_gaussian_images(name: str, sigma: float) -> None:
    """From its own noised distribution: marginal mean and deviation of 49,152 values, 0.3 % of sampling error."""
    schedule, sampler = SAMPLERS[name]
    noise = noise_for(1)
    clean = MEAN + DEVIATION * noise.normal(torch.empty(1, 3, 128, 128, dtype=torch.float64))
    t = schedule.nearest(sigma)
    x = diffuse(clean, schedule, t, noise)
    found = sampler(gaussian(MEAN, DEVIATION), x, schedule, schedule.times(t, min(t, 200)), noise)
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(found.std()) == pytest.approx(DEVIATION, rel=0.03)


def flow_error(sampler: str, strides: int) -> float:
    """Largest error of a deterministic sampler on Gaussian images, whose flow has a closed form."""
    denoise, x0 = gaussian(MEAN, DEVIATION), images()
    if sampler == "heun":
        schedule = edm_sigmas(strides, sigma_max=3.0, sigma_min=1e-4)
        top, scale = schedule.sigmas[-1], 1.0
        times = schedule.times(strides)
    else:
        schedule = vp_continuous(2048)
        top, scale = schedule.sigmas[1024], schedule.scales[1024]
        times = schedule.times(1024, strides)
    # x_t / scale - mean has the deviation sqrt(v + sigma^2) at every time, and the flow only rescales it.
    x = scale * (MEAN + (x0 - MEAN) * math.sqrt(1 + (top / DEVIATION) ** 2))
    steps = {"heun": heun, "ddim": ddim, "probability_flow": probability_flow}[sampler]
    return float((steps(denoise, x, schedule, times) - x0).abs().max())


@pytest.mark.parametrize(("sampler", "order"), [("probability_flow", 1), ("ddim", 1), ("heun", 2)])
def test_deterministic_samplers_converge_to_the_flow_at_their_order(sampler: str, order: int) -> None:
    errors = [flow_error(sampler, strides) for strides in (64, 128, 256)]
    assert errors[-1] < 0.02
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_replays_and_an_image_does_not_depend_on_its_batch(name: str) -> None:
    denoise, x, noise = tiny_denoiser(), images(3), noise_for(3)
    together = purified(name, denoise, x, noise.replay())
    assert torch.equal(together, purified(name, denoise, x, noise.replay()))
    alone = purified(name, denoise, x[1:2], noise.select([1]).replay())
    torch.testing.assert_close(alone, together[1:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SAMPLERS)
def test_states_are_shown_in_order_and_lead_back_to_the_clean_image(name: str) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    schedule, _ = SAMPLERS[name]
    x = images()
    with watching(lambda event, facts: events.append((event, facts))):
        end = purified(name, tiny_denoiser(), x, noise_for(2))
    (first, diffused), *states = events
    t = schedule.nearest(0.4)
    assert first == "diffused"
    assert torch.equal(diffused["x"], x)
    assert torch.equal(diffused["e"], noise_for(2).normal(x))
    assert (diffused["schedule"], diffused["t"]) == (schedule, t)
    assert all(event == "state" and facts["schedule"] == schedule for event, facts in states)
    expected = [0] if name == "one_shot" else list(schedule.times(t, 4))[1:]
    assert [facts["t"] for _, facts in states] == expected
    assert states[-1][1]["x"] is end


def test_one_ancestral_step_says_what_it_guessed_and_how_much_noise_it_added() -> None:
    x, z, schedule = start(), noise_for(N).normal(start()), vp_linear()
    after, guess, deviation = ancestral_step(warped, x, schedule, 50, 40, z, clip=False)
    without, _, _ = ancestral_step(warped, x, schedule, 50, 40, 0 * z, clip=False)
    torch.testing.assert_close(after - without, deviation * z)
    torch.testing.assert_close(guess, one_shot(warped, x, schedule, 50))
    assert ancestral_step(warped, x, schedule, 50, 40, z)[1].abs().max() <= 1
    assert ancestral_step(warped, x, schedule, 50, 0, z)[2] == 0


def test_schedules_and_times_that_do_not_fit_are_errors() -> None:
    x, noise, edm = start(), noise_for(N), edm_sigmas(5)
    for wrong in (
        lambda: ancestral(warped, x, edm, (5, 0), noise),
        lambda: ddim(warped, x, edm, (5, 0)),
        lambda: vp_sde(warped, x, edm, (5, 0), noise),
        lambda: probability_flow(warped, x, edm, (5, 0)),
    ):
        with pytest.raises(ValueError, match="needs a variance-preserving schedule, got edm"):
            wrong()
    for wrong in (
        lambda: ve_sde(warped, x, vp_linear(), (5, 0), noise),
        lambda: heun(warped, x, vp_linear(), (5, 0)),
    ):
        with pytest.raises(ValueError, match="needs a variance-exploding schedule, got vp_linear"):
            wrong()
    for times in ((0, 5), (5, 5, 0), (6, 0), (5, -1)):
        with pytest.raises(ValueError, match="expected falling time steps from at most 5 to 0"):
            heun(warped, x, edm, times)
    with pytest.raises(ValueError, match="ddim with eta > 0 needs noise"):
        ddim(warped, x, vp_linear(), (5, 0), eta=1.0)
