"""What every full-reference measure is: features of each image, and a comparison of two sets of features."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Distance"]


class Distance(nn.Module):
    """How far images are from their references, with gradients with respect to both; no image sees its batch.

    A reference that is compared often is described only once.

    Shape: images (n, 3, h, w) in [0, 1] and references of the same shape -> (n,), 0 where they are equal.

    Attributes:
        smallest: shortest side in pixels that it has a value for.
    """

    smallest: int = 1

    def describe(self, x: Float[Tensor, "n 3 h w"]) -> Sequence[Tensor]:
        """Features that are compared, tensors (n, ...)."""
        raise NotImplementedError

    def compare(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> Float[Tensor, " n"]:
        """Distance of two sets of features."""
        raise NotImplementedError

    def forward(self, x: Float[Tensor, "n 3 h w"], reference: Float[Tensor, "m 3 g v"]) -> Float[Tensor, " n"]:
        """Distance of every image from its reference.

        Raises:
            ValueError: the shapes differ, or a side is too short.
        """
        if x.shape != reference.shape:
            raise ValueError(
                f"images and references must have one shape, got {tuple(x.shape)} and {tuple(reference.shape)}; "
                "resize one of them first"
            )
        height, width = x.shape[2:]
        if min(height, width) < self.smallest:
            raise ValueError(
                f"{type(self).__name__} needs sides of at least {self.smallest} pixels, got {height} x {width}; "
                "extend or resize both images in a way that you report"
            )
        return self.compare(self.describe(x), self.describe(reference))
