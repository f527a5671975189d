"""Purifiers that sample from a diffusion model, against loops written from their formulas, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, mse_loss

from lustral.diffusion.preconditioned import PreconditionedDenoiser
from lustral.diffusion.samplers import Denoise, ancestral, ddim, diffuse
from lustral.diffusion.schedules import vp_linear
from lustral.nets.unet import NoiseUNet
from lustral.purifiers import DDA, DDPM, EDM, Gradual, Langevin, MimicDiffusion, OneShot
from lustral.purifiers.dda import coarse
from lustral.purifiers.diffusion import DiffusionPurifier
from lustral.seeds import Noise
from lustral.settings import SettingsError
from lustral.steps import checkpointing

EXACT = (
    DDPM(time=60, steps=4),
    DDPM(time=60, steps=3, clip=False, variance="large"),
    Langevin(time=38),
    Gradual(rounds="40/2x2+60/3"),
    DDA(respaced=20, start=4),
    OneShot(sigma=0.5),
    EDM(sigma=0.5, steps=3),
)
MIMIC = MimicDiffusion(steps=6, first=1, last=4)
EVERY = (*EXACT, MIMIC, MimicDiffusion(steps=6, first=1, last=4, backward="identity"))


def images(n: int, side: int = 8, seed: int = 0) -> Tensor:
    """Smooth images in [-0.9, 0.9], float64."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(n, 3, 3, 3, generator=generator, dtype=torch.float64) * 1.8 - 0.9
    return interpolate(small, (side, side), mode="bilinear", align_corners=True)


def noise_for(n: int) -> Noise:
    return Noise(0, "test", [f"image-{row}" for row in range(n)])


@pytest.fixture(scope="module")
def network() -> Denoise:
    """A small denoiser with random weights, none of them zero."""
    model = PreconditionedDenoiser(NoiseUNet(widths=(16, 32), blocks=1, patch=2, embedding=16), side=8).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        spread = 1 / math.sqrt(parameter[0].numel())
        parameter.data = spread * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model.eval().requires_grad_(False)


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """The exact denoiser of independent pixels of variance 1/4 around 0.1."""
    share = 0.25 / (0.25 + sigma.square())[:, None, None, None]
    return 0.1 + share * (x - 0.1)


def ideal(points: Tensor) -> Denoise:
    """The exact denoiser of a finite set: the mean of its posterior."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        apart = torch.cdist(x.flatten(1), points.flatten(1)).square()
        share = (-apart / (2 * sigma.square()[:, None])).softmax(1)
        return (share @ points.flatten(1)).view_as(x)

    return denoise


@pytest.mark.parametrize("settings", EVERY, ids=str)
def test_checkpointed_gradients_equal_plain_ones_to_the_last_bit(settings: DiffusionPurifier, network: Denoise) -> None:
    weights = images(3, seed=2)
    found: list[tuple[Tensor, Tensor]] = []
    for active in (False, True):
        x = images(3).requires_grad_()
        with checkpointing(active):
            y = settings.clean(network, x, noise_for(3))
            found.append((y.detach(), torch.autograd.grad((weights * y).sum(), x)[0]))
    with torch.no_grad():
        assert torch.equal(settings.clean(network, images(3), noise_for(3)), found[0][0])
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][1].any()


@pytest.mark.parametrize("settings", EXACT, ids=str)
def test_gradients_equal_central_differences(settings: DiffusionPurifier, network: Denoise) -> None:
    x, weights, generator = images(2).requires_grad_(), images(2, seed=2), torch.Generator().manual_seed(3)

    def value(at: Tensor) -> Tensor:
        return (weights * settings.clean(network, at, noise_for(2))).sum()

    (gradient,) = torch.autograd.grad(value(x), x)
    for _ in range(3):
        direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        with torch.no_grad():
            slope = (value(x + 1e-6 * direction) - value(x - 1e-6 * direction)) / 2e-6
        expected = (gradient * direction).sum()
        assert abs(slope - expected) <= 1e-5 * abs(expected)


@pytest.mark.parametrize("settings", EVERY, ids=str)
def test_results_and_gradients_do_not_depend_on_the_batch(settings: DiffusionPurifier, network: Denoise) -> None:
    x, weights = images(3).requires_grad_(), images(3, seed=2)
    together = settings.clean(network, x, noise_for(3))
    (gradient,) = torch.autograd.grad((weights * together).sum(), x)
    alone = x[1:2].detach().requires_grad_()
    y = settings.clean(network, alone, noise_for(3).select([1]))
    torch.testing.assert_close(y, together[1:2], rtol=0, atol=1e-11)
    (own,) = torch.autograd.grad((weights[1:2] * y).sum(), alone)
    torch.testing.assert_close(own, gradient[1:2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("settings", EVERY, ids=str)
def test_the_number_of_passes_is_as_declared(settings: DiffusionPurifier) -> None:
    calls: list[Tensor] = []

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(sigma)
        return gaussian(x, sigma)

    settings.clean(counted, images(1), noise_for(1))
    backward = 2 * len(calls) if isinstance(settings, DDA) else 0
    assert settings.passes == len(calls) + backward


@pytest.mark.parametrize("settings", EVERY, ids=str)
def test_no_graph_is_kept_for_images_that_need_no_gradient(settings: DiffusionPurifier, network: Denoise) -> None:
    assert not settings.clean(network, images(1), noise_for(1)).requires_grad


@pytest.mark.parametrize("large", [False, True])
def test_ddpm_is_the_ancestral_sampler_after_the_forward_process(network: Denoise, large: bool) -> None:
    noise, schedule = noise_for(2), vp_linear()
    state = diffuse(images(2), schedule, 60, noise)
    expected = ancestral(network, state, schedule, schedule.times(60, 4), noise, clip=True, large=large)
    settings = DDPM(time=60, steps=4, variance="large" if large else "small")
    assert torch.equal(settings.clean(network, images(2), noise_for(2)), expected)


def test_gradual_with_one_round_is_ddim_with_eta_1(network: Denoise) -> None:
    noise, schedule = noise_for(2), vp_linear()
    state = diffuse(images(2), schedule, 60, noise)
    expected = ddim(network, state, schedule, (60, 45, 30, 15, 0), noise, eta=1.0)
    assert torch.equal(Gradual(rounds=((60, 4),)).clean(network, images(2), noise_for(2)), expected)


def test_rounds_of_gradual_follow_each_other(network: Denoise) -> None:
    noise = noise_for(2)
    first = Gradual(rounds="30/3").clean(network, images(2), noise)
    expected = Gradual(rounds="50/5").clean(network, first, noise)
    assert torch.equal(Gradual(rounds="30/3+50/5").clean(network, images(2), noise_for(2)), expected)


def test_rounds_are_read_from_text() -> None:
    assert Gradual.make(rounds="30x4 + 50x2 + 125x2") == Gradual()
    assert Gradual.make(rounds="30/1+50/1+125/5").rounds == ((30, 1), (50, 1), (125, 5))
    assert Gradual().passes == 470


@pytest.mark.parametrize(
    ("text", "message"),
    [("30x", "expected rounds such as"), ("", "expected rounds such as"), ("30/31", "time 30 and steps 31"),
     ("1001", "time 1001"), ("0", "time 0"), ("30x0", "at least 1 item")],
)  # fmt: skip
def test_bad_rounds_are_explained(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Gradual.make(rounds=text)


def test_langevin_follows_its_equation() -> None:
    settings, noise = Langevin(time=25, variance=2e-3, rate=0.5, temperature=3.0), noise_for(2)
    start = images(2)
    abar = math.exp(-0.5 * 19.9 * 0.01**2 - 0.1 * 0.01)
    x = start
    for dt in (0.01, 0.01, 0.005):
        guess = gaussian(x / math.sqrt(abar), torch.full((2,), math.sqrt((1 - abar) / abar), dtype=x.dtype))
        score = -(x - math.sqrt(abar) * guess) / (1 - abar)
        drift = -0.5 * 0.5 * (-score + (x - start) / 2e-3)
        x = x + dt * drift + math.sqrt(0.5) * 3.0 * math.sqrt(dt) * noise.normal(x)
    torch.testing.assert_close(settings.clean(gaussian, start, noise_for(2)), x, rtol=0, atol=1e-12)


def test_one_shot_is_the_guess_at_the_noisy_image(network: Denoise) -> None:
    x = images(2)
    expected = network(x + 0.7 * noise_for(2).normal(x), torch.full((2,), 0.7, dtype=x.dtype))
    torch.testing.assert_close(OneShot(sigma=0.7).clean(network, x, noise_for(2)), expected, rtol=0, atol=1e-14)


def test_edm_follows_the_probability_flow() -> None:
    x = images(2)
    noisy = x + 0.5 * noise_for(2).normal(x)
    exact = 0.1 + (noisy - 0.1) * math.sqrt(0.25 / (0.25 + 0.5**2))  # the flow of Gaussian pixels, in closed form
    errors = [float((EDM(sigma=0.5, steps=n).clean(gaussian, x, noise_for(2)) - exact).abs().max()) for n in (8, 32)]
    assert errors[0] < 0.01
    assert errors[1] < errors[0] / 5
    assert torch.allclose(EDM(sigma=0.5, steps=4).clean(ideal(x[:1]), x, noise_for(2)), x[:1], atol=1e-12)


def test_a_guided_step_of_dda_equals_one_by_the_jacobian(network: Denoise) -> None:
    settings, x, noise = DDA(respaced=20, start=1, factor=2, scale=1.3), images(1), noise_for(1)
    abar = float(torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)[0].neg().add(1))
    state = math.sqrt(abar) * x + math.sqrt(1 - abar) * noise.normal(x)

    def guess(at: Tensor) -> Tensor:
        sigma = torch.full((1,), math.sqrt((1 - abar) / abar), dtype=x.dtype)
        return network(at / math.sqrt(abar), sigma).clamp(-1, 1)

    jacobian = torch.autograd.functional.jacobian(lambda at: coarse(guess(at), 2).flatten(), state).flatten(1)
    apart = (coarse(guess(state), 2) - coarse(x, 2)).flatten()
    slope = (jacobian.mT @ (apart / apart.norm())).view_as(x)
    torch.testing.assert_close(settings.clean(network, x, noise_for(1)), guess(state) - 1.3 * slope, rtol=0, atol=1e-11)


def test_guidance_of_dda_brings_the_coarse_image_nearer_to_that_of_the_input() -> None:
    points = images(12, seed=5)
    x = points[:4]
    apart = [
        mse_loss(coarse(DDA(scale=scale).clean(ideal(points), x, noise_for(4)), 4), coarse(x, 4))
        for scale in (0.0, 2.0)
    ]
    assert apart[1] < apart[0]


def test_coarse_keeps_flat_images_and_removes_checkerboards() -> None:
    flat = torch.full((1, 3, 9, 7), 0.3, dtype=torch.float64)
    board = torch.ones(16, 16, dtype=torch.float64)
    board[::2, ::2] = board[1::2, 1::2] = -1
    torch.testing.assert_close(coarse(flat, 4), flat)
    assert coarse(board.expand(1, 3, 16, 16), 4).abs().max() < 0.05


def test_dda_visits_the_respaced_time_steps() -> None:
    assert DDA().times()[:3] == (495, 485, 475)
    assert DDA().times()[-3:] == (11, 1, 0)
    assert len(DDA().times()) == 51


def test_dda_without_distance_has_a_finite_gradient() -> None:
    x = torch.full((1, 3, 8, 8), -1.0, dtype=torch.float64, requires_grad=True)
    y = DDA(respaced=10, start=2).clean(lambda x, sigma: x - 5, x, noise_for(1))  # always clipped to black
    (gradient,) = torch.autograd.grad(y.sum(), x, materialize_grads=True)
    assert y.isfinite().all()
    assert gradient.isfinite().all()


def test_mimicdiffusion_equals_the_published_guidance_at_its_batch_of_16() -> None:
    points, schedule = images(20, side=32, seed=6), vp_linear()
    settings, noise = MimicDiffusion(steps=8, first=2, last=6), noise_for(16)
    denoise, x = ideal(points), points[:16] + 0.02
    y = noise.normal(x)
    for stride, (t, s) in enumerate(zip(range(1000, 0, -125), range(875, -1, -125), strict=True)):
        z = noise.normal(x)
        a, b = schedule.scales[t] ** 2, schedule.scales[s] ** 2
        guess = denoise(y / math.sqrt(a), torch.full((16,), schedule.sigmas[t], dtype=x.dtype))
        e = (y - math.sqrt(a) * guess) / math.sqrt(1 - a)
        fresh = math.sqrt((1 - a / b) * (1 - b) / (1 - a))
        moved = math.sqrt(b) * guess + fresh * z + math.sqrt(1 - b - fresh**2) * e
        if 2 <= stride <= 6:
            at = y.detach().requires_grad_()
            now = (at - math.sqrt(1 - a) * e) / math.sqrt(a)
            far = (now - x).abs().sum(1).mean()
            near = (interpolate(now, scale_factor=4.0) - interpolate(x, scale_factor=4.0)).abs().sum(1).mean()
            moved = moved - 3000 * math.sqrt(a) * torch.autograd.grad(far + near, at)[0]
        y = moved
    torch.testing.assert_close(settings.clean(denoise, x, noise_for(16)), y, rtol=0, atol=1e-9)


def test_mimicdiffusion_lands_at_the_nearest_image_of_a_finite_set() -> None:
    points = images(12, seed=7)
    x = points[:6] + 0.05 * images(6, seed=8)
    y = MimicDiffusion().clean(ideal(points), x, noise_for(6))
    assert torch.allclose(y, points[:6], atol=0.01)


def test_mimicdiffusion_does_not_move_with_small_changes_of_its_input(network: Denoise) -> None:
    x = images(2)
    moved = x + 1e-9 * images(2, seed=9)
    results = [MIMIC.clean(network, at, noise_for(2)) for at in (x, moved)]
    assert torch.equal(*results)


def test_the_surrogate_of_mimicdiffusion_is_the_derivative_of_the_difference() -> None:
    x = images(2).requires_grad_()
    y = MimicDiffusion(steps=2, first=0, last=0).clean(gaussian, x, noise_for(2))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    a = vp_linear().scales[500] ** 2  # the last stride is linear: the guess at the guided state
    expected = 2 * 3000 / (16 * 1024) * 0.25 / (0.25 + (1 - a) / a) / math.sqrt(a)
    torch.testing.assert_close(gradient, torch.full_like(x, expected), rtol=0, atol=1e-12)
    y = MimicDiffusion(steps=2, first=0, last=0, backward="identity").clean(gaussian, x, noise_for(2))
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.ones_like(x))


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (DDA, {"respaced": 10}, "start must be at most respaced=10, got 50"),
        (MimicDiffusion, {"steps": 50}, "got first=21 and last=89"),
        (MimicDiffusion, {"first": 90}, "got first=90 and last=89"),
        (EDM, {"sigma": 0.02}, "greater than 0.02"),
    ],
)
def test_settings_that_do_not_fit_are_explained(
    cls: type[DiffusionPurifier], fields: dict[str, float], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        cls.make(**fields)


@pytest.mark.parametrize("cls", [DDPM, Langevin, Gradual, DDA, MimicDiffusion, OneShot, EDM])
def test_presets_are_settings(cls: type[DiffusionPurifier]) -> None:
    for preset in cls.presets:
        assert cls.make(**cls.make(**preset).model_dump()) == cls.make(**preset)
