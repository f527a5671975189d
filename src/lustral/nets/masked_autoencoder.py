"""A vision transformer that makes whole images out of some of their patches, or cleans images of which it sees all."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as functional
from jaxtyping import Float, Int64
from torch import Tensor, nn

__all__ = ["MaskedAutoencoder", "TransformerBlock", "sine_positions"]

Tokens = Float[Tensor, "n tokens width"]
Visible = Int64[Tensor, "n visible"]


def sine_positions(rows: int, columns: int, width: int, like: Tensor) -> Float[Tensor, "tokens width"]:
    """Fixed codes of the places of a grid, row by row: half of the numbers for the row, half for the column.

    Source: Vaswani et al., arXiv:1706.03762, section 3.5, in two dimensions as in He et al., arXiv:2111.06377.
    """
    steps = torch.arange(width // 4, dtype=torch.float64, device=like.device)
    frequencies = torch.exp(steps * (-math.log(10000) / (width // 4)))

    def codes(length: int) -> Tensor:
        angles = torch.arange(length, device=like.device)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], 1)  # (length, width / 2)

    down = codes(rows)[:, None].expand(-1, columns, -1)
    across = codes(columns)[None].expand(rows, -1, -1)
    return torch.cat([down, across], 2).flatten(0, 1).to(like.dtype)


class TransformerBlock(nn.Module):
    """Self-attention and a two-layer perceptron, each normalised before and added to what came in.

    Args:
        width: numbers per token.
        head_width: numbers per attention head; divides ``width``.
        expansion: hidden layer of the perceptron in multiples of ``width``.
    """

    def __init__(self, width: int, head_width: int = 32, expansion: int = 4) -> None:
        super().__init__()
        self.head_width = head_width
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )

    def forward(self, x: Tokens) -> Tokens:
        mixed = self.queries_keys_values(self.attention_norm(x))
        parts = (part.unflatten(2, (-1, self.head_width)).transpose(1, 2) for part in mixed.chunk(3, 2))
        found = functional.scaled_dot_product_attention(*parts)  # (n, heads, tokens, head_width)
        x = x + self.project(found.transpose(1, 2).flatten(2))
        return x + self.perceptron(self.perceptron_norm(x))


class MaskedAutoencoder(nn.Module):
    """A transformer over the visible patches, and a smaller one over all places that paints the image.

    Args:
        side: side of the images it learns, in pixels; larger ones should be cut into squares of this side.
        patch: side of the patches.
        width: numbers per token of the encoder; a multiple of 4 and of ``head_width``.
        depth: blocks of the encoder.
        decoder_width: numbers per token of the decoder.
        decoder_depth: blocks of the decoder.
        head_width: numbers per attention head of both.
        mask: share of the patches that are hidden in training; none is in ``forward``.
        skip: add what the decoder makes to the visible patches, and to grey where a patch is hidden, instead of
            letting it make the whole picture; training then starts from the image itself.

    Shape: images (n, 3, h, w) in [0, 1] -> the same shape, not clamped. Any size; sides are padded to a multiple of
        ``patch`` by repeating the border, and cut back.

    Cost: one pass; attention grows with the square of the number of patches.

    Source: MAEP (paper 004), section 4.2; He et al., arXiv:2111.06377, for the network.
        Differs: the paper gives the patch of 2 pixels but no width, no depth, and its mask ratio is not legible; much
        smaller than any transformer of He et al.; ``skip`` is ours, and so are two last layers, one for patches that
        are seen and one for those that are guessed: guesses are far worse and would spoil what is seen.

    Raises:
        ValueError: a width that does not fit, or a mask that leaves nothing.
    """

    def __init__(
        self, side: int = 32, patch: int = 2, width: int = 64, depth: int = 4, decoder_width: int = 64,
        decoder_depth: int = 1, head_width: int = 32, mask: float = 0.25, skip: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value in (("width", width), ("decoder_width", decoder_width)):
            if value % 4 or value % head_width:
                raise ValueError(f"expected a {name} that 4 and head_width={head_width} divide, got {value}")
        if not 0 <= mask < 1:
            raise ValueError(f"expected a mask of at least 0 and below 1, got {mask}")
        self.side = side
        self.patch = patch
        self.mask = mask
        self.skip = skip
        self.embed = nn.Linear(3 * patch**2, width)
        self.encoder = nn.Sequential(*(TransformerBlock(width, head_width) for _ in range(depth)), nn.LayerNorm(width))
        self.narrow = nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        blocks = (TransformerBlock(decoder_width, head_width) for _ in range(decoder_depth))
        self.decoder = nn.Sequential(*blocks, nn.LayerNorm(decoder_width))
        self.head = nn.Linear(decoder_width, 3 * patch**2)
        self.guess = nn.Linear(decoder_width, 3 * patch**2)
        for layer in (self.head, self.guess):
            nn.init.zeros_(layer.bias)
            if skip:
                nn.init.zeros_(layer.weight)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        return self.restore(x)

    def restore(self, x: Float[Tensor, "n 3 h w"], visible: Visible | None = None) -> Float[Tensor, "n 3 h w"]:
        """Whole images from the visible patches of ``x``, which are all patches by default."""
        height, width = x.shape[2:]
        patches, rows, columns = self._patches(x)
        shown = self.narrow(self._encode(patches, rows, columns, visible))
        if visible is not None:
            shown = _placed(shown, self.mask_token.expand(len(x), rows * columns, -1), visible)
        # Added up in the precision of the image, also where autocast lowers that of the layers.
        known = self.decoder(shown + sine_positions(rows, columns, shown.shape[2], patches))
        made = self.head(known)
        if visible is not None:
            made = _placed(made.gather(1, _wide(visible, made)), self.guess(known), visible)
        if self.skip:
            made = made + (patches if visible is None else _visible_only(patches, visible))
        squares = made.transpose(1, 2).unflatten(2, (rows, columns))  # (n, 3 patch^2, rows, columns)
        return functional.pixel_shuffle(squares, self.patch)[:, :, :height, :width] + 0.5

    def encode(self, x: Float[Tensor, "n 3 h w"], visible: Visible | None = None) -> Tokens:
        """Latent tokens of the visible patches."""
        return self._encode(*self._patches(x), visible)

    def draw_visible(self, x: Float[Tensor, "n 3 h w"], generator: torch.Generator) -> Visible:
        """A random choice of patches for every image, ``mask`` of them left out, in ascending order."""
        tokens = math.ceil(x.shape[2] / self.patch) * math.ceil(x.shape[3] / self.patch)
        count = max(1, round((1 - self.mask) * tokens))
        order = torch.rand(len(x), tokens, generator=generator).argsort(1)
        return order[:, :count].sort(1).values.to(x.device)

    def hidden(self, x: Float[Tensor, "n 3 h w"], visible: Visible) -> Float[Tensor, "n 1 h w"]:
        """1 where a pixel belongs to a hidden patch, else 0."""
        height, width = x.shape[2:]
        rows, columns = math.ceil(height / self.patch), math.ceil(width / self.patch)
        mask = x.new_ones(len(x), rows * columns).scatter(1, visible, 0).view(-1, 1, rows, columns)
        return functional.interpolate(mask, scale_factor=self.patch, mode="nearest")[:, :, :height, :width]

    def training_loss(
        self, attacked: Float[Tensor, "n 3 h w"], clean: Float[Tensor, "n 3 h w"], generator: torch.Generator,
        target: Callable[[Tensor], Tensor],
    ) -> Tensor:  # fmt: skip
        """Mean absolute error between clean images and what is made of some patches of the attacked ones.

        It is the purification loss of the visible region plus the reconstruction loss of the hidden one, because
        both are absolute errors against the clean image.

        Source: MAEP, equation 15.
        """
        restored = self.restore(attacked, self.draw_visible(attacked, generator))
        return (restored - clean).abs().mean()

    def _patches(self, x: Tensor) -> tuple[Tensor, int, int]:
        """Patches around grey (n, tokens, 3 patch^2), and the rows and columns of their grid."""
        height, width = x.shape[2:]
        padded = functional.pad(x, (0, -width % self.patch, 0, -height % self.patch), mode="replicate")
        folded = functional.pixel_unshuffle(padded - 0.5, self.patch)
        return folded.flatten(2).transpose(1, 2), folded.shape[2], folded.shape[3]

    def _encode(self, patches: Tensor, rows: int, columns: int, visible: Tensor | None) -> Tensor:
        tokens = self.embed(patches)
        tokens = tokens + sine_positions(rows, columns, tokens.shape[2], patches)
        return self.encoder(tokens if visible is None else tokens.gather(1, _wide(visible, tokens)))


def _wide(visible: Tensor, like: Tensor) -> Tensor:
    return visible[:, :, None].expand(-1, -1, like.shape[2])


def _placed(shown: Tensor, elsewhere: Tensor, visible: Tensor) -> Tensor:
    """``shown`` (n, visible, c) at its places, ``elsewhere`` (n, tokens, c) at all others."""
    return elsewhere.to(shown.dtype).scatter(1, _wide(visible, shown), shown)


def _visible_only(patches: Tensor, visible: Tensor) -> Tensor:
    """Patches around grey with the hidden ones replaced by grey."""
    return _placed(patches.gather(1, _wide(visible, patches)), torch.zeros_like(patches), visible)
