"""Wavelet shrinkage: small wavelet coefficients are noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings
from lustral.purifiers.per_image import per_image
from lustral.settings import Number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Wavelet"]


class Wavelet(PurifierSettings):
    """Soft thresholds by BayesShrink, one per subband, in YCbCr. The forward pass is exactly scikit-image's.

    Args:
        wavelet: "db1" (Haar) or "db2".
        sigma: deviation of the noise in units of the [0, 1] range; None estimates it in every image and channel.

    Cost: no network; about 2 ms for an image of 32 x 32 pixels on one core.

    Source: Chang, Yu, Vetterli 2000, "Adaptive wavelet thresholding for image denoising and compression"; an
        initialiser in table 7 of paper 002, which gives no settings. 0.04 is sigma in the code of pixel deflection.
    Differs: identity backward is ours, the library has no gradient. ``sigma`` None is the library's default.
    """

    name: ClassVar[str] = "wavelet"
    family: ClassVar[Family] = "filtering"
    source: ClassVar[str] = "Chang, Yu, Vetterli 2000; PuriFlow, table 7"
    gradient: ClassVar = "bpda"
    presets: ClassVar = ({"sigma": 0.02}, {"sigma": 0.04}, {"sigma": None})
    wavelet: Literal["db1", "db2"] = "db1"
    sigma: Number | None = Field(default=None, gt=0, le=1)

    def purify(self, x: Images, noise: Noise) -> Images:
        return per_image(x, self._shrink)

    def _shrink(self, image: NDArray[Any]) -> NDArray[Any]:
        from skimage.restoration import denoise_wavelet

        return denoise_wavelet(
            image, sigma=self.sigma, wavelet=self.wavelet, mode="soft", method="BayesShrink", convert2ycbcr=True,
            channel_axis=-1,
        )  # fmt: skip
