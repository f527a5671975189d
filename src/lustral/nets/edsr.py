"""EDSR: a residual network without batch normalisation that enlarges at its very end."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.upscaling import bicubic, convolution, pixel_shuffle_upscaler, shifted

__all__ = ["EDSR", "ResidualBlock"]


class ResidualBlock(nn.Module):
    """Two convolutions and a ReLU between them, scaled and added to the input; no normalisation.

    Args:
        width: channels.
        kernel: side of both convolutions, odd.
        res_scale: factor of what is added; 0.1 keeps wide networks stable.
    """

    def __init__(self, width: int, kernel: int = 3, res_scale: float = 1.0) -> None:
        super().__init__()
        self.res_scale = res_scale
        self.body = nn.Sequential(convolution(width, width, kernel), nn.ReLU(), convolution(width, width, kernel))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.res_scale * self.body(x)


class EDSR(nn.Module):
    """Features at the size of the input, residual blocks, then doublings by pixel shuffle.

    Args:
        scale: 2, 3, 4 or 8.
        width: channels; 64 in the published baseline.
        blocks: residual blocks; 16 in the published baseline.
        res_scale: factor of every residual branch; 0.1 in the published large network.
        skip: add the network to the bicubic enlargement of the input instead of letting it make the whole picture.
        mean: taken off the input and added to the result, per channel.
        peak: what white is to the layers; 255 in published weights.

    Shape: images (n, 3, h, w) in [0, 1] -> (n, 3, scale * h, scale * w), not clamped.

    Source: Lim et al., arXiv:1707.02921, section 3.1 and figure 3. Parameters have the published names.
        Differs: small by default; ``skip``; by default 0.5 is taken off instead of the mean of DIV2K.
    """

    def __init__(
        self, scale: int = 2, width: int = 32, blocks: int = 6, res_scale: float = 1.0, skip: bool = True,
        mean: Sequence[float] = (0.5, 0.5, 0.5), peak: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scale = scale
        self.skip = skip
        self.mean = tuple(mean)
        self.peak = peak
        self.head = nn.Sequential(convolution(3, width))
        chain: list[nn.Module] = [ResidualBlock(width, res_scale=res_scale) for _ in range(blocks)]
        self.body = nn.Sequential(*chain, convolution(width, width))
        last = convolution(width, 3)
        self.tail = nn.Sequential(pixel_shuffle_upscaler(width, scale), last)
        if skip:
            nn.init.zeros_(last.weight)  # training starts at bicubic upscaling, but for a bias

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 g v"]:
        h = self.head(self.peak * shifted(x, [-value for value in self.mean]))
        y = self.tail(h + self.body(h)) / self.peak
        return y + bicubic(x, self.scale) if self.skip else shifted(y, self.mean)
