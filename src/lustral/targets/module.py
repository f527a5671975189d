"""The module that ``TargetSettings.build`` returns: images in, logits or scores out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.targets.base import TargetSettings
from lustral.tensors import Images

__all__ = ["Target"]


class Target(nn.Module):
    """A built target; normalisation and input size are its private matter.

    Args:
        settings: what it was built from.
        network: maps normalised images to logits (n, k), or to scores (n,) or (n, 1).
        mean, std: normalisation per channel in units of [0, 1].
        size: side in pixels that the network needs (bilinear, antialiased), or None for any size.

    Shape: images (n, 3, h, w) in [0, 1] -> logits (n, k) of a classifier, scores (n,) of a quality metric.
    """

    def __init__(
        self,
        settings: TargetSettings,
        network: nn.Module,
        mean: Sequence[float] | Tensor = (0.0, 0.0, 0.0),
        std: Sequence[float] | Tensor = (1.0, 1.0, 1.0),
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.network = network
        self.size = size
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).view(3, 1, 1))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).view(3, 1, 1))
        # A fifth faster on processors, the same values up to rounding.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] missing from torch's overloads
        self.eval().requires_grad_(False)

    def forward(self, x: Images) -> Float[Tensor, "n *k"]:
        if self.size is not None and tuple(x.shape[2:]) != self.size:
            x = functional.interpolate(x, self.size, mode="bilinear", antialias=True, align_corners=False)
        outputs = self.network((x - self.mean) / self.std)
        return outputs.flatten() if self.settings.kind == "quality" else outputs
