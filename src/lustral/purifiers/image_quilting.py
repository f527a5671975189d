"""Image quilting: the image is put together anew from patches of clean photographs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from lustral.purifiers.base import Family, PurifierSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from lustral.purifiers.module import Purifier
    from lustral.purifiers.quilting import PatchBank
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["ImageQuilting"]


class ImageQuilting(PurifierSettings):
    """Replace every patch of a grid by one of its nearest neighbours in a bank, and cut overlaps along the best seam.

    The image is rounded to 8 bits first. Sides that the grid does not fill are mirrored at the bottom and on the
    right, and cut back.

    Args:
        photographs: data set whose pictures fill the bank, as in ``lustral run``: "scenes:split=train",
            "folder:path=PICTURES", "cifar10:split=train". Take none that the target is tested on.
        fingerprint: hash of these pictures, so that settings say what the bank holds. A wrong one is an error that
            names the right one.
        patches: size of the bank; they are spread evenly over all overlapping patches of the pictures.
        side: of a patch, in pixels.
        overlap: of neighbouring patches, in pixels, at most half a side.
        neighbours: each patch is drawn from this many nearest ones; with 1 nothing is random.

    Cost: no network, but ``patches`` distances for each of the (image / (side - overlap)) squared places: about
        5 ms for an image of 32 x 32 pixels on one core and 1.2 s for one of 384 x 512. On CIFAR-10 banks of 10,000,
        50,000 and 200,000 patches give 21.2, 22.0 and 22.5 dB.

    Source: Guo et al., "Countering adversarial images using input transformations", ICLR 2018, "image quilting",
        and its published code: 5 x 5 patches, overlap 2, the nearest one; after Efros and Freeman 2001.
    Differs: seams by dynamic programming as in Efros and Freeman, where Guo et al. cut graphs. The bank has 20,000
        patches of ten photographs instead of a million of ImageNet, and is searched exactly, without reduction to 64
        principal components. Targets are not trained anew on quilted images. The published code knows a random choice,
        too; how many neighbours is left to its user, 10 is ours. Identity backward is ours.
    """

    name: ClassVar[str] = "image_quilting"
    family: ClassVar[Family] = "filtering"
    source: ClassVar[str] = "Guo et al. 2018, image quilting"
    gradient: ClassVar = "bpda"
    presets: ClassVar = ({"neighbours": 1}, {"neighbours": 10})
    photographs: str = Field(default="scenes:split=train", min_length=1)
    fingerprint: str = Field(default="86d0c85b385f6ad7d6f7945c59e990ac", pattern="^[0-9a-f]{32}$")
    patches: int = Field(default=20_000, ge=1)
    side: int = Field(default=5, ge=2, le=32)
    overlap: int = Field(default=2, ge=1)
    neighbours: int = Field(default=1, ge=1, le=1000)

    @field_validator("overlap")
    @classmethod
    def _fits(cls, overlap: int, info: ValidationInfo) -> int:
        if 2 * overlap > info.data.get("side", 2 * overlap):  # absent if it was wrong itself
            raise ValueError(f"the overlap must be at most half of the side, {info.data['side']}")
        return overlap

    @property
    def is_random(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Whether there is a choice."""
        return self.neighbours > 1

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.purifiers.module import Purifier
        from lustral.purifiers.quilting import PatchBank
        from lustral.purifiers.substitute import needs_gradient, substitute

        bank = PatchBank(_bank(self.photographs, self.fingerprint, self.side, self.patches)).to(device)
        if len(bank.patches) < self.neighbours:
            raise ValueError(f"expected at least {self.neighbours} patches to choose from, got {len(bank.patches)}")

        def run(x: Images, noise: Noise) -> Images:
            y = self._quilt(x.detach(), bank, noise)
            return substitute(y, x) if needs_gradient(x) else y

        return Purifier(self, run, bank)

    def _quilt(self, x: Images, bank: PatchBank, noise: Noise) -> Images:
        import torch

        from lustral.purifiers.quilting import stitch
        from lustral.purifiers.smoothing import reflect
        from lustral.tensors import to_uint8

        step, side = self.side - self.overlap, self.side
        rows, columns = (max(1, -(-(length - self.overlap) // step)) for length in x.shape[2:])
        height, width = rows * step + self.overlap, columns * step + self.overlap
        pixels = reflect(to_uint8(x), side)[:, :, side : side + height, side : side + width]
        wanted = pixels.unfold(2, side, step).unfold(3, side, step).permute(0, 2, 3, 1, 4, 5)  # (n, r, c, 3, s, s)
        near = bank.nearest(wanted.flatten(0, 2).to(bank.patches.device), self.neighbours)  # (n r c, neighbours)
        if self.neighbours > 1:
            drawn = (noise.numbers(rows * columns).double() * self.neighbours).long().view(-1, 1)
            near = near.gather(1, drawn.to(near.device))
        chosen = bank.patches[near[:, 0]].view(wanted.shape).cpu().numpy()
        y = torch.from_numpy(stitch(chosen, self.overlap)[:, :, : x.shape[2], : x.shape[3]])
        return y.to(x).div(255)


@lru_cache(maxsize=4)
def _bank(photographs: str, fingerprint: str, side: int, count: int) -> NDArray[np.uint8]:
    from lustral.data import parse_data
    from lustral.purifiers.quilting import cut_patches

    pictures = parse_data(photographs).load()
    found = pictures.fingerprint()
    if found != fingerprint:
        raise ValueError(
            f"image_quilting expected photographs={photographs} with fingerprint={fingerprint}, got {found}; "
            f"if these are the pictures that you mean, set fingerprint={found}"
        )
    return cut_patches(pictures.images, side, count)
