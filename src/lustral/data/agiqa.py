"""AGIQA-3K: pictures that six generators made from text, rated by people."""

from __future__ import annotations

from typing import ClassVar

from lustral.data.base import DataSettings, ImageSet
from lustral.data.opinions import MOS_TABLES, Archive, numbers, rated_set, read_csv, read_mos_table

__all__ = ["Agiqa3k"]

ARCHIVE = Archive(
    title="agiqa3k",
    homes=("AGIQA-3K", "AGIQA-3k", "agiqa3k", "."),
    # The archive has been handed on with the pictures in it or in a folder of one of these names.
    folders=("images", "Images", "image", "AGIQA-3K", "."),
    how="Unpack AGIQA-3K.zip there and put data.csv beside it, both from"
    " https://github.com/lcysyzxdxc/AGIQA-3k-Database",
)


class Agiqa3k(DataSettings):
    """AGIQA-3K: 2,982 pictures by six generators (AttnGAN, DALLE2, GLIDE, Midjourney, two Stable Diffusions).

    The truth is the mean opinion score of perceptual quality, HIGHER is better: about 0 to 5. How well a picture
    fits its prompt was rated too and is not used. There is no official split. In the data folder, or in its folder
    ``AGIQA-3K``, are the pictures (there, or in a folder ``images`` of it) and ``data.csv`` (columns name,
    mos_quality), or in place of the latter ``iqa_mos_tables.parquet`` (rows AGIQA-3K, single precision). Ids are
    ``agiqa3k/<generator>_<settings>_<number>``, in the order of names.

    Args:
        root: folder with the files; by default the variable ``LUSTRAL_DATA``.

    Licence: MIT, copyright 2023 lcysyzxdxc; cite the source.
    Source: Li et al., AGIQA-3K: an open database for AI-generated image quality assessment, IEEE Transactions on
        Circuits and Systems for Video Technology, 2023.
    """

    name: ClassVar[str] = "agiqa3k"
    kind: ClassVar = "quality"
    origin: ClassVar[str] = "https://github.com/lcysyzxdxc/AGIQA-3k-Database"
    splits: ClassVar[tuple[str, ...]] = ("test",)
    root: str | None = None

    def read(self) -> ImageSet:
        """All pictures, in the order of their names; none is decoded before it is looked at.

        Raises:
            MissingData: files are not there; the message says which archive has them.
            ValueError: a table is damaged; it is named.
        """
        path = ARCHIVE.require(self.root, "data.csv", MOS_TABLES)
        if path.name == MOS_TABLES:
            cells, column, names = read_mos_table(path, "AGIQA-3K", "mos"), "mos", "image"
        else:
            cells, column, names = read_csv(path, "name", "mos_quality"), "mos_quality", "name"
        return rated_set("agiqa3k", ARCHIVE, self.root, cells[names], numbers(path, column, cells[column]))
