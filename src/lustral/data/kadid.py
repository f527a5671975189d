"""KADID-10k: photographs with graded artificial distortions, rated by a crowd."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from lustral.data.base import DataSettings, ImageSet
from lustral.data.opinions import MOS_TABLES, Archive, numbers, rated_set, read_csv, read_mos_table
from lustral.settings import digest

__all__ = ["Kadid10k"]

ARCHIVE = Archive(
    title="kadid10k",
    homes=("kadid10k", "."),
    folders=("images",),
    how="Unpack kadid10k.zip from https://database.mmsp-kn.de/kadid-10k-database.html there",
)
ORIGINALS = 81


class Kadid10k(DataSettings):
    """KADID-10k, 512 x 384: 81 photographs under 25 kinds of distortion at 5 levels, each of the 10,125 rated by 30.

    The truth is what the authors call DMOS, but HIGHER is better: 1 (very annoying) to 5 (imperceptible). The
    originals have no score and are left out; there is no official split. In the data folder, or in its folder
    ``kadid10k``, are ``images`` and ``dmos.csv`` (columns dist_img, dmos; ``var`` is the variance), or in place of
    the latter ``iqa_mos_tables.parquet`` (rows KADID-10k, single precision). Ids are
    ``kadid10k/I<photograph>_<kind>_<level>``, in this order.

    Args:
        photographs: take so many of the 81 photographs, chosen by ``choice_seed``, with all 125 versions of each;
            None takes all. ``count``, in contrast, takes versions without regard to photographs.
        root: folder with the files; by default the variable ``LUSTRAL_DATA``.

    Licence: given out for research, see the authors' page; the photographs are from Pixabay. Cite the source.
    Source: Lin, Hosu, Saupe, KADID-10k: a large-scale artificially distorted IQA database, QoMEX 2019. Paper 000,
        section 3.4, samples 8 of the 81 photographs with every kind and level: ``kadid10k:photographs=8``.
    Differs: which 8 the paper took is not published; ours follow from the seed.
    """

    name: ClassVar[str] = "kadid10k"
    kind: ClassVar = "quality"
    origin: ClassVar[str] = "https://database.mmsp-kn.de/kadid-10k-database.html"
    splits: ClassVar[tuple[str, ...]] = ("test",)
    photographs: int | None = Field(default=None, ge=1, le=ORIGINALS)
    root: str | None = None

    def read(self) -> ImageSet:
        """The versions of the chosen photographs; none is decoded before it is looked at.

        Raises:
            MissingData: files are not there; the message says which archive has them.
            ValueError: a table is damaged or has fewer photographs than asked for; it is named.
        """
        path = ARCHIVE.require(self.root, "dmos.csv", MOS_TABLES)
        if path.name == MOS_TABLES:
            cells = read_mos_table(path, "KADID-10k", "mos")
            names, scores = cells["image"], numbers(path, "mos", cells["mos"])
        else:
            cells = read_csv(path, "dist_img", "dmos")
            names, scores = cells["dist_img"], numbers(path, "dmos", cells["dmos"])
        if self.photographs is not None:
            known = {name.split("_")[0] for name in names}
            if self.photographs > len(known):
                raise ValueError(f"{path} has {len(known)} photographs, photographs={self.photographs} asks for more")
            ranked = sorted(known, key=lambda name: digest([self.choice_seed, name]))
            kept = set(ranked[: self.photographs])
            rows = np.flatnonzero([name.split("_")[0] in kept for name in names])
            names, scores = [names[row] for row in rows], scores[rows]
        return rated_set("kadid10k", ARCHIVE, self.root, names, scores)
