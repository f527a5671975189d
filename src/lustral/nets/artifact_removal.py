"""Removal of JPEG artefacts: a residual generator, and the discriminator it is trained against."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.edsr import ResidualBlock
from lustral.nets.upscaling import convolution, shifted

__all__ = ["ArtifactRemover", "PatchDiscriminator"]


class ArtifactRemover(nn.Module):
    """Residual blocks between two convolutions; what they make is added to the decoded JPEG picture.

    Args:
        width: channels.
        blocks: residual blocks.
        fold: side of the squares of pixels that become channels; 2 makes a network of this width four times cheaper.

    Shape: images (n, 3, h, w) in [0, 1] -> the same shape, not clamped. Any size; sides are padded to a multiple of
        ``fold`` by repeating the border, and cut back.

    Source: the AR-GAN generator of paper 003, section 3.2.1: residual blocks, and a skip from the picture to the
        output of the last convolution.
        Differs: the paper gives no sizes, its source (Galteri et al., ICCV 2017) far larger ones; pixels are folded
        for speed on a CPU; no batch normalisation, so that no image depends on its batch; the last convolution starts
        at zero, so that training starts from the JPEG picture itself.
    """

    def __init__(self, width: int = 48, blocks: int = 6, fold: int = 2) -> None:
        super().__init__()
        self.fold = fold
        self.head = convolution(3 * fold**2, width)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.tail = convolution(width, 3 * fold**2)
        nn.init.zeros_(self.tail.weight)
        if self.tail.bias is not None:
            nn.init.zeros_(self.tail.bias)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        height, width = x.shape[2:]
        padded = functional.pad(x, (0, -width % self.fold, 0, -height % self.fold), mode="replicate")
        folded = functional.pixel_unshuffle(shifted(padded, (-0.5, -0.5, -0.5)), self.fold)
        features = functional.relu(self.head(folded))
        residual = functional.pixel_shuffle(self.tail(self.body(features)), self.fold)
        return x + residual[:, :, :height, :width]


class PatchDiscriminator(nn.Module):
    """Tells original from restored pictures patch by patch, given the decoded JPEG picture.

    Args:
        width: channels of the first layer; each of the two others has twice those of the one before.

    Shape: pictures and their decoded JPEG versions, both (n, 3, h, w) in [0, 1] -> logits (n, 1, h / 8, w / 8),
        large where a patch of 22 x 22 pixels looks original.

    Source: the conditional discriminator on sub-patches of Galteri et al., ICCV 2017, which paper 003 trains against.
        Differs: three strided convolutions without normalisation make all patches of a picture in one pass.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (6, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, convolution(widths[-1], 1, kernel=1))

    def forward(self, x: Float[Tensor, "n 3 h w"], compressed: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 g v"]:
        return self.layers(torch.cat([x, compressed], 1) - 0.5)
