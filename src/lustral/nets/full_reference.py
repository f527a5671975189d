"""Full-reference measures with gradients: how far an image is from what it was made of, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor

from lustral.nets.distance import Distance
from lustral.nets.dists import load_dists
from lustral.nets.lpips import load_lpips

__all__ = ["FULL_REFERENCE", "SSIM", "full_reference"]

_SIDES = {"uniform": 7, "gaussian": 11}
_SIGMA = 1.5
_STABLE_MEAN, _STABLE_VARIANCE = 0.01**2, 0.03**2  # K1 = 0.01 and K2 = 0.03 of Wang et al. for a range of 1


class SSIM(Distance):
    """1 - SSIM, in [0, 2]: means, variances and covariances within a window, averaged over places and channels.

    Args:
        window: "uniform" is ``lustral.measures.ssim_uniform`` (7 x 7, sample covariance), "gaussian" is
            ``ssim_gaussian`` (11 x 11, sigma 1.5).

    Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
    Differs: as the two functions of ``lustral.measures`` say: on R, G and B, and not downsampled.
    """

    def __init__(self, window: Literal["uniform", "gaussian"] = "gaussian") -> None:
        super().__init__()
        self.smallest = side = _SIDES[window]
        uniform = window == "uniform"
        weights = [1.0 if uniform else math.exp(-0.5 * ((k - side // 2) / _SIGMA) ** 2) for k in range(side)]
        self.window = [weight / sum(weights) for weight in weights]
        self.unbias = side**2 / (side**2 - 1) if uniform else 1.0

    def describe(self, x: Float[Tensor, "n 3 h w"]) -> Sequence[Tensor]:
        """The image, and its means and variances (n, 3, h - side + 1, w - side + 1)."""
        mean = self._mean(x)
        return x, mean, self.unbias * (self._mean(x.square()) - mean.square())

    def compare(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> Float[Tensor, " n"]:
        (x, mean_x, variance_x), (y, mean_y, variance_y) = one, other
        means = mean_x * mean_y
        covariance = self.unbias * (self._mean(x * y) - means)
        above = (2 * means + _STABLE_MEAN) * (2 * covariance + _STABLE_VARIANCE)
        below = (mean_x.square() + mean_y.square() + _STABLE_MEAN) * (variance_x + variance_y + _STABLE_VARIANCE)
        return (1 - above / below).mean((1, 2, 3))

    def _mean(self, x: Tensor) -> Tensor:
        """Weighted mean within every window that lies inside the image."""
        window = x.new_tensor(self.window)
        rows = functional.conv2d(x, window.view(1, 1, -1, 1).expand(3, 1, -1, 1), groups=3)
        return functional.conv2d(rows, window.view(1, 1, 1, -1).expand(3, 1, 1, -1), groups=3)


FULL_REFERENCE: dict[str, Callable[..., Distance]] = {
    "ssim_uniform": partial(SSIM, "uniform"),
    "ssim_gaussian": partial(SSIM, "gaussian"),
    "lpips": load_lpips,
    "dists": load_dists,
}
"""How each measure is made: the SSIMs of nothing, the others of the paths of their weights."""


def full_reference(name: str, *files: str) -> Distance:
    """A measure in evaluation mode, on the CPU.

    Args:
        name: a key of ``FULL_REFERENCE``.
        files: paths of safetensors files with its weights, for "lpips" and "dists".

    Raises:
        ValueError: unknown name, or weights for a measure that takes none.
        WeightsError: weights that are missing, cannot be read or are of another network.
    """
    if name not in FULL_REFERENCE:
        raise ValueError(f"unknown full-reference measure {name!r}; known: {', '.join(FULL_REFERENCE)}")
    if files and name.startswith("ssim"):
        raise ValueError(f"{name} has no weights, got {', '.join(files)}; leave them out or use lpips or dists")
    return FULL_REFERENCE[name](*files)
