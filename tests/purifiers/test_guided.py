"""Purifiers that follow gradients (GDMP, ScoreOpt, ADP) against independent loops, and their own gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

import lustral.purifiers.guidance
from lustral.diffusion.samplers import Denoise
from lustral.purifiers import ADP, GDMP, ScoreOpt
from lustral.purifiers.diffusion import DiffusionPurifier
from lustral.purifiers.gdmp import _LIKENESS
from lustral.settings import SettingsError
from lustral.steps import checkpointing, watching
from tests.diffusion.examples import gaussian, images, noise_for, tiny_denoiser, warped

GUIDED = (
    GDMP(time=12, steps=3, rounds=2, scale=6000.0),
    GDMP(time=12, steps=3, rounds=1, guidance="ssim", scale=3000.0),
    GDMP(time=180, steps=3, rounds=1, guidance="ssim", scale=10.0, reference="image", epsilon=4 / 255),
)
EVERY = (
    *GUIDED,
    ScoreOpt(steps=3),
    ScoreOpt(variant="image", steps=3, learning_rate=0.01),
    ADP(steps=4, level=0.5, rate=0.2, stop=0.0),
    ADP(steps=4, level=0.5, rate=0.3, stop=0.25),
)
NETWORK = tiny_denoiser()


def scalar(settings: DiffusionPurifier, x: Tensor, denoise: Denoise = NETWORK) -> Tensor:
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(7), dtype=x.dtype)
    return (weights * settings.clean(denoise, x, noise_for(len(x)))).sum()


def gradient_of(settings: DiffusionPurifier, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(scalar(settings, x), x)[0]


def slope_error(settings: DiffusionPurifier, step: float = 1e-6) -> float:
    """Largest relative difference between the gradient and central differences along three directions."""
    x = 0.8 * images()
    gradient, generator = gradient_of(settings, x), torch.Generator().manual_seed(3)
    worst = 0.0
    for _ in range(3):
        direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        with torch.no_grad():
            slope = (scalar(settings, x + step * direction) - scalar(settings, x - step * direction)) / (2 * step)
        expected = (gradient * direction).sum()
        worst = max(worst, float(abs(slope - expected) / max(abs(slope), abs(expected))))
    return worst


@pytest.mark.parametrize("settings", EVERY, ids=str)
def test_gradient_equals_central_differences(settings: DiffusionPurifier) -> None:
    assert slope_error(settings) <= 1e-5


@pytest.mark.parametrize("settings", EVERY, ids=str)
def test_checkpointed_gradient_and_deployed_value_are_the_same_bits(settings: DiffusionPurifier) -> None:
    x = 0.8 * images()
    plain = gradient_of(settings, x)
    with checkpointing():
        assert torch.equal(gradient_of(settings, x), plain)
    with torch.no_grad():
        deployed = settings.clean(NETWORK, x, noise_for(2))
    assert torch.equal(settings.clean(NETWORK, x.clone().requires_grad_(), noise_for(2)), deployed)


@pytest.mark.parametrize("settings", [*GUIDED, *EVERY[3:5]], ids=str)
def test_central_differences_notice_a_missing_second_order_term(
    settings: DiffusionPurifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lustral.purifiers.guidance.slope
    monkeypatch.setattr(lustral.purifiers.guidance, "slope", lambda *inputs: whole(*inputs).detach())
    assert slope_error(settings) > 1e-3


@pytest.mark.parametrize("settings", EVERY, ids=str)
def test_an_image_does_not_depend_on_its_batch(settings: DiffusionPurifier) -> None:
    x = 0.8 * images(3)
    together = settings.clean(NETWORK, x, noise_for(3))
    for row in range(3):
        alone = settings.clean(NETWORK, x[row : row + 1], noise_for(3).select([row]))
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-11)


@pytest.mark.parametrize("settings", [*EVERY[:3], ADP(steps=3, stop=0.0)], ids=str)
def test_passes_are_what_is_declared(settings: DiffusionPurifier) -> None:
    calls: list[int] = []

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(len(x))
        return warped(x, sigma)

    settings.clean(counted, images(), noise_for(2))
    assert len(calls) == settings.passes


def test_passes_of_scoreopt_count_a_backward_pass_twice() -> None:
    assert ScoreOpt(steps=5).passes == 16
    assert ScoreOpt(variant="image", steps=20).passes == 60


@pytest.mark.parametrize("settings", EVERY, ids=str)
def test_nothing_is_recorded_for_images_that_need_no_gradient(settings: DiffusionPurifier) -> None:
    assert not settings.clean(warped, images(), noise_for(2)).requires_grad


# GDMP


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Of two arrays (3, h, w) in [-1, 1], by scipy."""

    def window(x: np.ndarray) -> np.ndarray:
        return scipy.ndimage.gaussian_filter(x, (0, 1.5, 1.5), radius=(0, 5, 5), mode="mirror")

    spread_a, spread_b = window(a * a) - window(a) ** 2, window(b * b) - window(b) ** 2
    shared = window(a * b) - window(a) * window(b)
    above = (2 * window(a) * window(b) + 0.0004) * (2 * shared + 0.0036)
    return float((above / ((window(a) ** 2 + window(b) ** 2 + 0.0004) * (spread_a + spread_b + 0.0036))).mean())


def ssim_slope(x: Tensor, reference: Tensor) -> Tensor:
    """Gradient of the SSIM of every image by central differences, pixel by pixel."""
    found = torch.zeros_like(x)
    for place in np.ndindex(*x.shape):
        ends = []
        for sign in (1, -1):
            moved = x[place[0]].numpy().copy()
            moved[place[1:]] += sign * 1e-5
            ends.append(ssim(moved, reference[place[0]].numpy()))
        found[place] = (ends[0] - ends[1]) / 2e-5
    return found


def mse_slope(x: Tensor, reference: Tensor) -> Tensor:
    return -2 * (x - reference) / x[0].numel()


def ddpm_loop(settings: GDMP, x: Tensor, likeness_slope: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Algorithm of the paper from betas, indices as in published code, over ``warped``."""
    noise, image = noise_for(len(x)), x
    abar = np.concatenate([[1.0], np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))])
    times = np.linspace(settings.time, 0, settings.steps + 1).round().astype(int)
    for _ in range(settings.rounds):
        x = math.sqrt(abar[times[0]]) * x + math.sqrt(1 - abar[times[0]]) * noise.normal(x)
        for t, s in itertools.pairwise(times):
            z, e = noise.normal(x), noise.normal(x) if settings.reference == "noised" else None
            beta = 1 - abar[t] / abar[s]
            level = torch.full((len(x),), math.sqrt((1 - abar[t]) / abar[t]), dtype=x.dtype)
            guess = warped(x / math.sqrt(abar[t]), level).clamp(-1, 1)
            mean = (math.sqrt(abar[s]) * beta * guess + math.sqrt(1 - beta) * (1 - abar[s]) * x) / (1 - abar[t])
            if s > 0:
                near = image if e is None else math.sqrt(abar[t]) * image + math.sqrt(1 - abar[t]) * e
                m = settings.epsilon * 2 / 3 / settings.scale
                scale = math.sqrt(1 - abar[t]) / (m * math.sqrt(abar[t]))
                mean = mean + beta * scale * likeness_slope(x, near) + math.sqrt(beta) * z
            x = mean
    return x


@pytest.mark.parametrize(
    ("settings", "likeness_slope"),
    [
        (GDMP(time=12, steps=3, rounds=2, scale=6000.0), mse_slope),
        (GDMP(time=180, steps=3, rounds=1, scale=10.0, reference="image", epsilon=4 / 255), mse_slope),
        (GDMP(time=12, steps=2, rounds=1, guidance="ssim", scale=3000.0), ssim_slope),
    ],
    ids=["mse, noised", "mse, image", "ssim"],
)
def test_gdmp_equals_the_algorithm_of_its_paper(
    settings: GDMP, likeness_slope: Callable[[Tensor, Tensor], Tensor]
) -> None:
    x = images()
    expected = ddpm_loop(settings, x, likeness_slope)
    torch.testing.assert_close(settings.clean(warped, x, noise_for(2)), expected, rtol=0, atol=1e-8)


def test_ssim_equals_scipy() -> None:
    a, b = images(2, 16, 13), warped(images(2, 16, 13), torch.zeros(2, dtype=torch.float64))
    expected = [ssim(left.numpy(), right.numpy()) for left, right in zip(a, b, strict=True)]
    assert _LIKENESS["ssim"](a, b).tolist() == pytest.approx(expected, abs=1e-12)
    assert _LIKENESS["ssim"](a, a).tolist() == pytest.approx([1, 1], abs=1e-12)


@pytest.mark.parametrize(("guidance", "scale"), [("mse", 30000.0), ("ssim", 3000.0)])
def test_guidance_makes_the_result_more_like_the_image(guidance: str, scale: float) -> None:
    x = 0.8 * images(4, 32, 32)

    def likeness(scale: float) -> Tensor:
        settings = GDMP.make(time=36, steps=18, rounds=1, guidance=guidance, scale=scale)
        return _LIKENESS[guidance](settings.clean(gaussian(0.0, 0.3), x, noise_for(4)), x)

    assert (likeness(scale) > likeness(0.0)).all()


# ScoreOpt


def torch_adam(settings: ScoreOpt, x: Tensor, denoise: Denoise) -> Tensor:
    """Both variants for one image, with the optimiser of torch."""
    noise, sigma = noise_for(1), torch.full((1,), settings.sigma, dtype=x.dtype)
    e = noise.normal(x) if settings.variant == "noise" else torch.zeros_like(x)
    moving = (x + settings.sigma * e).requires_grad_()
    optimiser = torch.optim.Adam([moving], lr=settings.learning_rate, eps=settings.adam_epsilon)
    for _ in range(settings.steps):
        if settings.variant == "noise":
            loss = ((moving - denoise(moving, sigma)) / settings.sigma - e).square().mean()
        else:
            level = settings.sigma - 0.1 + 0.2 * noise.uniform(sigma)
            noisy = moving + level * noise.normal(x)
            loss = (denoise(noisy, level) - moving).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return denoise(moving, sigma) if settings.variant == "noise" else moving.clone()


@pytest.mark.parametrize(
    ("denoise", "epsilon"), [(NETWORK, 1e-8), (warped, 1e-8), (warped, 1e-3)], ids=["network", "warped", "warped-large"]
)
@pytest.mark.parametrize("variant", ["noise", "image"])
def test_scoreopt_equals_the_optimiser_of_torch(variant: str, denoise: Denoise, epsilon: float) -> None:
    settings = ScoreOpt.make(variant=variant, steps=6, learning_rate=0.05, adam_epsilon=epsilon)
    x = images(1)
    expected = torch_adam(settings, x, denoise)
    torch.testing.assert_close(settings.clean(denoise, x, noise_for(1)), expected, rtol=0, atol=1e-10)
    assert (expected - x).abs().max() > 0.05


def test_a_pixel_without_gradient_is_no_trouble_to_adam() -> None:
    x = images().requires_grad_()
    y = ScoreOpt(variant="image", steps=3).clean(lambda noisy, sigma: x, x, noise_for(2))  # the loss is 0 everywhere
    assert torch.equal(y, x)
    assert torch.autograd.grad(y.sum(), x)[0].isfinite().all()


def test_levels_of_scoreopt_must_stay_positive() -> None:
    with pytest.raises(SettingsError, match=r"scoreopt.sigma: .*must exceed 0.1"):
        ScoreOpt.make(variant="image", sigma=0.1)
    ScoreOpt(variant="noise", sigma=0.1)


# ADP


def states_of(settings: ADP, denoise: Denoise, x: Tensor) -> list[Tensor]:
    seen: list[Tensor] = []
    with watching(lambda event, facts: seen.append(facts["x"]) if event == "state" else None):
        settings.clean(denoise, x, noise_for(len(x)))
    return seen


def test_adp_goes_its_share_of_a_straight_way_and_every_image_stops_by_itself() -> None:
    x = torch.stack([images(1)[0], 0.1 * images(1)[0]])
    goal = torch.zeros_like(x)
    settings = ADP(deviation=0.01, steps=50, rate=0.25, level=0.4, stop=0.05)
    start = (x + 0.02 * noise_for(2).normal(x)).clamp(-1, 1)
    states = states_of(settings, lambda x, sigma: goal[: len(x)], x)
    for row in range(2):
        rms, count = float(start[row].square().mean().sqrt()), 0
        while 0.25 * rms * 0.75**count > 0.05 * 0.4:
            count += 1
        torch.testing.assert_close(states[-1][row], start[row] * 0.75**count, rtol=1e-9, atol=0)
        for state in states[count:]:
            assert torch.equal(state[row], states[-1][row])
    assert 0 < len(states) < 50


def test_adp_stays_where_the_score_grows_along_itself() -> None:
    x = images()
    settings = ADP(deviation=0.01, stop=0.0)
    assert states_of(settings, lambda x, sigma: 1.5 * x, x) == []


def test_adp_step_does_not_depend_on_the_scale_of_the_score() -> None:
    """A denoiser that goes only half of the way is followed twice as far, as long as that is not beyond its guess."""
    x, goal = images(), 0.1 * images().flip(0)
    settings = ADP(deviation=0.01, steps=4, rate=0.2, stop=0.0)
    whole = settings.clean(lambda x, sigma: goal, x, noise_for(2))
    half = settings.clean(lambda x, sigma: x + 0.5 * (goal - x), x, noise_for(2))
    torch.testing.assert_close(whole, half, rtol=0, atol=1e-9)
