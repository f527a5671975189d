"""Cutting a photograph into tiles, some for training and some for testing, that share no pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tile", "luma", "tiles"]


@dataclass(frozen=True)
class Tile:
    """A square of a photograph: its place in the grid and its side in pixels."""

    row: int
    column: int
    side: int

    @property
    def split(self) -> Literal["train", "test"]:
        """One tile in five is for testing: a knight's move apart, so no two test tiles share an edge."""
        return "test" if (self.row + 2 * self.column) % 5 == 0 else "train"

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the photograph that the tile covers."""
        top, left = self.row * self.side, self.column * self.side
        return slice(top, top + self.side), slice(left, left + self.side)

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy (side, side, 3) of the tile of a photograph (h, w, 3)."""
        return pixels[self.box].copy()


def tiles(pixels: NDArray[np.uint8], side: int) -> list[Tile]:
    """All whole tiles of a photograph (h, w, 3), row by row; what is left at the right and below is unused."""
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    return [Tile(row, column, side) for row in range(rows) for column in range(columns)]


def luma(pixels: NDArray[np.uint8] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Brightness (h, w) in 0..255 of RGB (h, w, 3), with the BT.601 weights."""
    red, green, blue = np.moveaxis(pixels.astype(np.float64), -1, 0)
    return (299 * red + 587 * green + 114 * blue) / 1000  # whole numbers before the division: the same everywhere
