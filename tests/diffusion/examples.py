"""Denoisers whose results are known, and every sampler under one signature."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lustral.diffusion.preconditioned import PreconditionedDenoiser
from lustral.diffusion.samplers import (
    Denoise,
    ancestral,
    ddim,
    diffuse,
    heun,
    one_shot,
    probability_flow,
    ve_sde,
    vp_sde,
)
from lustral.diffusion.schedules import Schedule, edm_sigmas, variance_exploding, vp_continuous, vp_linear
from lustral.nets.unet import NoiseUNet
from lustral.seeds import Noise

Sampler = Callable[[Denoise, Tensor, Schedule, tuple[int, ...], Noise], Tensor]
SAMPLERS: dict[str, tuple[Schedule, Sampler]] = {
    "ancestral": (vp_linear(), lambda d, x, s, t, n: ancestral(d, x, s, t, n)),
    "ancestral_large": (vp_linear(), lambda d, x, s, t, n: ancestral(d, x, s, t, n, clip=False, large=True)),
    "ddim": (vp_linear(), lambda d, x, s, t, n: ddim(d, x, s, t)),
    "ddim_random": (vp_linear(), lambda d, x, s, t, n: ddim(d, x, s, t, n, eta=0.5, clip=True)),
    "vp_sde": (vp_continuous(), lambda d, x, s, t, n: vp_sde(d, x, s, t, n)),
    "probability_flow": (vp_continuous(), lambda d, x, s, t, n: probability_flow(d, x, s, t)),
    "ve_sde": (variance_exploding(), lambda d, x, s, t, n: ve_sde(d, x, s, t, n)),
    "one_shot": (variance_exploding(), lambda d, x, s, t, n: one_shot(d, x, s, t[0])),
    "heun": (edm_sigmas(1000), lambda d, x, s, t, n: heun(d, x, s, t)),
}


def noise_for(n: int, seed: int = 0) -> Noise:
    return Noise(seed, "diffusion", [str(row) for row in range(n)])


def images(n: int = 2, height: int = 8, width: int = 8, dtype: torch.dtype = torch.float64) -> Tensor:
    """Smooth images in [-1, 1], all different."""
    generator = torch.Generator().manual_seed(height * width)
    coarse = torch.rand(n, 3, 3, 3, generator=generator, dtype=torch.float64) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True).to(dtype)


def tiny_denoiser(dtype: torch.dtype = torch.float64) -> PreconditionedDenoiser:
    """The network of the package, small, with random weights everywhere."""
    generator = torch.Generator().manual_seed(1)
    network = NoiseUNet(widths=(16, 32), blocks=1, patch=2, embedding=16).double()
    with torch.no_grad():
        for weights in network.parameters():
            fan_in = max(1, weights[0].numel())
            weights.copy_(torch.randn(weights.shape, generator=generator, dtype=torch.float64) / fan_in**0.5)
    return PreconditionedDenoiser(network, side=8).eval().requires_grad_(False).to(dtype)


def warped(x: Tensor, sigma: Tensor) -> Tensor:
    """A smooth guess that mixes neighbours, depends on the noise level and sometimes leaves [-1, 1]."""
    return 1.3 * torch.tanh(1.5 * x.roll(1, 3) / (1 + sigma[:, None, None, None]) - 0.3 * x)


def gaussian(mean: float, deviation: float) -> Denoise:
    """The exact denoiser of images whose values are independent and normal."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        s, v = sigma[:, None, None, None] ** 2, deviation**2
        return (v * x + s * mean) / (v + s)

    return denoise


def purified(name: str, denoise: Denoise, x: Tensor, noise: Noise, sigma: float = 0.4, strides: int = 4) -> Tensor:
    """Noise of ``sigma``, then ``strides`` strides back with one of ``SAMPLERS``."""
    schedule, sampler = SAMPLERS[name]
    t = schedule.nearest(sigma)
    return sampler(denoise, diffuse(x, schedule, t, noise), schedule, schedule.times(t, strides), noise)
