"""The denoiser that lustral trains: a U-Net between the scalings of EDM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.unet import NoiseUNet

__all__ = ["PreconditionedDenoiser"]

DEVIATION = 0.5  # of images in [-1, 1]


class PreconditionedDenoiser(nn.Module):
    """``D(x, sigma) = c_skip x + c_out F(c_in x, log(sigma) / 4)``.

    Args:
        network: images of unit variance and a number per image -> images.
        side: side of the images it learnt; larger ones are denoised in tiles.

    Shape: images (n, 3, h, w) in [-1, 1] with noise of deviation sigma (n,) -> clean images, same shape.

    Source: Karras et al., arXiv:2206.00364, table 1, with sigma_data = 0.5.
    """

    def __init__(self, network: nn.Module, side: int) -> None:
        super().__init__()
        self.network = network
        self.side = side

    @classmethod
    def of(cls, architecture: Mapping[str, Any]) -> PreconditionedDenoiser:
        """The untrained network that a weight card describes."""
        names = ("widths", "blocks", "patch", "embedding")
        return cls(NoiseUNet(**{name: architecture[name] for name in names}), int(architecture["side"]))

    def forward(self, x: Float[Tensor, "n 3 h w"], sigma: Float[Tensor, " n"]) -> Float[Tensor, "n 3 h w"]:
        s = sigma[:, None, None, None]
        total = s.square() + DEVIATION**2
        found = self.network(x / total.sqrt(), sigma.log() / 4)
        return DEVIATION**2 / total * x + s * DEVIATION / total.sqrt() * found.to(x.dtype)
