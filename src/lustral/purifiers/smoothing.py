"""Window sizes, borders and the Gaussian that several filters share. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

if TYPE_CHECKING:
    from lustral.tensors import Images

__all__ = ["Kernel", "gaussian", "reflect"]


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError(f"a window needs a centre pixel: take an odd number such as {kernel + 1}")
    return kernel


Kernel = Annotated[int, Field(ge=1, le=63), AfterValidator(_odd)]
"""Odd side of a square window, in pixels."""


def reflect(x: Images, margin: int) -> Images:
    """Mirror ``margin`` pixels around the image, without repeating the edge pixel.

    Unlike ``torch.nn.functional.pad`` the margin may exceed the image: the mirroring goes on, as in
    ``numpy.pad(mode="reflect")``, so that images of any size can be filtered.
    """
    import torch

    for axis in (2, 3):
        size = x.shape[axis]
        period = max(2 * (size - 1), 1)
        steps = torch.arange(-margin, size + margin, device=x.device) % period
        x = x.index_select(axis, torch.minimum(steps, period - steps))
    return x


def gaussian(x: Images, kernel: int, sigma: float) -> Images:
    """Gaussian of standard deviation ``sigma`` pixels, cut to ``kernel`` taps and normalised to sum 1."""
    from kornia.filters import filter2d_separable, get_gaussian_kernel1d

    taps = get_gaussian_kernel1d(kernel, sigma, device=x.device, dtype=x.dtype)  # (1, kernel)
    return filter2d_separable(reflect(x, kernel // 2), taps, taps, padding="valid")
