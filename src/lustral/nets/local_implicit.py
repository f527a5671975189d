"""DISCO: features from residual blocks, and a small network that is asked for the colour at any place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.edsr import ResidualBlock
from lustral.nets.upscaling import convolution

__all__ = ["LocalImplicit"]

_PLACE = 4  # numbers that say where a query is: offset down and right of the feature, height and width of the pixel


class _Encoder(nn.Module):
    """EDSR without its enlarging end: features at the size of the image."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.head = nn.Sequential(convolution(3, width))
        chain: list[nn.Module] = [ResidualBlock(width) for _ in range(blocks)]
        self.body = nn.Sequential(*chain, convolution(width, width))

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
        h = self.head(x)
        return h + self.body(h)


@dataclass(frozen=True)
class _Neighbours:
    """For the pixels of one side of the answer the two nearest features; the first axis tells which of the two.

    Attributes:
        index: of the feature, (2, q).
        offset: how far the pixel lies behind the feature, in halves of the distance between features, (2, q).
        share: linear interpolation, (2, q); both together are 1.
    """

    index: Tensor
    offset: Tensor
    share: Tensor

    def part(self, places: slice) -> _Neighbours:
        return _Neighbours(self.index[:, places], self.offset[:, places], self.share[:, places])


def _neighbours(features: int, pixels: int, like: Tensor) -> _Neighbours:
    """Neighbours when ``features`` and ``pixels`` divide the same side evenly; whole numbers, so nothing is rounded."""
    twice = (2 * torch.arange(pixels, device=like.device) + 1) * features - pixels  # place, times 2 * pixels
    before = twice.div(2 * pixels, rounding_mode="floor")
    index = torch.stack([before, before + 1]).clamp(0, features - 1)
    offset = (twice - 2 * pixels * index).to(like.dtype) / pixels
    far = offset.abs().flip(0)
    first = torch.tensor([1, 0], device=like.device)[:, None].to(like.dtype)
    share = torch.where(index[0] == index[1], first, far / far.sum(0).clamp_min(1 / pixels))
    return _Neighbours(index, offset, share)


class LocalImplicit(nn.Module):
    """Encoder, and a decoder that maps nine features and a place within them to a colour.

    The first layer of the decoder is linear in the nine features, hence a convolution, made once for all places; only
    what it gives is gathered. Of the four features around a place those that count nowhere are left out:
    at the size of the input a pixel lies on its feature, and one feature of four remains.

    Args:
        width: channels of the encoder; 64 in the paper.
        blocks: residual blocks; 16 in the paper.
        hidden: widths of the hidden layers of the decoder; four of 256 in the paper.
        skip: add the network to the input instead of letting it make the whole picture.
        chunk: places that are asked for at once, which bounds the memory of a pass without gradient.

    Shape: images (n, 3, h, w) in [0, 1] -> (n, 3, *size), not clamped.

    Source: Ho and Vasconcelos, "DISCO: adversarial defense with local implicit functions", NeurIPS 2022; its decoder
        is LIIF, arXiv:2012.09161: unfolded features, local ensemble, cell decoding.
        Differs: small by default; ``skip``; shares of the ensemble are exactly those of the areas, where published
        code adds 1e-9 to each area and so mixes in the neighbour of the last row and of the last column.
    """

    def __init__(
        self, width: int = 32, blocks: int = 4, hidden: Sequence[int] = (64, 64), skip: bool = True, chunk: int = 65536
    ) -> None:
        super().__init__()
        self.skip = skip
        self.chunk = chunk
        self.encoder = _Encoder(width, blocks)
        sides = (9 * width + _PLACE, *hidden, 3)
        self.first = nn.Linear(sides[0], sides[1])
        self.others = nn.Sequential()
        for inputs, outputs in pairwise(sides[1:]):
            self.others.extend([nn.ReLU(), nn.Linear(inputs, outputs)])
        if skip:
            last = [layer for layer in (self.first, *self.others) if isinstance(layer, nn.Linear)][-1]
            nn.init.zeros_(last.weight)  # training starts at the identity
            nn.init.zeros_(last.bias)

    def forward(self, x: Float[Tensor, "n 3 h w"], size: Sequence[int] | None = None) -> Float[Tensor, "n 3 g v"]:
        high, wide = (int(side) for side in (size or x.shape[2:]))
        features = self.encoder(2 * x - 1)
        taps = self.first.weight[:, :-_PLACE].unflatten(1, (-1, 3, 3))  # (k, c, 3, 3)
        seen = functional.conv2d(features, taps, self.first.bias, padding=1).movedim(1, -1)  # (n, h, w, k)
        rows, columns = _neighbours(x.shape[2], high, x), _neighbours(x.shape[3], wide, x)
        cell = x.new_tensor([2 * x.shape[2] / high, 2 * x.shape[3] / wide])
        seen = seen + self.first.weight[:, -2:] @ cell
        step = max(1, self.chunk // wide)
        parts = [self._colours(seen, rows.part(slice(top, top + step)), columns) for top in range(0, high, step)]
        y = torch.cat(parts, 1).movedim(-1, 1)  # (n, 3, g, v)
        return (self._enlarged(x, (high, wide)) if self.skip else 0.5) + y / 2

    def _colours(self, seen: Tensor, rows: _Neighbours, columns: _Neighbours) -> Tensor:
        """Colours (n, rows, columns, 3): the mean over the four features around each place."""
        down, right = self.first.weight[:, -4], self.first.weight[:, -3]
        ask: Callable[[Tensor], Tensor] = self.others
        total = seen.new_zeros(())
        for above in (0, 1):
            for left in (0, 1):
                share = rows.share[above][:, None] * columns.share[left]
                if not share.any():
                    continue
                h = seen[:, rows.index[above]][:, :, columns.index[left]]
                place = rows.offset[above][:, None, None] * down + columns.offset[left][:, None] * right
                total = total + share[..., None] * ask(h + place)
        return total

    def _enlarged(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if size == tuple(x.shape[2:]):
            return x
        return functional.interpolate(x, size=size, mode="bicubic", antialias=True)

    def training_loss(
        self,
        attacked: Float[Tensor, "n 3 h w"],
        clean: Float[Tensor, "n 3 h w"],
        generator: torch.Generator,
        target: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean absolute difference between the purified attacked images and the clean ones."""
        return (self(attacked) - clean).abs().mean()
