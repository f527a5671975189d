"""The best possible denoiser of a finite set of images: an oracle against which samplers are tested."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["IdealDenoiser"]


class IdealDenoiser(nn.Module):
    """Posterior mean of the clean image, if every image of the set is equally likely.

    Args:
        points: the set, (m, 3, h, w) in [-1, 1].

    Shape: images (n, 3, h, w) plus noise of deviation sigma (n,), above 0 -> images of the same shape and dtype.

    Cost: no network; two matrix products of n x 3hw x m in float64, which keeps it right for sigma down to 1e-4.

    Source: Karras et al., arXiv:2206.00364, equation 57: the softmax of ``-||x - p||^2 / (2 sigma^2)`` over points p.

    >>> denoise = IdealDenoiser(torch.linspace(-1, 1, 3)[:, None, None, None].expand(3, 3, 2, 2))
    >>> denoise(torch.full((1, 3, 2, 2), 0.8), torch.tensor([0.1])).mean().item()
    1.0
    """

    points: Tensor
    side: int | None = None

    def __init__(self, points: Float[Tensor, "m 3 h w"]) -> None:
        super().__init__()
        if points.ndim != 4 or len(points) == 0 or not points.is_floating_point():
            raise ValueError(f"expected floating point images (m, 3, h, w), got {points.dtype} {tuple(points.shape)}")
        self.register_buffer("points", points.detach().clone())

    def forward(self, x: Float[Tensor, "n 3 h w"], sigma: Float[Tensor, " n"]) -> Float[Tensor, "n 3 h w"]:
        if x.shape[1:] != self.points.shape[1:]:
            raise ValueError(
                f"expected images of the shape of the set, {tuple(self.points.shape[1:])}, got {tuple(x.shape[1:])}"
            )
        points = self.points.flatten(1).double()  # (m, d)
        fit = x.flatten(1).double() @ points.T - points.square().sum(1) / 2  # (n, m), without ||x||^2, which cancels
        share = torch.softmax(fit / sigma.double().square()[:, None], dim=1)
        return (share @ points).to(x.dtype).unflatten(1, x.shape[1:])
