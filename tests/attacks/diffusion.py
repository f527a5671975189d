"""A tiny purifier by diffusion over a smooth network, in double precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lustral.diffusion.samplers import ancestral, diffuse, probability_flow, vp_sde
from lustral.diffusion.schedules import vp_continuous, vp_linear
from lustral.seeds import Noise


class TinyDenoiser(nn.Module):
    """Smooth, so that central differences are exact enough; counts its passes."""

    def __init__(self, seed: int = 0, width: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.Tanh(), nn.Conv2d(width, 3, 3, padding=1)
        ).double()
        for weight in self.parameters():
            weight.data.copy_(torch.randn(weight.shape, generator=generator) / max(weight[0].numel(), 1) ** 0.5)
        self.requires_grad_(False)
        self.passes = 0

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.passes += len(x)
        level = sigma[:, None, None, None]
        return x / (1 + level**2) + 0.5 * level * self.body(x)


class TinyPurifier:
    """Diffuse to ``time`` and come back in ``strides``, as ``DiffPure`` does."""

    def __init__(self, time: int = 40, strides: int = 4, solver: str = "sde", rounds: int = 1) -> None:
        self.denoise, self.time, self.strides, self.solver, self.rounds = TinyDenoiser(), time, strides, solver, rounds

    def __call__(self, x: Tensor, noise: Noise) -> Tensor:
        x = 2 * x - 1
        for _ in range(self.rounds):
            x = diffuse(x, vp_linear(), self.time, noise)
            times = vp_continuous().times(self.time, self.strides)
            if self.solver == "ode":
                x = probability_flow(self.denoise, x, vp_continuous(), times)
            elif self.solver == "ddpm":
                x = ancestral(self.denoise, x, vp_linear(), times, noise, clip=False)
            else:
                x = vp_sde(self.denoise, x, vp_continuous(), times, noise)
        return (x + 1) / 2
