"""Non-local means: every pixel becomes the average of those whose surroundings look the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings
from lustral.purifiers.per_image import per_image
from lustral.purifiers.smoothing import Kernel
from lustral.settings import Number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["NonLocalMeans"]


class NonLocalMeans(PurifierSettings):
    """Average over similar patches. The forward pass is exactly scikit-image's fast mode.

    Args:
        patch: side of the patches that are compared, in pixels, odd.
        distance: how many pixels away patches are looked for.
        sigma: deviation of the noise in units of the [0, 1] range.
        strength: how different patches may be, the library's h, as a multiple of ``sigma``.

    Cost: no network; about 4 ms for an image of 32 x 32 pixels on one core, growing with ``(2 distance + 1)^2``.

    Source: Buades, Coll, Morel 2005, "A non-local algorithm for image denoising"; an initialiser in table 7 of paper
        002, which gives no settings.
    Differs: identity backward is ours. Patches of 3 within 5 pixels, sigma 8/255 and h of 0.6 sigma are for CIFAR-10,
        where they gained more PSNR than 5 within 6 and the library's 7 within 11.
    """

    name: ClassVar[str] = "non_local_means"
    family: ClassVar[Family] = "filtering"
    source: ClassVar[str] = "Buades, Coll, Morel 2005; PuriFlow, table 7"
    gradient: ClassVar = "bpda"
    presets: ClassVar = tuple({"sigma": level / 255} for level in (4, 8, 16))
    patch: Kernel = 3
    distance: int = Field(default=5, ge=1, le=31)
    sigma: Number = Field(default=8 / 255, gt=0, le=1)
    strength: float = Field(default=0.6, gt=0, le=10)

    def purify(self, x: Images, noise: Noise) -> Images:
        return per_image(x, self._average)

    def _average(self, image: NDArray[Any]) -> NDArray[Any]:
        from skimage.restoration import denoise_nl_means

        return denoise_nl_means(
            image, patch_size=self.patch, patch_distance=self.distance, h=self.strength * self.sigma, sigma=self.sigma,
            fast_mode=True, channel_axis=-1,
        )  # fmt: skip
