"""KonIQ-10k: photographs with the distortions they came with, rated by a crowd."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from lustral.data.base import DataSettings, ImageSet
from lustral.data.opinions import MOS_TABLES, Archive, numbers, rated_set, read_csv, read_mos_table

__all__ = ["Koniq10k"]

SCORES, SETS = "koniq10k_scores_and_distributions.csv", "koniq10k_distributions_sets.csv"
ARCHIVE = Archive(
    title="koniq10k",
    homes=("koniq10k", "."),
    folders=("512x384",),
    how="Unpack koniq10k_512x384.zip and koniq10k_scores_and_distributions.zip from"
    " https://database.mmsp-kn.de/koniq-10k-database.html there, and put metadata/koniq10k_distributions_sets.csv"
    " from https://github.com/subpic/koniq beside them",
)
OFFICIAL = {"train": "training", "validation": "validation", "test": "test"}


class Koniq10k(DataSettings):
    """KonIQ-10k, 512 x 384: 10,073 photographs from the wild, each rated by about 120 people.

    The truth is the mean opinion score, HIGHER is better: 1 (bad) to 5 (excellent), or the scale of 0 to 100 of the
    authors' own networks. Official split: 7,058 training, 1,000 validation and 2,015 test pictures. In the data
    folder, or in a folder ``koniq10k`` of it, are ``512x384`` and the tables; of each pair the first found is used:

    - scores: ``koniq10k_scores_and_distributions.csv`` (columns image_name, MOS, MOS_zscore), else
      ``iqa_mos_tables.parquet`` (rows KonIQ-10k, columns image, mos, koniq_mos100);
    - split: ``koniq10k_distributions_sets.csv`` (columns image_name, set), else the same Parquet file (koniq_set).

    The Parquet file has single precision, so its fingerprint differs from that of the CSV files; ids and order
    (by name) are the same. ``koniq10k_indicators.csv`` is not needed. Ids are ``koniq10k/<image name>``.

    Args:
        scale: "mos" is 1 to 5, "zscore" is 0 to 100.
        whole: all 10,073 pictures, as the paper samples from; networks that were trained on KonIQ-10k know most of
            them. Only together with split=test, so that nothing is tuned on them by mistake.
        root: folder with the files; by default the variable ``LUSTRAL_DATA``.

    Licence: the pictures come from YFCC100M and have a Creative Commons licence each; cite the source.
    Source: Hosu, Lin, Sziranyi, Saupe, KonIQ-10k: an ecologically valid database for deep learning of blind image
        quality assessment, IEEE Transactions on Image Processing 29, 2020.
    """

    name: ClassVar[str] = "koniq10k"
    kind: ClassVar = "quality"
    origin: ClassVar[str] = "https://database.mmsp-kn.de/koniq-10k-database.html"
    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")
    scale: Literal["mos", "zscore"] = "mos"
    whole: bool = False
    root: str | None = None

    @model_validator(mode="after")
    def _whole_is_for_testing(self) -> Self:
        if self.whole and self.split != "test":
            raise ValueError(f"whole=true takes all pictures, so split must stay test, got {self.split}")
        return self

    def read(self) -> ImageSet:
        """The pictures of the split, in the order of their names; none is decoded before it is looked at.

        Raises:
            MissingData: files are not there; the message says which archive has them.
            ValueError: a table is damaged; it is named.
        """
        names, scores = self._scores()
        if not self.whole:
            official = self._official()
            lost = [name for name in names if official.get(name) not in OFFICIAL.values()]
            if lost:
                raise ValueError(
                    f"koniq10k: {len(lost)} of {len(names)} rated pictures are in no split, {lost[0]} for example; "
                    f"put the whole {SETS} there"
                )
            chosen = [row for row, name in enumerate(names) if official.get(name) == OFFICIAL[self.split]]
            names, scores = [names[row] for row in chosen], scores[chosen]
        return rated_set(f"koniq10k {'whole' if self.whole else self.split}", ARCHIVE, self.root, names, scores)

    def _scores(self) -> tuple[list[str], NDArray[np.float64]]:
        path = ARCHIVE.require(self.root, SCORES, MOS_TABLES)
        if path.name == SCORES:
            column = "MOS" if self.scale == "mos" else "MOS_zscore"
            cells = read_csv(path, "image_name", column)
            return cells["image_name"], numbers(path, column, cells[column])
        column = "mos" if self.scale == "mos" else "koniq_mos100"
        cells = read_mos_table(path, "KonIQ-10k", column)
        return cells["image"], numbers(path, column, cells[column])

    def _official(self) -> dict[str, str]:
        path = ARCHIVE.require(self.root, SETS, MOS_TABLES)
        if path.name == SETS:
            cells = read_csv(path, "image_name", "set")
            return dict(zip(cells["image_name"], cells["set"], strict=True))
        cells = read_mos_table(path, "KonIQ-10k", "koniq_set")
        return dict(zip(cells["image"], cells["koniq_set"], strict=True))
