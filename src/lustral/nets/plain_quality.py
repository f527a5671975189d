"""A plain convolutional network that scores the quality of a whole image without a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.quality import SMALLEST, local_contrast
from lustral.nets.residual import widths_of

__all__ = ["PlainQualityNetwork"]

HIDDEN = 32


def _layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


class PlainQualityNetwork(nn.Module):
    """Scores an image by mean and standard deviation of its features over the whole image.

    It sees the colours as they are next to their local contrast, so brightness and colour move its scores. From the
    colours alone it learns blur and blocks too slowly: nearly all variation in them is content.

    Args:
        widths: channels per stage of two convolutions, the second of which halves the sides; (16, 32, 48) has
            0.055 M parameters.

    Shape: normalised images (n, 3, h, w) with h, w >= 32 -> scores (n,), higher is better, unbounded.

    Source: plain stages as in VGG (Simonyan and Zisserman, ICLR 2015, section 2.1); mean and deviation pooling
        as in VSFA (Li et al., ACM MM 2019). Differs: batch normalisation, a strided convolution in place of maxima.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 48)) -> None:
        super().__init__()
        stages = [nn.Sequential(*_layer(a, b, 1), *_layer(b, b, 2)) for a, b in pairwise((6, *widths))]
        self.features = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Linear(2 * widths[-1], HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, 1))

    @classmethod
    def fitting(cls, weights: Mapping[str, Tensor]) -> PlainQualityNetwork:
        """An untrained network that these weights fit.

        Raises:
            ValueError: the weights are of some other network.
        """
        return cls(widths_of(weights))

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        if min(x.shape[2:]) < SMALLEST:
            raise ValueError(f"the quality network needs sides of at least {SMALLEST}, got {tuple(x.shape[2:])}")
        found = self.features(torch.cat([x, local_contrast(x)], 1))
        # Training runs in bfloat16, which is too coarse for a variance.
        found = found.to(torch.promote_types(found.dtype, torch.float32)).flatten(2)
        deviation = (found.var(2, correction=0) + 1e-5).sqrt()
        return self.head(torch.cat([found.mean(2), deviation], 1)).squeeze(1)
