"""Per-image columns of one kind of work, joined over chunks and over cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from lustral.bench.store import StoreError
from lustral.report.source import StoredCell

__all__ = ["Samples", "common", "gather", "join", "pick"]

Column = NDArray[Any]  # float64 or bool

_HEAVY = frozenset({"image", "adversarial"})  # pixels that no number of the report needs


@dataclass(frozen=True, eq=False)
class Samples:
    """Columns over the same images, sorted by image id.

    Attributes:
        images: ids (n,).
        columns: name -> array (n,) or, one column per fresh draw, (n, draws).
    """

    images: tuple[str, ...]
    columns: dict[str, Column]

    def __len__(self) -> int:
        return len(self.images)

    def floats(self, name: str) -> NDArray[np.float64]:
        """A column as floats (n,) or (n, draws); NaN (n,) if the cells do not have it."""
        column = self.columns.get(name)
        return np.full(len(self), np.nan) if column is None else column.astype(np.float64)

    def flags(self, name: str) -> NDArray[np.bool_]:
        """A boolean column (n,) or (n, draws).

        Raises:
            StoreError: the cells do not have it.
        """
        column = self.columns.get(name)
        if column is None or column.dtype != np.bool_:
            raise StoreError(f"a cell lacks the boolean column {name!r}; run lustral verify on the folder")
        return column

    def mean(self, name: str) -> float:
        """Mean over images, NaN without the column or if an image lacks it."""
        return float(self.floats(name).mean()) if len(self) else float("nan")

    def take(self, images: Sequence[str]) -> Samples:
        """The same columns for some of the images, in the order given."""
        if tuple(images) == self.images:
            return self
        row_of = {image: row for row, image in enumerate(self.images)}
        rows = [row_of[image] for image in images]
        return Samples(tuple(images), {name: column[rows] for name, column in self.columns.items()})


def common(parts: Iterable[Samples]) -> tuple[str, ...]:
    """Image ids that all parts have, sorted."""
    sets = [set(part.images) for part in parts]
    return tuple(sorted(set.intersection(*sets))) if sets else ()


def join(first: Samples, *others: Samples | None) -> Samples:
    """Columns side by side for the images of ``first`` that all others have too; the first name wins."""
    parts = [first, *(other for other in others if other is not None)]
    images = common(parts)
    columns: dict[str, Column] = {}
    for part in parts:
        columns = {**part.take(images).columns, **columns}
    return Samples(images, columns)


def pick(parts: Sequence[Samples], choice: NDArray[np.int64]) -> Samples:
    """For image i the values of ``parts[choice[i]]``, for the columns that all parts have.

    A part with one draw (an attacker who knows the noise meets one only) counts it as often as others draw.
    """
    rows = np.arange(len(parts[0]))
    names = set.intersection(*(set(part.columns) for part in parts))
    columns: dict[str, Column] = {}
    for name in sorted(names):
        stack = np.broadcast_arrays(*(part.columns[name] for part in parts))
        columns[name] = np.stack(stack)[choice, rows]
    return Samples(parts[0].images, columns)


def gather(cells: Sequence[StoredCell]) -> Samples:
    """Concatenate the chunks of one kind of work and sort by image.

    Raises:
        StoreError: an image comes twice, or chunks have different numbers of draws.
    """
    images: list[str] = []
    pieces: dict[str, list[Column]] = {}
    for cell in cells:
        table = _read(cell)
        images += table.column("image").to_pylist()
        for name in table.column_names:
            if name not in _HEAVY and (column := _array(table.column(name), len(table))) is not None:
                pieces.setdefault(name, []).append(column)
    if len(set(images)) != len(images):
        twice = next(image for image in images if images.count(image) > 1)
        raise StoreError(
            f"image {twice!r} is in two cells of the same work, for example {cells[0].id}: the folder holds the "
            "cells of two recipes; make the report with the recipe, or use a fresh folder"
        )
    order = sorted(range(len(images)), key=images.__getitem__)
    try:
        columns = {name: np.concatenate(parts)[order] for name, parts in pieces.items() if len(parts) == len(cells)}
    except ValueError as error:
        raise StoreError(f"cells {cells[0].id} ... differ in their numbers of draws ({error})") from error
    return Samples(tuple(images[row] for row in order), columns)


def _read(cell: StoredCell) -> Any:
    try:
        schema = parquet.read_schema(cell.path)
        names = [entry.name for entry in schema if entry.name == "image" or not _is_heavy(entry)]
        return parquet.read_table(cell.path, columns=names, page_checksum_verification=True)
    except (ValueError, OSError) as error:
        raise StoreError(f"{cell.path} cannot be read ({error}); delete it and run the recipe again") from error


def _is_heavy(entry: Any) -> bool:
    return entry.name in _HEAVY or pa.types.is_binary(entry.type)


def _array(column: Any, rows: int) -> Column | None:
    """NumPy array of a column; None if it is empty of values or not made of numbers."""
    values = column.combine_chunks()
    if values.null_count == rows and rows:
        return None
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        flat = _numbers(values.flatten())
        if values.null_count or flat is None or (rows and len(flat) % rows):
            return None
        lengths = np.diff(values.offsets.to_numpy())
        return flat.reshape(rows, -1) if len(set(lengths.tolist())) == 1 else None
    return _numbers(values)


def _numbers(values: Any) -> Column | None:
    if pa.types.is_boolean(values.type):
        return np.asarray(compute.fill_null(values, True).to_numpy(zero_copy_only=False), dtype=np.bool_)
    if pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
    return None
