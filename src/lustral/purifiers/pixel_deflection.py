"""Pixel deflection: a few pixels take the value of a neighbour, then the wavelet denoiser cleans up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings
from lustral.purifiers.wavelet import Wavelet
from lustral.settings import Number

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["PixelDeflection"]


class PixelDeflection(PurifierSettings):
    """Copy random pixels over random neighbours, then shrink wavelet coefficients by BayesShrink in YCbCr.

    Deflections follow each other, so a pixel can pass on what it got before. Each channel has its own.

    Args:
        share: deflections per channel over the number of pixels, rounded to at least one deflection.
        window: largest distance of source and destination along each axis, in pixels.
        sigma: deviation of the noise that ``wavelet`` removes, in units of the [0, 1] range; None estimates it.

    Cost: no network; about 1 ms for an image of 32 x 32 pixels on one core, most of it the wavelets.

    Source: Prakash et al., "Deflecting adversarial attacks with pixel deflection", CVPR 2018,
        algorithm 1, and its published code: 200 deflections in an image of 224 x 224, window 10, sigma 0.04.
    Differs: without the robust activation map, which spares what a classifier looks at: it needs the class activation
        maps of a network (the published code can leave it out, too). The number of deflections is a share of the
        pixels, 4 per channel at 32 x 32; the window is not scaled. The first row and column can be sources, the
        published code spares them. The gradient of the copies is exact, that of the wavelets the identity.
    """

    name: ClassVar[str] = "pixel_deflection"
    family: ClassVar[Family] = "noising"
    source: ClassVar[str] = "Prakash et al. 2018, algorithm 1"
    gradient: ClassVar = "bpda"
    is_random: ClassVar[bool] = True
    presets: ClassVar = ({"share": 200 / 224**2, "window": 10, "sigma": 0.04},)
    share: Number = Field(default=200 / 224**2, gt=0, le=10)
    window: int = Field(default=10, ge=1, le=1000)
    sigma: Number | None = Field(default=0.04, gt=0, le=1)

    def purify(self, x: Images, noise: Noise) -> Images:
        y = x.flatten(2).gather(2, self.origins(x, noise)).view_as(x)
        return Wavelet(sigma=self.sigma).purify(y, noise)

    def origins(self, x: Images, noise: Noise) -> Tensor:
        """Index (n, 3, h w) of the pixel that each pixel shows after all deflections."""
        import numpy as np
        import torch

        height, width = x.shape[2:]
        count = max(1, round(self.share * height * width))
        drawn = noise.numbers(12 * count).double().numpy().reshape(len(x), 4, 3, count).swapaxes(0, 1)
        rows, source_rows = _pairs(drawn[0], drawn[1], height, self.window)
        columns, source_columns = _pairs(drawn[2], drawn[3], width, self.window)
        places, sources = (rows * width + columns, source_rows * width + source_columns)  # (n, 3, count)
        shown = np.tile(np.arange(height * width), (len(x) * 3, 1))
        line = np.arange(len(x) * 3)
        for place, origin in zip(places.reshape(-1, count).T, sources.reshape(-1, count).T, strict=True):
            shown[line, place] = shown[line, origin]
        return torch.from_numpy(shown).view(len(x), 3, -1).to(x.device)


def _pairs(first: NDArray[Any], second: NDArray[Any], side: int, window: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Uniform places on a side, and for each a uniform neighbour in its window as far as it lies on the side."""
    import numpy as np

    places = (first * side).astype(np.int64)
    low, high = np.maximum(places - window, 0), np.minimum(places + window, side - 1)
    return places, low + (second * (high - low + 1)).astype(np.int64)
