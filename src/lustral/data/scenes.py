"""Patches of ten photographs that need no download: which photograph is this patch from?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lustral.data.base import DataSettings, ImageSet
from lustral.data.builtin import PHOTOGRAPHS, photograph, resized_to
from lustral.data.tiles import Tile, luma, tiles

__all__ = ["Scenes"]

SIDE = 32
PIXELS = 576 * 576  # 18 x 18 tiles: about as many for every class, each with recognisable content
FLAT = 4.0  # standard deviation of luma in 8-bit levels; below it a tile is empty sky or the black border of retina


def _scene(name: str) -> tuple[NDArray[np.uint8], list[Tile]]:
    pixels = resized_to(photograph(name), PIXELS)
    return pixels, [tile for tile in tiles(pixels, SIDE) if luma(tile.cut(pixels)).std() >= FLAT]


class Scenes(DataSettings):
    """Patches of 32 x 32 from the ten photographs of scikit-image; the class is the photograph.

    Every photograph is resized to about 576 x 576 pixels (sides in proportion) and cut into a grid of
    tiles. One tile in five is a test tile, spread evenly, so that no two share an edge; the others are
    training tiles. Tiles do not overlap: no test pixel is in a training tile. (They are neighbours in one
    photograph, which is the point of the task, and resampling mixes a pixel or two across the cut.) Tiles
    whose luma varies by less than 4 of 255 levels (standard deviation) are dropped, because an empty patch
    of sky does not say where it is from; so 2,222 training and 560 test tiles remain, and the nearest
    neighbour by colour histogram finds the photograph of 92 % of the test tiles.

    Ids are ``scenes/<photograph>/<row>-<column>`` with the tile's place in the grid.

    Licence and citation: of every photograph in ``lustral.data.builtin.PHOTOGRAPHS``.
    """

    name: ClassVar[str] = "scenes"
    kind: ClassVar = "classes"
    origin: ClassVar[str] = "https://scikit-image.org (comes with the package)"

    def read(self) -> ImageSet:
        """All tiles of the split, photograph by photograph, row by row."""
        ids: list[str] = []
        images: list[NDArray[np.uint8]] = []
        labels: list[int] = []
        for label, name in enumerate(PHOTOGRAPHS):
            pixels, kept = _scene(name)
            for tile in kept:
                if tile.split == self.split:
                    ids.append(f"scenes/{name}/{tile.row}-{tile.column}")
                    images.append(tile.cut(pixels))
                    labels.append(label)
        truth = np.asarray(labels, dtype=np.int64)
        return ImageSet(f"scenes {self.split}", tuple(ids), images, truth, tuple(PHOTOGRAPHS))
