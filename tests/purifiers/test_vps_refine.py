"""Variance-preservation sampling against algorithm 2, what it does to variance, and over finite sets of images."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lustral.diffusion.ideal import IdealDenoiser
from lustral.diffusion.schedules import vp_linear
from lustral.purifiers import VPSRefine
from lustral.purifiers.vps_refine import _preserve, vps_refine
from lustral.settings import SettingsError
from lustral.steps import watching
from tests.diffusion.examples import gaussian, images, noise_for
from tests.purifiers.differentiation import NETWORK, gradients_agree, image_stands_alone, passes_taken

CASES = (
    VPSRefine(time=3),
    VPSRefine(time=60, steps=2, repeats=2, gamma=0.3),
    VPSRefine(time=40, steps=2, start="inversion"),
    VPSRefine(time=40, steps=2, repeats=0, start="inversion"),
)
ABAR = np.cumprod(1 - np.linspace(0.1 / 1000, 20 / 1000, 1000))  # index i is time step i + 1


def abar(t: int) -> float:
    return float(ABAR[t - 1]) if t > 0 else 1.0


def predicted_noise(y: Tensor, t: int) -> Tensor:
    sigma = math.sqrt((1 - abar(t)) / abar(t))
    clean = NETWORK(y / math.sqrt(abar(t)), torch.full((len(y),), sigma, dtype=y.dtype))
    return (y - math.sqrt(abar(t)) * clean) / math.sqrt(1 - abar(t))


def ddim_stride(y: Tensor, e: Tensor, t: int, s: int) -> Tensor:
    clean = (y - math.sqrt(1 - abar(t)) * e) / math.sqrt(abar(t))
    return math.sqrt(abar(s)) * clean + math.sqrt(1 - abar(s)) * e


@pytest.mark.parametrize("start", ["forward", "inversion"])
@pytest.mark.parametrize(("times", "repeats"), [((4, 3, 2, 1, 0), 1), ((60, 40, 20, 0), 2), ((60, 30, 0), 0)])
def test_it_follows_algorithm_2_with_line_9_corrected(start: str, times: tuple[int, ...], repeats: int) -> None:
    x, noise, gamma = pictures(3), noise_for(3), 0.2
    y = 2 * x - 1
    if start == "forward":
        y = math.sqrt(abar(times[0])) * y + math.sqrt(1 - abar(times[0])) * noise.normal(y)
    else:
        least = math.sqrt((1 - abar(1)) / abar(1))
        e = (y - NETWORK(y, torch.full((3,), least, dtype=y.dtype))) / least
        for s, t in itertools.pairwise(reversed(times)):
            y = ddim_stride(y, predicted_noise(y, s) if s > 0 else e, s, t)
    for t, s in itertools.pairwise(times):
        for _ in range(repeats):
            score = -predicted_noise(y, t) / math.sqrt(1 - abar(t))
            fresh = math.sqrt(gamma * (2 - gamma)) * math.sqrt(1 - abar(t)) * noise.normal(y)
            y = y + gamma * (1 - abar(t)) * score + fresh
        y = ddim_stride(y, predicted_noise(y, t), t, s)
    settings = VPSRefine.make(time=times[0], steps=len(times) - 1, gamma=gamma, repeats=repeats, start=start)
    found = settings.clean(NETWORK, 2 * x - 1, noise_for(3))
    torch.testing.assert_close(found, y.clamp(-1, 1), rtol=0, atol=1e-10)
    assert (found - (2 * x - 1)).abs().max() > 0.01


def pictures(n: int) -> Tensor:
    """Images in [0, 1], float64, clear of both ends."""
    return (0.5 * images(n) + 1) / 2


# Variance


@pytest.mark.parametrize("gamma", [0.01, 0.05, 0.5, 0.99])
@pytest.mark.parametrize("t", [1, 10, 600])
def test_a_move_preserves_the_variance_of_pure_noise(gamma: float, t: int) -> None:
    """Of nothing but noise, on a clean image of zeros, a move multiplies by 1 - gamma and adds what is missing."""
    y, z = images(2), noise_for(2).normal(images(2))
    moved = _preserve(lambda x, sigma: 0 * x, vp_linear(), t, gamma, y, z)
    fresh = math.sqrt(gamma * (2 - gamma) * (1 - abar(t)))
    torch.testing.assert_close(moved, (1 - gamma) * y + fresh * z, rtol=0, atol=1e-12)
    assert (1 - gamma) ** 2 * (1 - abar(t)) + fresh**2 == pytest.approx(1 - abar(t), rel=1e-12)


def variance_after(gamma: float, t: int, deviation: float) -> float:
    """Exact variance after a move of the state of Gaussian images, over the variance before."""
    before = abar(t) * deviation**2 + 1 - abar(t)
    zero, one = torch.zeros(1, 3, 1, 1, dtype=torch.float64), torch.ones(1, 3, 1, 1, dtype=torch.float64)
    gain = _preserve(gaussian(0.0, deviation), vp_linear(), t, gamma, one, zero)[0, 0, 0, 0].item()
    fresh = _preserve(gaussian(0.0, deviation), vp_linear(), t, gamma, zero, one)[0, 0, 0, 0].item()
    return (gain**2 * before + fresh**2) / before


@pytest.mark.parametrize("t", [10, 300])
def test_a_move_preserves_the_variance_of_gaussian_images_to_second_order(t: int) -> None:
    noise_share = (1 - abar(t)) / (abar(t) * 0.25 + 1 - abar(t))
    for gamma in (0.4, 0.05):
        lost = 1 - variance_after(gamma, t, 0.5)
        assert lost == pytest.approx(gamma**2 * noise_share * (1 - noise_share), rel=1e-6)
    assert abs(variance_after(0.05, 10, 0.5) - 1) < 1e-4


def test_variance_is_preserved_over_many_moves() -> None:
    seen: list[float] = []
    x = torch.full((1, 3, 64, 64), 0.5, dtype=torch.float64)
    with watching(lambda event, facts: seen.append(facts["x"].var().item()) if event == "state" else None):
        vps_refine(lambda x, sigma: 0 * x, x, noise_for(1), time=10, steps=1, gamma=0.2, repeats=30)
    assert len(seen) == 31
    for variance in seen[:-1]:
        assert variance == pytest.approx(1 - abar(10), rel=0.06)


# Finite sets


def test_corrected_line_9_leaves_no_noise() -> None:
    """As printed it would return the last state over sqrt(abar_1), with the noise of time step 1."""
    x = pictures(2)
    y = vps_refine(IdealDenoiser(2 * x[:1] - 1), x, noise_for(2))
    torch.testing.assert_close(y, x[:1].expand_as(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("start", ["forward", "inversion"])
def test_artefacts_are_removed_over_a_finite_set(start: str) -> None:
    points = pictures(8)
    x = points[:4].clone()
    x[:, :, ::3, ::3] += 0.1  # a grid, as context cues leave it
    settings = VPSRefine.make(start=start)
    y = settings.clean(IdealDenoiser(2 * points - 1), 2 * x - 1, noise_for(4))
    torch.testing.assert_close((y + 1) / 2, points[:4], rtol=0, atol=1e-9)


def test_inversion_alone_is_undone_by_ddim_the_better_the_more_strides_there_are() -> None:
    x = 2 * pictures(2) - 1

    def error(steps: int) -> float:
        settings = VPSRefine(time=100, steps=steps, repeats=0, start="inversion")
        return float((settings.clean(gaussian(0.1, 0.5), x, noise_for(2)) - x).abs().max())

    assert error(60) < 0.5 * error(20) < 0.25 * error(5)
    assert error(60) < 0.01


# Cost, gradients, batches


@pytest.mark.parametrize("settings", [*CASES, *(VPSRefine(**preset) for preset in VPSRefine.presets)], ids=str)
def test_the_number_of_passes_is_as_declared(settings: VPSRefine) -> None:
    assert settings.passes == passes_taken(settings)


def test_default_passes() -> None:
    assert (VPSRefine().passes, VPSRefine(start="inversion").passes) == (20, 30)


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_gradients_are_exact_with_and_without_checkpointing(settings: VPSRefine) -> None:
    gradients_agree(settings)


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_images_do_not_depend_on_their_batch(settings: VPSRefine) -> None:
    image_stands_alone(settings)


def test_only_inversion_without_moves_is_deterministic() -> None:
    assert [settings.is_random for settings in CASES] == [True, True, True, False]


@pytest.mark.parametrize("fields", [{"gamma": 0.0}, {"gamma": 1.0}, {"time": 0}, {"start": "backward"}])
def test_bad_settings_are_explained(fields: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=f"vps_refine.{next(iter(fields))}"):
        VPSRefine.make(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gamma": 0.0}, "gamma must be above 0 and below 1, got 0"),
        ({"gamma": 2.5}, "gamma must be above 0 and below 1, got 2.5"),
        ({"repeats": -1}, "repeats must be at least 0, got -1"),
        ({"time": 0}, "time step of 1 to 1000, got 0"),
    ],
)
def test_bad_numbers_are_explained_by_the_function_too(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vps_refine(NETWORK, pictures(1), noise_for(1), **fields)


def test_more_strides_than_time_steps_are_explained() -> None:
    with pytest.raises(ValueError, match="1 to 10 strides to 0, got 11"):
        vps_refine(NETWORK, pictures(1), noise_for(1), steps=11)
