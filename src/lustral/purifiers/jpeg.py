"""Real JPEG: every image is encoded and decoded by libjpeg."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings
from lustral.purifiers.diff_jpeg import Subsampling, differentiable_jpeg

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["JPEG"]


class JPEG(PurifierSettings):
    """Round to 8 bits, encode, decode. The forward pass is exactly Pillow's.

    Args:
        quality: JPEG quality, 1 (strongest compression) to 100.
        subsampling: "4:2:0" (colour at half resolution) or "4:4:4". They differ by up to tens of levels.
        backward: what stands in for the missing derivative: "identity" passes the gradient through
            unchanged, "surrogate" takes the derivative of ``diff_jpeg`` at the same settings.

    Source: paper 000, tables 2 and 11, after Guo et al. (2018).
    Differs: rounds to 8 bits, the published code truncates; both backward modes are ours, the published
        code has no gradient. Decoded pixels depend on the libjpeg that Pillow brings.
    """

    name: ClassVar[str] = "jpeg"
    family: ClassVar[Family] = "compression"
    source: ClassVar[str] = "Guardians of image quality, tables 2 and 11"
    gradient: ClassVar = "bpda"
    presets: ClassVar = tuple({"quality": quality} for quality in (90, 70, 50, 30, 10))
    quality: int = Field(50, ge=1, le=100)
    subsampling: Subsampling = "4:2:0"
    backward: Literal["identity", "surrogate"] = "identity"

    def purify(self, x: Images, noise: Noise) -> Images:
        import numpy as np
        import torch

        from lustral.purifiers.substitute import needs_gradient, substitute
        from lustral.tensors import to_uint8

        pixels = to_uint8(x).permute(0, 2, 3, 1).cpu().numpy()  # (n, h, w, 3)
        decoded = torch.from_numpy(np.stack([self._code(image) for image in pixels]))
        y = decoded.permute(0, 3, 1, 2).to(x).div(255)  # (n, 3, h, w)
        if not needs_gradient(x):
            return y
        carrier = x if self.backward == "identity" else differentiable_jpeg(x, self.quality, self.subsampling)
        return substitute(y, carrier)

    def _code(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        import numpy as np
        from PIL import Image

        with io.BytesIO() as file:
            Image.fromarray(image).save(file, "JPEG", quality=self.quality, subsampling=self.subsampling)
            with Image.open(file) as coded:
                return np.asarray(coded)
