"""Noise schedules against published numbers and the tables of diffusers."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch

from lustral.diffusion.schedules import (
    Schedule,
    edm_sigmas,
    variance_exploding,
    vp_beta,
    vp_continuous,
    vp_linear,
)

ALL = [vp_linear(), vp_continuous(), variance_exploding(), edm_sigmas(18)]


def test_vp_linear_is_the_table_of_ddpm() -> None:
    table = diffusers.DDPMScheduler(beta_schedule="linear").alphas_cumprod.double().numpy()
    np.testing.assert_allclose(np.square(vp_linear().scales[1:]), table, rtol=1e-5)
    assert torch.equal(
        diffusers.DDIMScheduler(beta_schedule="linear").alphas_cumprod,
        diffusers.DDPMScheduler(beta_schedule="linear").alphas_cumprod,
    )


def test_edm_sigmas_are_those_of_diffusers() -> None:
    scheduler = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    for count in (1, 2, 18, 40):
        scheduler.set_timesteps(count)
        np.testing.assert_allclose(edm_sigmas(count).sigmas[::-1], scheduler.sigmas.numpy(), rtol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers
def test_heun_sigmas_are_those_of_diffusers() -> None:
    scheduler = diffusers.HeunDiscreteScheduler(beta_schedule="linear", use_karras_sigmas=True)
    scheduler.set_timesteps(12)
    levels = [*scheduler.sigmas[:-1:2].tolist(), 0.0]
    assert len(levels) == 13
    np.testing.assert_allclose(edm_sigmas(12, levels[0], levels[-2]).sigmas[::-1], levels, rtol=1e-5)


@pytest.mark.parametrize(
    ("t", "deviation"),
    [(36, 0.127), (45, 0.155), (90, 0.292), (100, 0.321), (125, 0.392), (150, 0.460), (500, 0.960)],
)
def test_noise_at_published_time_steps(t: int, deviation: float) -> None:
    schedule = vp_linear()
    assert schedule.scales[t] * schedule.sigmas[t] == pytest.approx(deviation, abs=6e-4)


@pytest.mark.parametrize(("t", "sigma"), [(90, 0.305), (100, 0.339), (125, 0.426), (150, 0.518)])
def test_sigma_at_published_time_steps(t: int, sigma: float) -> None:
    assert vp_linear().sigmas[t] == pytest.approx(sigma, abs=1e-3)


def test_the_discrete_and_the_continuous_schedule_differ_as_published() -> None:
    assert vp_linear().scales[100] ** 2 == pytest.approx(0.89702, abs=5e-6)
    assert vp_continuous().scales[100] ** 2 == pytest.approx(0.89628, abs=5e-6)


def test_the_continuous_schedule_is_the_integral_of_its_rate() -> None:
    for t in (1, 100, 1000):
        integral = 0.5 * (vp_beta(0.0) + vp_beta(t / 1000)) * t / 1000  # of a straight line
        assert vp_continuous().scales[t] ** 2 == pytest.approx(np.exp(-integral), rel=1e-12)


def test_published_levels_are_found_again() -> None:
    assert vp_linear().nearest(0.25) == 74
    assert vp_linear().nearest(0.5) == 145
    assert vp_linear().nearest(1e-9) == 1
    assert vp_linear().nearest(1e9) == 1000
    for schedule in ALL:
        assert [schedule.nearest(schedule.sigmas[t]) for t in (1, schedule.steps)] == [1, schedule.steps]
    with pytest.raises(ValueError, match=r"expected sigma > 0, got 0"):
        vp_linear().nearest(0.0)


@pytest.mark.parametrize("schedule", ALL, ids=lambda schedule: schedule.name)
def test_schedules_rise_from_no_noise(schedule: Schedule) -> None:
    assert (schedule.sigmas[0], schedule.scales[0]) == (0.0, 1.0)
    assert np.all(np.diff(schedule.sigmas) > 0)
    assert np.isfinite(schedule.sigmas).all()
    assert len(schedule.sigmas) == len(schedule.scales) == schedule.steps + 1
    power = np.square(schedule.scales) * (1 + np.square(schedule.sigmas))
    if schedule.name.startswith("vp"):
        np.testing.assert_allclose(power, 1, rtol=1e-12)
    assert schedule.is_variance_preserving is schedule.name.startswith("vp")
    assert schedule.is_unscaled is not schedule.is_variance_preserving


def test_the_exploding_schedule_is_geometric_between_its_ends() -> None:
    schedule = variance_exploding(100, 0.02, 80.0)
    assert schedule.sigmas[1] == pytest.approx(0.02)
    assert schedule.sigmas[-1] == pytest.approx(80)
    ratios = np.divide(schedule.sigmas[2:], schedule.sigmas[1:-1])
    np.testing.assert_allclose(ratios, (80 / 0.02) ** (1 / 99), rtol=1e-12)


def test_strides_fall_from_the_start_to_0_and_differ_by_at_most_one() -> None:
    for start in (1, 2, 7, 60, 99):
        for count in range(1, start + 1):
            times = vp_linear().times(start, count)
            strides = -np.diff(times)
            assert (times[0], times[-1], len(times)) == (start, 0, count + 1)
            assert strides.min() >= 1
            assert strides.max() - strides.min() <= 1
    assert vp_linear().times(5) == (5, 4, 3, 2, 1, 0)


@pytest.mark.parametrize(("start", "count"), [(0, None), (1001, None), (5, 0), (5, 6)])
def test_impossible_strides_are_errors(start: int, count: int | None) -> None:
    with pytest.raises(ValueError, match=r"expected a time step of 1 to 1000|there are 1 to 5 strides"):
        vp_linear().times(start, count)


@pytest.mark.parametrize("sigmas", [(0.0,), (0.1, 0.2), (0.0, 0.0), (0.0, 2.0, 1.0), (0.0, float("nan"))])
def test_impossible_schedules_are_errors(sigmas: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"at least one step|must start at 0 and rise"):
        Schedule("wrong", sigmas, (1.0,) * len(sigmas))
    with pytest.raises(ValueError, match="one scale per sigma"):
        Schedule("wrong", (0.0, 1.0), (1.0,))
    with pytest.raises(ValueError, match="more than 20 steps, got 20"):
        vp_linear(20)
