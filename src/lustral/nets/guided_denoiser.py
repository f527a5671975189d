"""HGD: a U-Net that learns what to subtract so that a classifier sees what it would have seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["DUNET"]


def _layers(inputs: int, width: int, count: int, stride: int = 1) -> nn.Sequential:
    """``count`` convolutions, each with batch normalisation and ReLU; the first one has the stride."""
    layers: list[nn.Module] = []
    for index in range(count):
        layers += [
            nn.Conv2d(width if index else inputs, width, 3, 1 if index else stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class DUNET(nn.Module):
    """U-Net whose result is added to the image.

    Args:
        widths: channels per resolution, each half of the one before; (64, 128, 256, 256, 256) in the paper.
        layers: convolutions per resolution, the same on the way up; (2, 3, 3, 3, 3) in the paper.

    Shape: images (n, 3, h, w) in [0, 1], any size -> (n, 3, h, w), not clamped. In evaluation mode no image sees
        another one; in training mode batch normalisation uses the batch.

    Source: Liao et al., arXiv:1712.02976, the denoising U-Net (DUNET).
        Differs: small by default; the last convolution starts at zero, so that training starts at the identity;
        enlarging aligns pixels as areas, the code of that time aligned corners.

    Raises:
        ValueError: ``layers`` does not fit ``widths``, or there is a single resolution.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 96), layers: Sequence[int] = (2, 3, 3)) -> None:
        super().__init__()
        if len(widths) != len(layers) or len(widths) < 2:
            raise ValueError(f"expected as many layers as widths, at least two, got widths={widths}, layers={layers}")
        before = (3, *widths)
        self.down = nn.ModuleList(
            _layers(before[level], widths[level], layers[level], stride=2 if level else 1)
            for level in range(len(widths))
        )
        self.up = nn.ModuleList(
            _layers(widths[level] + widths[level + 1], widths[level], layers[level]) for level in range(len(widths) - 1)
        )
        self.last = nn.Conv2d(widths[0], 3, 1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        h = 2 * x - 1
        seen: list[Tensor] = []
        for layers in self.down:
            h = layers(h)
            seen.append(h)
        h = seen.pop()
        for layers in reversed(self.up):
            kept = seen.pop()
            enlarged = functional.interpolate(h, size=kept.shape[2:], mode="bilinear", align_corners=False)
            h = layers(torch.cat([enlarged, kept], 1))
        return x + self.last(h) / 2  # the network works on [-1, 1]

    def training_loss(
        self,
        attacked: Float[Tensor, "n 3 h w"],
        clean: Float[Tensor, "n 3 h w"],
        generator: torch.Generator,
        target: Callable[[Tensor], Tensor] | None,
    ) -> Float[Tensor, ""]:
        """Mean absolute difference between the logits of the clean and of the denoised attacked images.

        Source: the logits guided denoiser (LGD) of the paper. Differs: denoised images are clamped to [0, 1] as
            they will be when the classifier is defended.

        Raises:
            ValueError: no classifier.
        """
        if target is None:
            raise ValueError("the guided denoiser is trained by the logits of a classifier, got target=None")
        with torch.no_grad():
            wanted = target(clean)
        return (target(self(attacked).clamp(0, 1)) - wanted).abs().mean()
