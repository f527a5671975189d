"""Networks that predict noise, as denoisers: the same numbers as the published loops."""

import math

import pytest
import torch
from torch import nn

from lustral.diffusion.epsilon import ContinuousDenoiser, EpsilonDenoiser, ExplodingDenoiser, vp_cosine
from lustral.diffusion.padded import Padded
from lustral.diffusion.samplers import ancestral_step
from lustral.diffusion.schedules import vp_linear
from tests.conftest_torchvision import require_torchvision


def tiny_unet(**settings):
    require_torchvision()
    from lustral.diffusion.unet2d import make_unet2d

    config = {
        "sample_size": 8, "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    }  # fmt: skip
    network = make_unet2d(config | settings).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2, generator=generator)
    return network.requires_grad_(False)


def normal(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_loop_of_ddpm_is_the_loop_of_diffusers():
    network = tiny_unet()
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
    scheduler.betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = scheduler.alphas.cumprod(0)
    scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    x = start = normal(2, 3, 8, 8)
    generator = torch.Generator().manual_seed(3)
    for index in range(24, -1, -1):
        x = scheduler.step(network(x, index).sample, index, x, generator=generator).prev_sample
    denoiser = EpsilonDenoiser(network, vp_linear(), side=8)
    ours, generator = start, torch.Generator().manual_seed(3)
    for t in range(25, 0, -1):
        z = torch.randn(ours.shape, generator=generator, dtype=ours.dtype)
        ours = ancestral_step(denoiser, ours, vp_linear(), t, t - 1, z)[0]
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_every_image_is_told_its_own_published_index(name):
    schedule = {"linear": vp_linear, "cosine": vp_cosine}[name]()
    seen = []

    class Network(nn.Module):
        def forward(self, x, index):
            seen.append(index)
            return torch.cat([x, 100 + x], dim=1)  # the learned variance is not used

    denoiser = EpsilonDenoiser(Network(), schedule)
    steps = torch.tensor([1, 2, 500, 1000])
    sigma = torch.tensor([schedule.sigmas[t] for t in steps], dtype=torch.float64)
    x = normal(4, 3, 4, 4)
    found = denoiser(x, sigma)
    assert torch.equal(seen[0], steps - 1)
    scale = torch.tensor([schedule.scales[t] for t in steps], dtype=torch.float64)
    torch.testing.assert_close(found, x * (1 - sigma * scale)[:, None, None, None])
    denoiser(x[:2], torch.tensor([1e-4, 1e9], dtype=torch.float64))
    assert seen[1].tolist() == [0, 999]


def test_the_cosine_schedule_is_that_of_diffusers():
    require_torchvision()
    from diffusers import DDPMScheduler

    expected = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()
    found = torch.tensor(vp_cosine().scales[1:], dtype=torch.float64).square()
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=1e-8)


@pytest.mark.parametrize("kind", [ContinuousDenoiser, ExplodingDenoiser])
def test_a_network_that_knows_gaussian_noise_denoises_it_perfectly(kind):
    """Clean images of normal numbers of deviation 0.5: the best guess is known, and so is the perfect network."""

    class Perfect(nn.Module):
        def forward(self, x, label):
            if kind is ContinuousDenoiser:
                t = label / 999
                abar = torch.exp(-0.5 * 19.9 * t**2 - 0.1 * t)
                return (1 - abar).sqrt()[:, None, None, None] * x / (0.25 * abar + 1 - abar)[:, None, None, None]
            sigma = 2 * label.exp()[:, None, None, None]
            return -sigma * x / (0.25 + sigma**2)

    sigma = torch.tensor([0.01, 0.3, 5.0], dtype=torch.float64)
    x = normal(3, 3, 4, 4)
    best = x * (0.25 / (0.25 + sigma**2))[:, None, None, None]
    torch.testing.assert_close(kind(Perfect())(x, sigma), best, rtol=1e-9, atol=1e-12)


def test_derivatives_through_diffusers_are_exact_to_the_second_order():
    denoiser = EpsilonDenoiser(tiny_unet(), side=8)
    x, sigma = normal(1, 3, 4, 4).requires_grad_(), torch.tensor([0.4], dtype=torch.float64)
    directions = [normal(1, 3, 4, 4, seed=seed) for seed in (2, 3)]

    def slope(x):
        value = (denoiser(x, sigma) * directions[0]).sum()
        return (torch.autograd.grad(value, x, create_graph=True)[0] * directions[1]).sum()

    step = 1e-5
    ends = [(denoiser(x.detach() + s * step * directions[1], sigma) * directions[0]).sum() for s in (1, -1)]
    assert math.isclose(float(ends[0] - ends[1]) / (2 * step), float(slope(x).detach()), rel_tol=1e-6)
    second = (torch.autograd.grad(slope(x), x)[0] * directions[0]).sum()
    ends = [slope((x + s * step * directions[0]).detach().requires_grad_()).detach() for s in (1, -1)]
    assert math.isclose(float(ends[0] - ends[1]) / (2 * step), float(second), rel_tol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7), (1, 3), (5, 16)])
def test_any_size_goes_through_a_network_that_halves_images(height, width):
    class Halves(nn.Module):
        side = 8

        def forward(self, x, sigma):
            assert x.shape[2] % 4 == 0
            assert x.shape[3] % 4 == 0
            return 2 * x

    x = normal(2, 3, height, width)
    assert torch.equal(Padded(Halves(), 4)(x, torch.ones(2, dtype=torch.float64)), 2 * x)
    assert Padded(Halves(), 4).side == 8
