"""What networks for super-resolution share: plain upscaling, and layers that enlarge."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["bicubic", "convolution", "doublings_of", "pixel_shuffle_upscaler", "shifted"]


def convolution(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution of odd ``kernel`` that keeps height and width."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


def bicubic(x: Float[Tensor, "n c h w"], scale: int) -> Float[Tensor, "n c g v"]:
    """Plain upscaling by an integer."""
    return functional.interpolate(x, scale_factor=float(scale), mode="bicubic", align_corners=False)


def shifted(x: Float[Tensor, "n 3 h w"], by: Sequence[float]) -> Float[Tensor, "n 3 h w"]:
    """Add one number per channel."""
    return x + x.new_tensor(by)[:, None, None]


def doublings_of(scale: int) -> int:
    """How many doublings make ``scale``.

    Raises:
        ValueError: not 2, 4, 8 ...
    """
    if scale < 2 or scale & (scale - 1):
        raise ValueError(f"scale must be a power of two, at least 2, got {scale}")
    return scale.bit_length() - 1


def pixel_shuffle_upscaler(width: int, scale: int) -> nn.Sequential:
    """Convolution and pixel shuffle, once for ratio 3 and once per doubling for 2, 4, 8 ..."""
    factors = [3] if scale == 3 else [2] * doublings_of(scale)
    layers: list[nn.Module] = []
    for factor in factors:
        layers += [convolution(width, factor**2 * width), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)
