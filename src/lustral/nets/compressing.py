"""ComDefend: a network that compresses an image to a few bits per pixel, and one that restores it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.upscaling import convolution

__all__ = ["Compressing"]

_WIDTHS = (16, 32, 64, 128, 256, 128, 64, 32)
_CODE_WEIGHT = 1e-4


def _chain(widths: Sequence[int]) -> list[nn.Module]:
    """Convolutions with an ELU after each but the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [convolution(inputs, outputs), nn.ELU()]
    return layers[:-1]


class Compressing(nn.Module):
    """ComCNN makes logits of the bits, RecCNN makes an image of bits; nine convolutions each.

    Args:
        width: factor of all hidden channels; 1 in the paper, 1.57 million parameters.
        bits: bits per pixel, 12 in the paper; an image of 8 bits per channel has 24.
        deviation: of the noise that is taken off the logits in training, which drives them away from 0.

    Shape: images (n, 3, h, w) in [0, 1] -> (n, 3, h, w) in (0, 1). ``forward`` has no derivative, the bits are hard.

    Source: Jia et al., arXiv:1811.12673; deviation 20 is that of the published code.
        Differs: half the channels by default; images are taken as a whole, the paper cuts them into 32 x 32 pixels.
    """

    def __init__(self, width: float = 0.5, bits: int = 12, deviation: float = 20.0) -> None:
        super().__init__()
        hidden = [max(1, round(width * channels)) for channels in _WIDTHS]
        self.bits = bits
        self.deviation = deviation
        self.compress = nn.Sequential(*_chain((3, *hidden, bits)))
        self.restore = nn.Sequential(*_chain((bits, *reversed(hidden), 3)), nn.Sigmoid())

    def encode(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n b h w"]:
        """Logits of the bits; a bit is 1 where its logit exceeds 0."""
        return self.compress(x - 0.5)

    def decode(self, code: Float[Tensor, "n b h w"]) -> Float[Tensor, "n 3 h w"]:
        """The image of a code in [0, 1]."""
        return self.restore(code)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        return self.decode((self.encode(x) > 0).to(x.dtype))

    def training_loss(
        self,
        attacked: Float[Tensor, "n 3 h w"],
        clean: Float[Tensor, "n 3 h w"],
        generator: torch.Generator,
        target: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, ""]:
        """Squared error of the restored image, plus 1e-4 times the mean square of its soft code.

        As in the paper only clean images are used, with normal noise before the sigmoid; ``attacked`` is ignored.
        """
        logits = self.encode(clean)
        noise = torch.randn(logits.shape, generator=generator).to(logits)
        code = (logits - self.deviation * noise).sigmoid()
        return (self.decode(code) - clean).square().mean() + _CODE_WEIGHT * code.square().mean()
