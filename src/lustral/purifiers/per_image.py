"""Purification by a library that takes one array at a time and has no derivative. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lustral.tensors import Images

__all__ = ["per_image"]


def per_image(x: Images, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Images:
    """``function`` of every image as a float64 array (h, w, 3); backward the gradient passes through unchanged.

    float64 makes the result the same for every dtype of ``x`` up to rounding, and one image at a time makes it
    independent of the batch.
    """
    import numpy as np
    import torch

    from lustral.purifiers.substitute import needs_gradient, substitute

    pixels = x.detach().double().permute(0, 2, 3, 1).cpu().numpy()  # (n, h, w, 3)
    found = torch.from_numpy(np.stack([function(np.ascontiguousarray(image)) for image in pixels]))
    y = found.permute(0, 3, 1, 2).to(x).contiguous()  # (n, 3, h, w)
    return substitute(y, x) if needs_gradient(x) else y
