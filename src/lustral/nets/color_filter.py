"""The filter against colour attacks: three convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.upscaling import convolution

__all__ = ["FCN"]


class FCN(nn.Module):
    """Three convolutions with one instance normalisation between the second and the third, and tanh at the end.

    The normalisation takes the mean and the contrast off every channel of every image, so that the brightness of a
    picture can come back only by what its borders and its structure tell: results are far from the input
    (21 dB in paper 000).

    Args:
        widths: channels of the two hidden layers.

    Shape: images (n, 3, h, w) in [0, 1], at least two pixels -> (n, 3, h, w) in (-1, 1).

    Source: FCN of Gushchin et al. (2024), as paper 000 uses it (appendix A.5.1). Parameters have the published names.
    Differs: paper 000 says 64, 32 and 3 channels; the published code, followed here, has 64, 16 and 3.
    """

    def __init__(self, widths: Sequence[int] = (64, 16)) -> None:
        super().__init__()
        first, second = widths
        self.conv1 = convolution(3, first)
        self.conv2 = convolution(first, second)
        self.conv3 = convolution(second, 3)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        h = functional.instance_norm(self.conv2(functional.leaky_relu(self.conv1(x), 0.2)))
        return self.conv3(functional.leaky_relu(h, 0.2)).tanh()

    def training_loss(
        self,
        attacked: Float[Tensor, "n 3 h w"],
        clean: Float[Tensor, "n 3 h w"],
        generator: torch.Generator,
        target: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean squared difference between the filtered attacked images and the clean ones."""
        return (self(attacked) - clean).square().mean()
