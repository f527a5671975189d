"""Pictures that people rated: finding what their archives unpack to, and reading the tables of scores."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lustral.data.base import VARIABLE, ImageSet, MissingData, data_folder
from lustral.data.parquet import read_columns
from lustral.data.pictures import PictureFiles

__all__ = ["MOS_TABLES", "Archive", "Cells", "numbers", "rated_set", "read_csv", "read_mos_table"]

MOS_TABLES = "iqa_mos_tables.parquet"
"""Scores without pictures of several sets: columns dataset, image, mos, std; metadata key ``scales``."""

Cells = dict[str, list[str]]


@dataclass(frozen=True)
class Archive:
    """What people download and unpack.

    Attributes:
        title: the data set, for errors.
        homes: folders, below the data folder, in which the archives may have been unpacked; first found is used.
        folders: folders of pictures below a home.
        how: which files to get from where.
    """

    title: str
    homes: tuple[str, ...]
    folders: tuple[str, ...]
    how: str

    def find(self, root: str | None, *names: str) -> Path | None:
        """The first of these files that is in a home; None if there is none.

        Raises:
            MissingData: no data folder is set.
        """
        places = self._homes(root)
        return next((home / name for name in names for home in places if (home / name).is_file()), None)

    def require(self, root: str | None, *names: str) -> Path:
        """As ``find``.

        Raises:
            MissingData: no data folder is set, or none of the files is there.
        """
        found = self.find(root, *names)
        if found is None:
            raise self.missing(root, " or ".join(names))
        return found

    def pictures(self, root: str | None, names: Sequence[str]) -> PictureFiles:
        """The named pictures, from the first folder that has the first of them; nothing is decoded.

        Raises:
            MissingData: no data folder is set, there is no such folder, or it lacks a picture.
        """
        places = [home / folder for home in self._homes(root) for folder in self.folders]
        folder = next((place for place in places if names and (place / names[0]).is_file()), None)
        if folder is None:
            raise self.missing(root, f"the folder {self.folders[0]} with {names[0] if names else 'pictures'}")
        there = {path.name for path in folder.iterdir()}
        absent = [name for name in names if name not in there]
        if absent:
            raise self.missing(root, f"{len(absent)} of {len(names)} pictures in {folder}, {absent[0]} for example")
        return PictureFiles([folder / name for name in names])

    def missing(self, root: str | None, what: str) -> MissingData:
        """The error for something that is not there."""
        return MissingData(f"{self.title}: {data_folder(root)} (from {VARIABLE} or root) lacks {what}. {self.how}")

    def _homes(self, root: str | None) -> list[Path]:
        folder = data_folder(root)
        if folder is None:
            raise MissingData(f"{self.title}: no data folder is set; set {VARIABLE} to one. {self.how}")
        return [folder / home for home in self.homes]


def read_csv(path: Path, *columns: str) -> Cells:
    """The named columns of a CSV file, as text.

    Raises:
        ValueError: a column is missing, or a row is cut off; the message names the file.
    """
    # Prompts and names in other columns may be in any encoding; what is read here is ASCII.
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        try:
            found = list(reader.fieldnames or ())
            missing = [name for name in columns if name not in found]
            if missing:
                raise ValueError(f"{path} must have the columns {list(columns)}, it lacks {missing} and has {found}")
            rows = [[row[name] for name in columns] for row in reader]
        except csv.Error as error:
            raise ValueError(f"{path} is not a CSV file ({error}); unpack it again") from None
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise ValueError(f"{path} ends in the middle of line {number}; unpack it again")
    return {name: [row[place] for row in rows] for place, name in enumerate(columns)}


def numbers(path: Path, column: str, cells: Sequence[object]) -> NDArray[np.float64]:
    """A column as finite numbers (n,).

    Raises:
        ValueError: a cell is none; the message names file, column and cell.
    """
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            values[row] = float(str(cell))
        except ValueError:
            values[row] = np.nan
        if not np.isfinite(values[row]):
            raise ValueError(f"{path}, column {column}: expected a number, got {cell!r}; unpack it again")
    return values


def read_mos_table(path: Path, dataset: str, *columns: str) -> Cells:
    """The rows of one set in a file ``iqa_mos_tables.parquet``; names of pictures lose their folder.

    Args:
        path: the file.
        dataset: as the column ``dataset`` has it, such as "KonIQ-10k".
        columns: further columns; empty cells become "None".

    Raises:
        ValueError: the file is damaged, lacks a column or has no such row; the message names it.
    """
    cells = read_columns(path, ("dataset", "image", *columns))
    rows = [row for row, name in enumerate(cells["dataset"]) if name == dataset]
    if not rows:
        raise ValueError(f"{path} has no scores of {dataset}; it has: {', '.join(sorted(set(cells['dataset'])))}")
    found = {column: [str(cells[column][row]) for row in rows] for column in columns}
    return {"image": [str(cells["image"][row]).rsplit("/", 1)[-1] for row in rows], **found}


def rated_set(
    title: str, archive: Archive, root: str | None, names: Sequence[str], scores: NDArray[np.float64]
) -> ImageSet:
    """Pictures in the order of their names, with ids ``<set>/<name without ending>``; higher scores are better.

    The order and the ids are the same whichever table of scores was read.
    """
    order = sorted(range(len(names)), key=names.__getitem__)
    files = [names[row] for row in order]
    prefix = title.split()[0]
    ids = tuple(f"{prefix}/{name.rsplit('.', 1)[0]}" for name in files)
    return ImageSet(title, ids, archive.pictures(root, files), scores[order])
