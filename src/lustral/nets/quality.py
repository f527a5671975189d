"""A small network that scores the quality of an image without a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.residual import ResidualFeatures, widths_of

__all__ = ["QualityNetwork", "local_contrast"]

SMALLEST = 32
WINDOW = 7
FLOOR = 0.2  # of the deviation of the training images: about 12 of 255 levels


def _local_mean(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    reach = WINDOW // 2
    padded = functional.pad(x, [reach] * 4, mode="reflect")
    return functional.avg_pool2d(functional.avg_pool2d(padded, (WINDOW, 1), 1), (1, WINDOW), 1)


def local_contrast(x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Subtract the local mean of each channel and divide by the local deviation of all three.

    What is left says little about the content: with few photographs to learn from, that is what makes
    the network work on others.

    Source: local normalisation of CNNIQA (Kang et al., CVPR 2014), section 3.1. Differs: square window of
        7 pixels, one deviation for the three channels, FLOOR in place of a tiny constant, so that faint
        noise on a flat area stays faint.
    """
    detail = x - _local_mean(x)
    deviation = (_local_mean(detail.square().mean(1, keepdim=True)) + 1e-6).sqrt()
    return detail / (deviation + FLOOR)


class QualityNetwork(nn.Module):
    """Scores every overlapping patch of an image and averages the scores.

    Args:
        widths: channels per stage of ``ResidualFeatures``; (16, 32, 64) has 0.13 M parameters.

    Shape: normalised images (n, 3, h, w) with h, w >= 32 -> scores (n,), higher is better, unbounded.

    Source: the patch averaging of CNNIQA (Kang et al., CVPR 2014), on local contrast. Differs: the patches
        overlap, because the network is fully convolutional, and it is residual with batch normalisation.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        self.features = ResidualFeatures(widths)
        self.head = nn.Sequential(
            nn.Conv2d(widths[-1], widths[-1], 1), nn.ReLU(inplace=True), nn.Conv2d(widths[-1], 1, 1)
        )

    @classmethod
    def fitting(cls, weights: Mapping[str, Tensor]) -> QualityNetwork:
        """An untrained network that these weights fit.

        Raises:
            ValueError: the weights are of some other network.
        """
        return cls(widths_of(weights))

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        if min(x.shape[2:]) < SMALLEST:
            raise ValueError(f"the quality network needs sides of at least {SMALLEST}, got {tuple(x.shape[2:])}")
        return self.head(self.features(local_contrast(x))).mean((1, 2, 3))
