"""A U-Net that is told the noise level, small enough for a CPU to train and run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["NoiseUNet"]

_FREQUENCIES = 32
_GROUP = 16  # channels per group of the normalisation


def _padded(x: Float[Tensor, "n 3 h w"], down: int, right: int) -> Float[Tensor, "n 3 g v"]:
    """More rows and columns, reflected where the image is large enough for that, else repeated."""
    mode = "reflect" if down < x.shape[2] and right < x.shape[3] else "replicate"
    return functional.pad(x, (0, right, 0, down), mode=mode)


class _Block(nn.Module):
    """Two convolutions; the noise level scales and shifts what lies between them."""

    def __init__(self, inputs: int, width: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.norm = nn.GroupNorm(max(1, width // _GROUP), width)
        self.level = nn.Linear(embedding, 2 * width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Identity() if inputs == width else nn.Conv2d(inputs, width, 1)
        for start in (self.level, self.second):
            nn.init.zeros_(start.weight)  # a block begins as its skip

    def forward(self, x: Float[Tensor, "n c h w"], level: Float[Tensor, "n e"]) -> Float[Tensor, "n d h w"]:
        scale, shift = self.level(level)[:, :, None, None].chunk(2, dim=1)
        y = self.norm(self.first(functional.silu(x))) * (1 + scale) + shift
        return self.skip(x) + self.second(functional.silu(y))


class NoiseUNet(nn.Module):
    """U-Net over pixels taken ``patch`` x ``patch`` at a time.

    Args:
        widths: channels per resolution; the first resolution is 1 / ``patch`` of the image, each next half of that.
        blocks: residual blocks of every resolution on the way down, and as many on the way up; one number for all.
        patch: side of the squares of pixels that become channels.
        embedding: channels of the embedded noise level.

    Shape: images (n, 3, h, w) of unit variance and a number per image (n,), about -1 to 1 -> (n, 3, h, w).
        Sides are padded to multiples of ``patch * 2 ** (len(widths) - 1)`` and cut back.

    Source: the U-Net of DDPM (arXiv:2006.11239, appendix B) with the scale and shift of arXiv:2102.09672.
        Differs: no attention; one normalisation per block instead of two; pixels are folded into channels;
        average pooling and nearest upsampling.
    """

    frequencies: Tensor

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 96, 128),
        blocks: Sequence[int] | int = (1, 2, 2, 1),
        patch: int = 1,
        embedding: int = 256,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.blocks = (blocks,) * len(widths) if isinstance(blocks, int) else tuple(blocks)
        self.register_buffer("frequencies", torch.logspace(-1, 2.5, _FREQUENCIES, base=2.0) * math.pi)
        self.embed = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.stem = nn.Conv2d(3 * patch**2, widths[0], 3, padding=1)
        down, up = nn.ModuleList(), nn.ModuleList()
        before, skips = widths[0], [widths[0]]
        for width, count in zip(widths, self.blocks, strict=True):
            for _ in range(count):
                down.append(_Block(before, width, embedding))
                before = width
                skips.append(width)
        for width, count in zip(reversed(widths), reversed(self.blocks), strict=True):
            for _ in range(count):
                up.append(_Block(before + skips.pop(), width, embedding))
                before = width
        self.down, self.up = down, up
        self.head = nn.Conv2d(before, 3 * patch**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Float[Tensor, "n 3 h w"], level: Float[Tensor, " n"]) -> Float[Tensor, "n 3 h w"]:
        height, width = x.shape[2:]
        multiple = self.patch * 2 ** (len(self.blocks) - 1)
        if height % multiple or width % multiple:
            x = _padded(x, -height % multiple, -width % multiple)
        angles = level[:, None] * self.frequencies
        e = self.embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        h = functional.pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last)
        y = functional.pixel_shuffle(self.head(functional.silu(self._walk(self.stem(h), e))), self.patch)
        return y[:, :, :height, :width]

    def _walk(self, h: Float[Tensor, "n c h w"], e: Float[Tensor, "n e"]) -> Float[Tensor, "n d h w"]:
        skips = [h]
        down, up = iter(self.down), iter(self.up)
        for stage, count in enumerate(self.blocks):
            h = functional.avg_pool2d(h, 2) if stage else h
            for _ in range(count):
                h = next(down)(h, e)
                skips.append(h)
        for stage, count in enumerate(reversed(self.blocks)):
            h = functional.interpolate(h, scale_factor=2.0, mode="nearest") if stage else h
            for _ in range(count):
                h = next(up)(torch.cat([h, skips.pop()], dim=1), e)
        return h
