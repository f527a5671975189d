"""The development set of the NIPS 2017 adversarial competition."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from lustral.data.base import DataSettings, ImageSet, require_file
from lustral.data.parquet import read_images

__all__ = ["Nips2017"]


class Nips2017(DataSettings):
    """1,000 photographs of 299 x 299, each with its ImageNet class and a class to aim a targeted attack at.

    Read from ``nips2017_dev_q95.parquet`` (columns image, label, target, image_id), where the pictures are
    JPEG copies of quality 95 of the competition's PNG files. Ids are ``nips2017/<image_id>``. Labels are
    0 to 999 (the competition's table counts from 1) and classes are named by their number.

    Args:
        truth: "label" is what the picture shows, "target" is what a targeted attack should make of it;
            both sets have the same ids in the same order.
        root: folder with the file; by default the variable ``LUSTRAL_DATA``.

    Licence: CC BY 2.0 per image (columns author, license and landing_url of the file).
    Source: Kurakin et al., Adversarial attacks and defences competition, 2018.
    Differs: JPEG quality 95 copies in place of the PNG originals.
    """

    name: ClassVar[str] = "nips2017"
    kind: ClassVar = "classes"
    origin: ClassVar[str] = "https://www.kaggle.com/competitions/nips-2017-defense-against-adversarial-attack"
    splits: ClassVar[tuple[str, ...]] = ("test",)
    truth: Literal["label", "target"] = "label"
    root: str | None = None

    def read(self) -> ImageSet:
        """All 1,000 images in the order of the file.

        Raises:
            MissingData: the file is not there.
            ValueError: the file is damaged; it is named.
        """
        path = require_file("nips2017_dev_q95.parquet", self.root, self.origin)
        images, cells = read_images(path, self.truth, "image_id")
        ids = tuple(f"nips2017/{name}" for name in cells["image_id"])
        truth = np.asarray(cells[self.truth], dtype=np.int64)
        return ImageSet("nips2017 dev", ids, images, truth, tuple(map(str, range(1000))))
