"""Images seen through a field of displacements, one per pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from lustral.tensors import Images

__all__ = ["in_pixels", "roughness", "warp"]

_ROUND = 1e-4  # pixels; the root is made round at 0, where it has no slope


def in_pixels(flow: Tensor) -> Tensor:
    """Displacements (n, 2, h, w), down and to the right, from the unit of half a side to pixels."""
    height, width = flow.shape[2:]
    return flow * flow.new_tensor([height / 2, width / 2])[:, None, None]


def warp(x: Images, flow: Tensor) -> Images:
    """The image that shows at every pixel what ``x`` (n, 3, h, w) shows ``flow`` (n, 2, h, w) farther on.

    Bilinear between the centres of pixels; beyond the outermost centres their values go on. No displacement gives
    ``x`` itself, bit for bit, which sampling in coordinates from -1 to 1 would not.

    Args:
        x: images in [0, 1].
        flow: displacements down and to the right, in units of half a side: from -1 to 1 is one side of the image.
    """
    height, width = x.shape[2:]
    shift = in_pixels(flow)
    down = (torch.arange(height, device=x.device, dtype=x.dtype)[:, None] + shift[:, 0]).clamp(0, height - 1)
    right = (torch.arange(width, device=x.device, dtype=x.dtype) + shift[:, 1]).clamp(0, width - 1)
    # The last pixel counts as the end of the cell before it: from there only the way back leads anywhere.
    top = down.detach().floor().long().clamp_max(max(height - 2, 0))  # (n, h, w)
    left = right.detach().floor().long().clamp_max(max(width - 2, 0))
    low, far = (down - top)[:, None], (right - left)[:, None]
    bottom, beyond = (top + 1).clamp_max(height - 1), (left + 1).clamp_max(width - 1)
    flat = x.flatten(2)

    def at(row: Tensor, column: Tensor) -> Tensor:
        place = (row * width + column).flatten(1)[:, None].expand(-1, x.shape[1], -1)
        return flat.gather(2, place).view_as(x)

    above = torch.lerp(at(top, left), at(top, beyond), far.expand_as(x))
    below = torch.lerp(at(bottom, left), at(bottom, beyond), far.expand_as(x))
    return torch.lerp(above, below, low.expand_as(x))


def roughness(flow: Tensor) -> Tensor:
    """How much neighbouring displacements differ: over pixels and their four neighbours, the distances' sum (n,).

    Args:
        flow: displacements (n, 2, h, w) in units of half a side; they are compared in pixels.

    Source: Xiao et al., arXiv:1801.02612, equation 4 (the flow loss).
    Differs: every pair of neighbours is met from both sides, as there, but a root near 0 is made round, by at
        most 1e-4 pixels, so that a flow of zero has a derivative.
    """
    pixels = in_pixels(flow)
    total = flow.new_zeros(len(flow))
    for axis in (2, 3):
        apart = pixels.diff(dim=axis).square().sum(1)
        total = total + 2 * ((apart + _ROUND**2).sqrt() - _ROUND).flatten(1).sum(1)
    return total
