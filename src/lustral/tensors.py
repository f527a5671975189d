"""Image batches: what they are, the checks at the borders, and the one way to 8 bits."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Images", "check_images", "from_uint8", "quantise", "to_uint8"]

Images = Float[Tensor, "n 3 h w"]
"""RGB batch, floating point, values in [0, 1]."""

_TOLERANCE = 1e-6  # float error of honest arithmetic; more than that is a mistake of the caller


def check_images(x: object, name: str = "x") -> None:
    """Raise unless ``x`` is a floating point batch (n, 3, h, w) with finite values in [0, 1].

    Raises:
        TypeError: not a tensor, or not floating point.
        ValueError: wrong rank, wrong channel count, not finite, or out of range; the message says what came.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor (n, 3, h, w), got {type(x).__name__}; use from_uint8 for arrays")
    if not x.is_floating_point():
        raise TypeError(f"{name} must be floating point in [0, 1], got {x.dtype}; divide 8-bit images by 255 first")
    if x.ndim != 4 or x.shape[1] != 3:
        hint = "; add a batch dimension with x[None]" if x.ndim == 3 and x.shape[0] == 3 else ""
        hint = "; move channels first with x.permute(0, 3, 1, 2)" if x.ndim == 4 and x.shape[3] == 3 else hint
        raise ValueError(f"{name} must have shape (n, 3, h, w), got {tuple(x.shape)}{hint}")
    if x.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(x.shape)}")
    low, high = (float(v) for v in x.detach().aminmax())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{name} must be finite, got values from {low} to {high}")
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        hint = "; divide by 255" if high > 2 else "; normalisation belongs inside the target" if low < 0 else ""
        raise ValueError(f"{name} must lie in [0, 1], got values from {low:.4g} to {high:.4g}{hint}")


def to_uint8(x: Images) -> UInt8[Tensor, "n 3 h w"]:
    """Round (never truncate) to 8 bits.

    >>> int(to_uint8(torch.full((1, 3, 1, 1), 0.999))[0, 0, 0, 0])
    255
    """
    return x.detach().clamp(0, 1).mul(255).round_().to(torch.uint8)


def from_uint8(images: NDArray[np.uint8] | UInt8[Tensor, "n 3 h w"]) -> Images:
    """Float32 batch in [0, 1] from an 8-bit array (n, h, w, 3) or an 8-bit tensor (n, 3, h, w).

    Raises:
        TypeError: not 8-bit.
        ValueError: wrong shape.
    """
    if isinstance(images, Tensor):
        if images.dtype != torch.uint8:
            raise TypeError(f"expected a uint8 tensor, got {images.dtype}")
        return images.float().div(255)
    if images.dtype != np.uint8:
        raise TypeError(f"expected a uint8 array, got {images.dtype}")
    if images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"expected an array (n, h, w, 3), got {images.shape}")
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float().div(255)


def quantise(x: Images) -> Images:
    """The nearest 8-bit image, as floats."""
    return x.detach().clamp(0, 1).mul(255).round_().div_(255)
