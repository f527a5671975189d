"""Sizes of perturbations that several attacks and recipes share. Importing this loads no torch."""

from __future__ import annotations

import math

__all__ = ["UNBOUNDED", "l2_of_normalised", "normalised_of_l2"]

UNBOUNDED = 10_000.0
"""An epsilon that bounds nothing: farther than two images of up to 33 megapixels are apart in either norm."""


def l2_of_normalised(normalised: float, height: int, width: int) -> float:
    """The L2 length that an L2 length normalised by the size of the image stands for.

    Normalised is ``|d| / sqrt(3 * height * width)``, the root mean square of the perturbation, so that images of
    different sizes compare. Such a budget goes into ``epsilon`` of an L2 attack as the length returned here.

    Args:
        normalised: in units of the [0, 1] range, above 0; 0.005 and 0.01 in the (Compress and Restore)^N paper.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        The length in units of the [0, 1] range.

    Source: Ferrari et al., doi:10.1145/3524619, section 4.1 ((Compress and Restore)^N).
    Differs: the paper divides by "the total number of pixels"; here, as for a root mean square, every channel of a
        pixel counts as one. Without the channels a budget would be shorter by a factor of sqrt(3).

    >>> round(l2_of_normalised(0.005, 224, 224), 2)
    1.94
    """
    return normalised * _root(height, width)


def normalised_of_l2(length: float, height: int, width: int) -> float:
    """The inverse of ``l2_of_normalised``.

    >>> round(normalised_of_l2(5.0, 224, 224), 4)
    0.0129
    """
    return length / _root(height, width)


def _root(height: int, width: int) -> float:
    if height < 1 or width < 1:
        raise ValueError(f"height and width are pixels and at least 1, got {height} x {width}")
    return math.sqrt(3 * height * width)
