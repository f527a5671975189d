"""The development set of the NIPS 2017 adversarial competition."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from lustral.data.base import DataSettings, ImageSet
from lustral.data.opinions import Archive, numbers, read_csv
from lustral.data.parquet import read_images

__all__ = ["Nips2017"]

PACKED = "nips2017_dev_q95.parquet"
ARCHIVE = Archive(
    title="nips2017",
    homes=("nips2017", "nips-2017-adversarial-learning-development-set", "."),
    folders=("images",),
    how="Unpack the archive of https://www.kaggle.com/datasets/google-brain/"
    "nips-2017-adversarial-learning-development-set there",
)
COLUMNS = {"label": "TrueLabel", "target": "TargetClass"}


class Nips2017(DataSettings):
    """1,000 photographs of 299 x 299, each with its ImageNet class and a class to aim a targeted attack at.

    Read from the official archive, ``images`` and ``images.csv`` (columns ImageId, TrueLabel, TargetClass) in the data
    folder or in its folder ``nips2017``; else from ``nips2017_dev_q95.parquet`` (columns image, label, target,
    image_id), where the pictures are JPEG copies of quality 95, with another fingerprint. Ids are
    ``nips2017/<image_id>``. Labels are 0 to 999 (the competition's table counts from 1) and classes are named by
    their number.

    Args:
        truth: "label" is what the picture shows, "target" is what a targeted attack should make of it;
            both sets have the same ids in the same order.
        root: folder with the files; by default the variable ``LUSTRAL_DATA``.

    Licence: CC BY 2.0 per image (columns Author, License and OriginalLandingURL of the table).
    Source: Kurakin et al., Adversarial attacks and defences competition, 2018.
    Differs: JPEG quality 95 copies in place of the PNG originals where only the Parquet file is there.
    """

    name: ClassVar[str] = "nips2017"
    kind: ClassVar = "classes"
    origin: ClassVar[str] = "https://www.kaggle.com/competitions/nips-2017-defense-against-adversarial-attack"
    splits: ClassVar[tuple[str, ...]] = ("test",)
    truth: Literal["label", "target"] = "label"
    root: str | None = None

    def read(self) -> ImageSet:
        """All 1,000 images in the order of the table.

        Raises:
            MissingData: neither the archive nor the Parquet file is there, or the archive lacks pictures.
            ValueError: a file is damaged; it is named.
        """
        path = ARCHIVE.require(self.root, "images.csv", PACKED)
        if path.name == PACKED:
            images, cells = read_images(path, self.truth, "image_id")
            names, truth = cells["image_id"], np.asarray(cells[self.truth], dtype=np.int64)
        else:
            column = COLUMNS[self.truth]
            table = read_csv(path, "ImageId", column)
            names, truth = table["ImageId"], numbers(path, column, table[column]).astype(np.int64) - 1
            images = ARCHIVE.pictures(self.root, [f"{name}.png" for name in names])
        ids = tuple(f"nips2017/{name}" for name in names)
        return ImageSet("nips2017 dev", ids, images, truth, tuple(map(str, range(1000))))
