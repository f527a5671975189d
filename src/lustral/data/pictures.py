"""Pictures that stay in their files until somebody looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["PictureFiles"]


class PictureFiles(Sequence[NDArray[np.uint8]]):
    """Picture files as a sequence of uint8 (h, w, 3); a file is decoded at every look, and nothing is kept.

    ``ImageSet.take`` looks at the rows that it takes only, so choosing 100 of 10,000 pictures decodes 100.

    Args:
        paths: the files, in order.

    Raises:
        lustral.images.ImageError: at the look, if a file is not a whole picture; it is named.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, row: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, row: slice) -> PictureFiles: ...
    def __getitem__(self, row: int | slice) -> NDArray[np.uint8] | PictureFiles:
        from lustral.images import read_image

        if isinstance(row, slice):
            return PictureFiles(self.paths[row])
        return read_image(self.paths[row])
