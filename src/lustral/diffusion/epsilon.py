"""Denoisers over published networks that predict noise, or the score, at the times of their own schedule."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lustral.diffusion.schedules import BETA_MAX, BETA_MIN, Schedule, vp_linear

__all__ = ["ContinuousDenoiser", "EpsilonDenoiser", "ExplodingDenoiser", "vp_cosine"]

_Images = Float[Tensor, "n 3 h w"]


def vp_cosine(steps: int = 1000) -> Schedule:
    """Variance-preserving schedule whose signal falls like a squared cosine; no beta exceeds 0.999.

    Source: Nichol and Dhariwal, arXiv:2102.09672, equation 17.
    """
    signal = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
    beta = np.minimum(1 - signal[1:] / signal[:-1], 0.999)
    abar = np.concatenate([[1.0], np.cumprod(1 - beta)])
    return Schedule("vp_cosine", tuple(np.sqrt((1 - abar) / abar).tolist()), tuple(np.sqrt(abar).tolist()))


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]  # (n, 1, 1, 1)


class EpsilonDenoiser(nn.Module):
    """``D(x, sigma) = x - sigma e(scale_t x, t - 1)``: a network that predicts noise at integer times.

    The time step ``t`` of an image is the one of the schedule whose sigma is nearest to that of the image; the network
    is told the published index ``t - 1``. At the sigmas of the schedule this is exactly the x_0 of DDPM.

    Args:
        network: images (n, 3, h, w) and integer indices (n,) -> (n, 3 or 6, h, w), where channels 4 to 6 are a learned
            variance that is not used; it may return an object with an attribute ``sample``, as diffusers does.
        schedule: the schedule it learnt.
        side: side of the images it learnt.

    Shape: images (n, 3, h, w) in [-1, 1] with noise of deviation sigma (n,) > 0 -> clean images, same shape.

    Source: Ho, Jain, Abbeel, arXiv:2006.11239, equation 15.
    """

    def __init__(self, network: nn.Module, schedule: Schedule | None = None, side: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.schedule = vp_linear() if schedule is None else schedule
        self.side = side

    def forward(self, x: _Images, sigma: Float[Tensor, " n"]) -> _Images:
        steps = [self.schedule.nearest(level) for level in sigma.tolist()]
        scale = torch.tensor([self.schedule.scales[t] for t in steps], dtype=x.dtype, device=x.device)
        index = torch.tensor(steps, device=x.device) - 1
        found = self.network(_column(scale) * x, index)
        return x - _column(sigma) * getattr(found, "sample", found)[:, :3]


class ContinuousDenoiser(nn.Module):
    """``D(x, sigma) = x - sigma e(x / sqrt(1 + sigma^2), 999 t)`` with the time t of the continuous VP schedule.

    Args:
        network: images (n, 3, h, w) and labels (n,) of 0 to 999, not rounded -> predicted noise.
        side: side of the images it learnt.

    Shape: images (n, 3, h, w) in [-1, 1] with noise of deviation sigma (n,) -> clean images, same shape.

    Source: Song et al., arXiv:2011.13456, equation 33, solved for t at 1 + sigma^2 = 1 / abar(t).
    """

    def __init__(self, network: nn.Module, side: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.side = side

    def forward(self, x: _Images, sigma: Float[Tensor, " n"]) -> _Images:
        rise = BETA_MAX - BETA_MIN
        time = ((BETA_MIN**2 + 2 * rise * sigma.square().log1p()).sqrt() - BETA_MIN) / rise
        found = self.network(x / _column((1 + sigma.square()).sqrt()), 999 * time)
        return x - _column(sigma) * found


class ExplodingDenoiser(nn.Module):
    """``D(x, sigma) = x + sigma F(x, log(sigma / 2))``: a score network of the variance-exploding SDE.

    It learnt images in [0, 1], where the same noise has half the deviation, and its output is the score times that.

    Args:
        network: images (n, 3, h, w) in [-1, 1] plus noise and labels (n,) -> the score times the deviation.
        side: side of the images it learnt.

    Shape: images (n, 3, h, w) in [-1, 1] with noise of deviation sigma (n,) -> clean images, same shape.

    Source: Song et al., arXiv:2011.13456, appendix C and H.1.
    """

    def __init__(self, network: nn.Module, side: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.side = side

    def forward(self, x: _Images, sigma: Float[Tensor, " n"]) -> _Images:
        return x + _column(sigma) * self.network(x, (sigma / 2).log())
