"""RRDBNet: the generator of ESRGAN, residual blocks in residual blocks of dense blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.upscaling import bicubic, convolution, doublings_of

__all__ = ["RRDBNet"]

_RESIDUAL = 0.2


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2)


class _DenseBlock(nn.Module):
    """Five convolutions, each of which sees the input and the results of all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.conv1 = convolution(width, growth)
        self.conv2 = convolution(width + growth, growth)
        self.conv3 = convolution(width + 2 * growth, growth)
        self.conv4 = convolution(width + 3 * growth, growth)
        self.conv5 = convolution(width + 4 * growth, width)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        known = x
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            known = torch.cat([known, _leaky(layer(known))], dim=1)
        return x + _RESIDUAL * self.conv5(known)


class _ResidualInResidual(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = _DenseBlock(width, growth)
        self.rdb2 = _DenseBlock(width, growth)
        self.rdb3 = _DenseBlock(width, growth)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + _RESIDUAL * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
    """Dense residual blocks, then doublings by nearest-neighbour upsampling and a convolution.

    Ratio 2 folds 2 x 2 pixels into channels and then enlarges by 4, as Real-ESRGAN does; odd sides are padded
    by repetition and cut back. Table 10 of PuriFlow implies this form: its ESRGAN x2 costs a quarter of x4.

    Args:
        scale: 2, 4 or 8.
        width: channels; 64 in the paper.
        blocks: residual-in-residual blocks; 23 in the paper.
        growth: channels that each convolution of a dense block adds; 32 in the paper.
        skip: add the network to the bicubic enlargement of the input instead of letting it make the whole picture.

    Shape: images (n, 3, h, w) in [0, 1] -> (n, 3, scale * h, scale * w), not clamped.

    Source: Wang et al., arXiv:1809.00219, section 3.1 and figure 4; ratio 2: Wang et al., arXiv:2107.10833,
        figure 4. Parameters have the published names, so that with ``skip=False`` published weights fit.
        Differs: small by default; ``skip``.
    """

    def __init__(self, scale: int = 2, width: int = 32, blocks: int = 2, growth: int = 16, skip: bool = True) -> None:
        super().__init__()
        self.scale = scale
        self.skip = skip
        self.fold = 2 if scale == 2 else 1
        self.doublings = doublings_of(scale * self.fold)
        self.conv_first = convolution(3 * self.fold**2, width)
        self.body = nn.Sequential(*(_ResidualInResidual(width, growth) for _ in range(blocks)))
        self.conv_body = convolution(width, width)
        for index in range(1, self.doublings + 1):
            self.add_module(f"conv_up{index}", convolution(width, width))
        self.conv_hr = convolution(width, width)
        self.conv_last = convolution(width, 3)
        if skip:
            nn.init.zeros_(self.conv_last.weight)  # training starts at bicubic upscaling, but for a bias

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 g v"]:
        height, width = x.shape[2:]
        padded = functional.pad(x, (0, -width % self.fold, 0, -height % self.fold), mode="replicate")
        h = self.conv_first(functional.pixel_unshuffle(padded, self.fold))
        h = h + self.conv_body(self.body(h))
        for index in range(1, self.doublings + 1):
            h = functional.interpolate(h, scale_factor=2.0, mode="nearest")
            h = _leaky(self.get_submodule(f"conv_up{index}")(h))
        y = self.conv_last(_leaky(self.conv_hr(h)))[:, :, : self.scale * height, : self.scale * width]
        return y + bicubic(x, self.scale) if self.skip else y
