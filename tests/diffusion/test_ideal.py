"""The ideal denoiser is right, and every sampler over it ends on an image of its set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lustral.diffusion.ideal import IdealDenoiser
from lustral.diffusion.samplers import heun, one_shot, probability_flow
from lustral.diffusion.schedules import edm_sigmas, variance_exploding, vp_continuous
from tests.diffusion.examples import SAMPLERS, images, noise_for

SIDE = 4


def points(n: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(n, 3, SIDE, SIDE, generator=generator, dtype=torch.float64) * 2 - 1


def level(sigma: float, n: int = 3) -> Tensor:
    return torch.full((n,), sigma, dtype=torch.float64)


def posterior_mean(x: Tensor, sigma: float) -> np.ndarray:
    """Bayes' rule, image by image, in extended precision."""
    found = []
    for image in x.numpy().astype(np.longdouble):
        exponents = [-((image - p) ** 2).sum() / (2 * sigma**2) for p in points().numpy()]
        weights = np.exp(np.array(exponents) - max(exponents))
        found.append(sum(w * p for w, p in zip(weights / weights.sum(), points().numpy(), strict=True)))
    return np.stack(found).astype(float)


@pytest.mark.parametrize("sigma", [0.02, 0.5, 3.0, 80.0])
def test_it_is_the_posterior_mean(sigma: float) -> None:
    x = images(3, SIDE, SIDE) + sigma * noise_for(3).normal(images(3, SIDE, SIDE))
    np.testing.assert_allclose(IdealDenoiser(points())(x, level(sigma)).numpy(), posterior_mean(x, sigma), atol=1e-12)


def test_one_shot_is_the_posterior_mean() -> None:
    schedule = vp_continuous()
    x = images(3, SIDE, SIDE)
    found = one_shot(IdealDenoiser(points()), schedule.scales[700] * x, schedule, 700)
    np.testing.assert_allclose(found.numpy(), posterior_mean(x, schedule.sigmas[700]), atol=1e-10)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_its_score_is_the_gradient_of_the_log_density(sigma: float) -> None:
    """Tweedie's formula: (D(x, sigma) - x) / sigma^2 for a mixture of Gaussians around the images."""
    x = (images(3, SIDE, SIDE) + sigma * noise_for(3).normal(images(3, SIDE, SIDE))).requires_grad_()
    distances = (x[:, None] - points()).square().flatten(2).sum(2)
    log_density = torch.logsumexp(-distances / (2 * sigma**2), dim=1)
    (score,) = torch.autograd.grad(log_density.sum(), x)
    torch.testing.assert_close((IdealDenoiser(points())(x, level(sigma)) - x) / sigma**2, score, rtol=1e-8, atol=1e-8)


def test_it_is_stable_in_single_precision_halfway_between_two_images() -> None:
    """Where the shares of two images are equal, rounding of the distances would show most."""
    denoise = IdealDenoiser(points().float())
    x = points()[:2].float().mean(0, keepdim=True)
    guess = denoise(x, torch.tensor([0.02]))
    single = IdealDenoiser(points().float().double())(x.double(), level(0.02, 1))
    assert guess.dtype == torch.float32
    torch.testing.assert_close(guess, single.float(), rtol=0, atol=1e-6)
    assert torch.equal(
        denoise(x + 1e-3 * (points()[1] - points()[0]).float(), torch.tensor([0.02]))[0], denoise.points[1]
    )


def test_its_gradient_equals_central_differences() -> None:
    x, denoise = images(2, SIDE, SIDE).requires_grad_(), IdealDenoiser(points())
    assert torch.autograd.gradcheck(lambda x: denoise(x, level(0.8, 2)), x)


def test_it_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"shape of the set, \(3, 4, 4\), got \(3, 8, 8\)"):
        IdealDenoiser(points())(images(1, 8, 8), level(1.0, 1))
    with pytest.raises(ValueError, match="floating point images"):
        IdealDenoiser(points()[:0])
    assert IdealDenoiser(points()).side is None


@pytest.mark.parametrize("name", sorted(SAMPLERS.keys() - {"one_shot"}))
def test_samplers_lead_from_pure_noise_to_an_image_of_the_set(name: str) -> None:
    schedule, sampler = SAMPLERS[name]
    noise = noise_for(12)
    pure = noise.normal(torch.empty(12, 3, SIDE, SIDE, dtype=torch.float64))
    x = schedule.scales[-1] * schedule.sigmas[-1] * pure
    end = sampler(IdealDenoiser(points()), x, schedule, schedule.times(schedule.steps, 250), noise)
    distances = (end[:, None] - points()).abs().flatten(2).amax(2)  # (12, 5)
    # Euler takes half of the noise away in a last stride of four time steps, and the SDE adds some.
    tolerance = {"vp_sde": 0.1, "probability_flow": 0.05}.get(name, 1e-3)
    assert distances.amin(1).max() < tolerance
    assert len(distances.argmin(1).unique()) >= 3, "different noise must lead to different images"


def mixture_share(u: Tensor, sigma: float, size: float) -> Tensor:
    """Distribution function of ``+-size`` with equal chances plus noise of ``sigma``."""
    normal = torch.distributions.Normal(0.0, sigma)
    return (normal.cdf(u - size) + normal.cdf(u + size)) / 2


@pytest.mark.parametrize(("flow", "tolerance"), [("heun", 2e-4), ("probability_flow", 2e-2)])
def test_the_flow_keeps_the_share_of_the_distribution_below_a_state(flow: str, tolerance: float) -> None:
    """Of two opposite images only the direction between them is mixed, and a flow in one dimension keeps order."""
    point = points(1)
    size, denoise = float(point.norm()), IdealDenoiser(torch.cat([point, -point]))
    along = point / size
    u = size * torch.linspace(-1.5, 1.5, 9, dtype=torch.float64)
    schedule = edm_sigmas(160) if flow == "heun" else vp_continuous()
    first = schedule.nearest(5.0)
    last = schedule.nearest(0.6 * size)
    x = schedule.scales[first] * u[:, None, None, None] * along
    times = range(first, last - 1, -1)
    sampler = heun if flow == "heun" else probability_flow
    end = (sampler(denoise, x, schedule, times) / schedule.scales[last] * along).flatten(1).sum(1)
    before = mixture_share(u, schedule.sigmas[first], size)
    after = mixture_share(end, schedule.sigmas[last], size)
    assert (end - u).abs().max() > 0.25 * size
    torch.testing.assert_close(after, before, rtol=0, atol=tolerance)
    final = sampler(denoise, x, schedule, range(first, -1, -1))
    torch.testing.assert_close(final[u > 0], point.expand(4, -1, -1, -1), rtol=0, atol=5e-3)
    torch.testing.assert_close(final[u < 0], -point.expand(4, -1, -1, -1), rtol=0, atol=5e-3)


def test_the_exploding_schedule_starts_above_all_noise_of_the_set() -> None:
    """From its largest level the guess is the mean of the set, whatever the image."""
    x = 80 * noise_for(2).normal(images(2, SIDE, SIDE))
    guess = IdealDenoiser(points())(x, level(variance_exploding().sigmas[-1], 2))
    torch.testing.assert_close(guess, points().mean(0).expand(2, -1, -1, -1), rtol=0, atol=0.1)
