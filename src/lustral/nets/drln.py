"""A small DRLN: densely connected residual units with Laplacian channel attention, in a cascade."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.upscaling import bicubic, convolution, pixel_shuffle_upscaler

__all__ = ["DRLN"]


class _Attention(nn.Module):
    """Weights in (0, 1) per channel from the channel means, at three levels of a pyramid."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(width, width // reduction, 1) for _ in range(3))
        self.merge = nn.Conv2d(3 * (width // reduction), width, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        means = x.mean((2, 3), keepdim=True)
        pyramid = torch.cat([functional.relu(level(means)) for level in self.levels], dim=1)
        return x * self.merge(pyramid).sigmoid()


class _ResidualUnit(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = convolution(inputs, width)
        self.second = convolution(width, width)

    def forward(self, x: Float[Tensor, "n k h w"], latest: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return functional.relu(latest + self.second(functional.relu(self.first(x))))


class _LaplacianModule(nn.Module):
    """Three residual units, each of which sees all before it; a compression; attention."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(_ResidualUnit(count * width, width) for count in (1, 2, 3))
        self.compress = nn.Conv2d(4 * width, width, 1)
        self.attention = _Attention(width, reduction)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        known, latest = x, x
        for unit in self.units:
            latest = unit(known, latest)
            known = torch.cat([known, latest], dim=1)
        return x + self.attention(self.compress(known))


class DRLN(nn.Module):
    """A cascade of dense residual Laplacian modules; each sees a summary of all before it.

    Args:
        scale: 2, 4 or 8.
        width: channels; 64 in the paper.
        blocks: modules; 20 in the paper.
        reduction: how much narrower the attention is than ``width``; 16 in the paper.
        skip: add the network to the bicubic enlargement of the input.

    Shape: images (n, 3, h, w) in [0, 1] -> (n, 3, scale * h, scale * w), not clamped.

    Source: Anwar and Barnes, arXiv:1906.12021, sections 3.1 to 3.3 and equations 5 to 9.
        Differs: far smaller; residual units keep ``width`` channels instead of growing with what they see; one
        cascade without medium-length skips; the dilated convolutions of the attention are 1 x 1, which is the same
        function, because they act on a map of one pixel where only their centres meet anything; ``skip``.
    """

    def __init__(self, scale: int = 2, width: int = 32, blocks: int = 3, reduction: int = 8, skip: bool = True) -> None:
        super().__init__()
        self.scale = scale
        self.skip = skip
        self.head = convolution(3, width)
        self.blocks = nn.ModuleList(_LaplacianModule(width, reduction) for _ in range(blocks))
        self.merges = nn.ModuleList(nn.Conv2d((count + 2) * width, width, 1) for count in range(blocks))
        self.body = convolution(width, width)
        last = convolution(width, 3)
        self.tail = nn.Sequential(pixel_shuffle_upscaler(width, scale), last)
        if skip:
            nn.init.zeros_(last.weight)  # training starts at bicubic upscaling, but for a bias

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 g v"]:
        head = self.head(x - 0.5)
        known, h = head, head
        for block, merge in zip(self.blocks, self.merges, strict=True):
            known = torch.cat([known, block(h)], dim=1)
            h = functional.relu(merge(known))
        y = self.tail(head + self.body(h))
        return y + (bicubic(x, self.scale) if self.skip else 0.5)
