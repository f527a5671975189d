"""MDSR: one trunk for several ratios of super-resolution, with its own entrance and exit for each."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.edsr import ResidualBlock
from lustral.nets.upscaling import bicubic, convolution, pixel_shuffle_upscaler, shifted

__all__ = ["MDSR"]


class MDSR(nn.Module):
    """EDSR with scale-specific pre-processing and upscaling around a shared body.

    Args:
        scales: ratios, each 2, 3, 4 or 8.
        width: channels; 64 in the paper.
        blocks: residual blocks of the shared body; 16 in the published baseline.
        before: residual blocks of 5 x 5 convolutions before it for every ratio; 2 in the paper.
        skip: add the network to the bicubic enlargement of the input.
        mean: taken off the input and added to the result, per channel.
        peak: what white is to the layers; 255 in published weights.

    Attributes:
        scale: the ratio that ``forward`` uses if it is told none; the first of ``scales`` at the start.

    Shape: images (n, 3, h, w) in [0, 1] -> (n, 3, scale * h, scale * w), not clamped.

    Source: Lim et al., arXiv:1707.02921, section 3.2 and figure 5. Parameters have the published names.
        Differs: small by default, one block of pre-processing; ratios 2, 4 and 8 instead of 2, 3 and 4; ``skip``;
        by default 0.5 is taken off instead of the mean of DIV2K.
    """

    def __init__(
        self, scales: Sequence[int] = (2, 4, 8), width: int = 32, blocks: int = 5, before: int = 1, skip: bool = True,
        mean: Sequence[float] = (0.5, 0.5, 0.5), peak: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scales = tuple(scales)
        self.scale = self.scales[0]
        self.skip = skip
        self.mean = tuple(mean)
        self.peak = peak
        self.head = nn.Sequential(convolution(3, width))
        self.pre_process = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, kernel=5) for _ in range(before))) for _ in self.scales
        )
        chain: list[nn.Module] = [ResidualBlock(width) for _ in range(blocks)]
        self.body = nn.Sequential(*chain, convolution(width, width))
        self.upsample = nn.ModuleList(pixel_shuffle_upscaler(width, scale) for scale in self.scales)
        last = convolution(width, 3)
        self.tail = nn.Sequential(last)
        if skip:
            nn.init.zeros_(last.weight)  # training starts at bicubic upscaling, but for a bias

    def forward(self, x: Float[Tensor, "n 3 h w"], scale: int | None = None) -> Float[Tensor, "n 3 g v"]:
        scale = scale or self.scale
        if scale not in self.scales:
            raise ValueError(f"this MDSR has the scales {', '.join(map(str, self.scales))}, got {scale}")
        at = self.scales.index(scale)
        h = self.pre_process[at](self.head(self.peak * shifted(x, [-value for value in self.mean])))
        y = self.tail(self.upsample[at](h + self.body(h))) / self.peak
        return y + bicubic(x, scale) if self.skip else shifted(y, self.mean)
