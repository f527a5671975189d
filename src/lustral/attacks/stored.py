"""Adversarial images from a folder, as an attack that was made before."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.attacks.budgets import UNBOUNDED
from lustral.settings import Number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lustral.attacks.oracle import Oracle
    from lustral.data.adversarial_set import Shard
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Stored"]


class Stored(AttackSettings):
    """Images that another run made, found by their ids: the non-adaptive benchmark on a published set.

    The oracle is not asked, and the images stand however they fare: on their own target they get the scores of the
    run that they came from, since both see the same 8-bit pixels, on another they show what transfers. Ids that begin
    with "padding/" fill up a chunk and stay as they are.

    Cost: none.

    Args:
        norm: has no meaning here.
        epsilon: bounds nothing; the distances of the stored images are part of every result.
        folder: what ``lustral export adversarial`` wrote.
        label: of the attack in the recipe that made the images.
        suite: of that recipe; only needed where one label stands for several attacks.

    Raises:
        ValueError: an image is not in the set, or has another size.

    Source: the published set of Guardians of image quality (arXiv:2408.01541), section 5; ours has one Parquet file
        per cell.
    """

    name: ClassVar[str] = "stored"
    source: ClassVar[str] = "arXiv:2408.01541"
    needs: ClassVar = "nothing"
    strength: ClassVar[str] = "label"
    norm: Literal["linf"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride] settings are frozen
    epsilon: Number = Field(default=UNBOUNDED, ge=1)
    folder: str
    label: str
    suite: str | None = None

    def weights_used(self) -> tuple[str, ...]:
        """The files that are read."""
        return tuple(str(Path(self.folder) / shard.path) for shard in self._shards())

    def _shards(self) -> tuple[Shard, ...]:
        from lustral.data.adversarial_set import find_shards

        return find_shards(Path(self.folder), self.label, self.suite)

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.tensors import from_uint8

        stored = _read(self.folder, self.label, self.suite, tuple(shard.sha256 for shard in self._shards()))
        found = x.clone()
        for row, name in enumerate(noise.images):
            if name.startswith("padding/"):
                continue
            if name not in stored:
                raise ValueError(
                    f"{self.folder} has no image {name!r} of {self.label!r}; use the data it was made from"
                )
            image = from_uint8(stored[name][None])[0].to(x)
            if image.shape != x.shape[1:]:
                raise ValueError(
                    f"image {name!r} is {tuple(image.shape)} in {self.folder} and {tuple(x.shape[1:])} here; "
                    "use the data it was made from"
                )
            found[row] = image
        return found


@lru_cache(maxsize=2)
def _read(folder: str, label: str, suite: str | None, hashes: tuple[str, ...]) -> dict[str, NDArray[np.uint8]]:
    """Pixels by image id; ``hashes`` make a set that was replaced a set of its own."""
    from lustral.data.adversarial_set import find_shards, read_shards

    return read_shards(Path(folder), find_shards(Path(folder), label, suite))
