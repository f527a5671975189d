"""A small vision transformer that scores the quality of an image without a reference."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.quality import SMALLEST, local_contrast

__all__ = ["TransformerQualityNetwork", "windows"]

PATCH = 8
HEAD = 16  # channels of one attention head


def _starts(side: int, window: int) -> list[int]:
    """Where as few windows as cover a side begin, evenly spaced from edge to edge."""
    count = -(-side // window)
    return [0] if count == 1 else [round(index * (side - window) / (count - 1)) for index in range(count)]


def windows(x: Float[Tensor, "n 3 h w"], side: int) -> Float[Tensor, "n k 3 a b"]:
    """The fixed grid of windows of at most ``side`` pixels that covers every image; neighbours may overlap.

    >>> windows(torch.zeros(2, 3, 40, 100), 48).shape
    torch.Size([2, 3, 3, 40, 48])
    """
    high, wide = (min(length, side) for length in x.shape[2:])
    corners = [(top, left) for top in _starts(x.shape[2], side) for left in _starts(x.shape[3], side)]
    return torch.stack([x[:, :, top : top + high, left : left + wide] for top, left in corners], 1)


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        query, key, value = self.inputs(x).unflatten(2, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)  # (n, heads, t, HEAD)
        found = functional.scaled_dot_product_attention(query, key, value)
        return self.output(found.transpose(1, 2).flatten(2))


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = _Attention(width)
        self.before_mixing = nn.LayerNorm(width)
        self.mixing = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        x = x + self.attention(self.before_attention(x))
        return x + self.mixing(self.before_mixing(x))


class TransformerQualityNetwork(nn.Module):
    """Scores windows of an image by self-attention among their patches, and averages the scores.

    Three strided convolutions of the local contrast make a token of every patch of 8 pixels; a depthwise convolution
    over the grid of tokens tells them where they are, for any number of them. Sides that are no multiple of the
    patch are continued by reflection.

    Args:
        width: channels of a token, a multiple of 16.
        blocks: of self-attention; width 48 with two blocks has 0.059 M parameters.
        window: longest side that is scored at once, a multiple of 8. Larger images are scored by the mean over the
            fixed grid of windows that covers them, so that the cost grows with the number of pixels only.

    Shape: normalised images (n, 3, h, w) with h, w >= 32 -> scores (n,), higher is better, unbounded.

    Raises:
        ValueError: a width or window that is no such multiple, or too small an image.

    Source: ViT (Dosovitskiy et al., ICLR 2021), section 3.1. Differs: mean in place of a class token; patches
        embedded by convolutions (Xiao et al., Early convolutions help transformers see better, NeurIPS 2021);
        positions by a convolution as in CPVT (Chu et al., ICLR 2023); windows.
    """

    def __init__(self, width: int = 48, blocks: int = 2, window: int = 96) -> None:
        super().__init__()
        if width % HEAD or window % PATCH:
            raise ValueError(
                f"expected a width divisible by {HEAD} and a window divisible by {PATCH}, got {width=}, {window=}"
            )
        self.window = window
        half = width // 2
        self.embedding = nn.Sequential(
            nn.Conv2d(3, half, 3, 2, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.GELU(),
            nn.Conv2d(half, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.GELU(),
            nn.Conv2d(width, width, 2, 2),
        )
        self.position = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1)

    @classmethod
    def fitting(cls, weights: Mapping[str, Tensor]) -> TransformerQualityNetwork:
        """An untrained network that these weights fit.

        Raises:
            ValueError: the weights are of some other network.
        """
        head = weights.get("head.weight")
        if head is None or head.ndim != 2 or "position.weight" not in weights:
            raise ValueError(f"expected weights of a quality transformer with head.weight, got {sorted(weights)[:5]}")
        blocks = {match[1] for match in (re.match(r"blocks\.(\d+)\.", name) for name in weights) if match}
        return cls(head.shape[1], len(blocks))

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        if min(x.shape[2:]) < SMALLEST:
            raise ValueError(f"the quality network needs sides of at least {SMALLEST}, got {tuple(x.shape[2:])}")
        parts = windows(x, self.window)
        return self._scores(parts.flatten(0, 1)).unflatten(0, parts.shape[:2]).mean(1)

    def _scores(self, x: Float[Tensor, "m 3 a b"]) -> Float[Tensor, " m"]:
        below, right = (-length % PATCH for length in x.shape[2:])
        found = self.embedding(local_contrast(functional.pad(x, (0, right, 0, below), mode="reflect")))
        tokens = (found + self.position(found)).flatten(2).transpose(1, 2)  # (m, t, width)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens).mean(1)).squeeze(1)
