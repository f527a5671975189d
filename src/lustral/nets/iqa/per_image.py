"""Holding a foreign metric to one score per image."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["PerImage"]


class PerImage(nn.Module):
    """A metric whose scores are checked to be one per image.

    Args:
        metric: images (n, 3, h, w) -> n scores of any shape.

    Shape: (n, 3, h, w) in [0, 1] -> scores (n,).
    """

    def __init__(self, metric: nn.Module) -> None:
        super().__init__()
        self.metric = metric

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        scores: Tensor = self.metric(x)
        if scores.numel() != len(x):
            raise ValueError(f"expected one score for each of {len(x)} images, got shape {tuple(scores.shape)}")
        return scores.flatten()
