"""Superpixels: connected regions of similar colour, by simple linear iterative clustering (SLIC)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["superpixels"]


def superpixels(image: Tensor, count: int, compactness: float = 10.0) -> Tensor:
    """Number the superpixels of one image.

    The result is piecewise constant in ``image``, which is detached: no gradient flows. It depends on this image
    alone, is deterministic and, apart from rounding, the same in every dtype.

    SLIC starts from a square grid and afterwards merges regions that are small or in pieces, so ``count`` is what it
    aims at, not what it returns. In images of 32 x 32 pixels it mostly falls short: of 200 CIFAR-10 test images, 5, 10
    and 15 superpixels became 2.9, 6.6 and 11.6 on average, and 5 became a single one for every twentieth image. When
    superpixels are to be of a few pixels each it may also return more.

    Args:
        image: RGB (3, h, w) in [0, 1].
        count: superpixels to aim at, at least 1.
        compactness: weight of closeness in space over likeness of colour; high values give squares.

    Returns:
        int64 (h, w) on the device of ``image``, the numbers 0, ..., k - 1 with each of them in use, k >= 1.

    Cost: no network; about 1 ms for an image of 32 x 32 and 50 ms for one of 256 x 256 pixels on one core.

    Raises:
        ValueError: not one RGB image, or no superpixels asked for.

    Source: Achanta et al. 2012, doi:10.1109/TPAMI.2012.120, as in scikit-image, whose other defaults are kept:
        10 rounds, CIELAB colours after stretching the image to [0, 1], no smoothing, connected regions.
    """
    import numpy as np
    import torch
    from skimage.segmentation import slic

    if image.ndim != 3 or len(image) != 3 or not image.numel():
        raise ValueError(f"expected one RGB image (3, h, w), got {tuple(image.shape)}; take one image of a batch, x[0]")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    pixels = np.ascontiguousarray(image.detach().double().permute(1, 2, 0).cpu().numpy())  # (h, w, 3)
    found = slic(pixels, n_segments=count, compactness=compactness)
    in_use = np.bincount(found.ravel()) > 0
    return torch.from_numpy((np.cumsum(in_use) - 1)[found]).to(image.device)
