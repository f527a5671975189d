"""Reading Parquet files whose column ``image`` holds encoded pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from numpy.typing import NDArray
from PIL import Image

__all__ = ["decode", "read_columns", "read_images"]


def read_columns(path: Path, columns: Sequence[str]) -> dict[str, list[Any]]:
    """The named columns as lists.

    Raises:
        ValueError: the file is not readable Parquet, or lacks a column; the message names the file.
    """
    try:
        found = parquet.read_schema(path).names
        missing = [name for name in columns if name not in found]
        if not missing:
            return parquet.read_table(path, columns=list(columns)).to_pydict()
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable Parquet file ({error}); fetch it again") from error
    raise ValueError(f"{path} must have the columns {list(columns)}, it lacks {missing} and has {found}")


def decode(data: bytes, where: str) -> NDArray[np.uint8]:
    """Pixels (h, w, 3) of one encoded picture.

    Raises:
        ValueError: not a whole PNG, WebP or JPEG picture; the message says ``where``.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "JPEG")) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{where}: expected a PNG, WebP or JPEG picture, cannot decode it ({error})") from error


def read_images(path: Path, *columns: str) -> tuple[list[NDArray[np.uint8]], dict[str, list[Any]]]:
    """The pictures of column ``image`` and the other named columns, in the order of the file.

    Raises:
        ValueError: unreadable file, missing column or broken picture; the message names the file and the row.
    """
    cells = read_columns(path, ("image", *columns))
    images = [decode(data, f"{path}, row {row}") for row, data in enumerate(cells["image"])]
    return images, cells
