"""Real pictures with human judgements: a small part of the LIVE image quality database."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from lustral.data.base import DataSettings, ImageSet, require_file
from lustral.data.parquet import read_images

__all__ = ["LiveSubset"]

CERTAIN = ("reference", "count_matches")


class LiveSubset(DataSettings):
    """LIVE, 288 x 288 crops: five references and 58 versions with Gaussian blur, JPEG or white noise.

    The truth is DMOS, the difference mean opinion score of about 20 people: 0 for a reference, LOWER is
    better, up to about 105. Read from ``iqa_live_subset_crop288.parquet`` (columns image, type, source_name,
    dmos, dmos_how). Ids are ``live/<type>/<source name>``, as in ``live/gblur/parrots_5``.

    Args:
        certain_only: keep the 25 rows whose score surely belongs to the picture (``dmos_how`` is reference
            or count_matches: the 5 references, 15 white noise, 5 blur); the score of the other 38 may be
            that of a neighbouring level of the same distortion.
        root: folder with the file; by default the variable ``LUSTRAL_DATA``.

    Licence: copyright The University of Texas at Austin; free use with their notice and this citation.
    Source: Sheikh, Sabir, Bovik, A statistical evaluation of recent full reference image quality assessment
        algorithms, IEEE Transactions on Image Processing 15(11), 2006; LIVE database release 2.
    """

    name: ClassVar[str] = "live_subset"
    kind: ClassVar = "quality"
    origin: ClassVar[str] = "https://live.ece.utexas.edu/research/quality/subjective.htm"
    splits: ClassVar[tuple[str, ...]] = ("test",)
    higher_is_better: ClassVar[bool] = False
    certain_only: bool = True
    root: str | None = None

    def read(self) -> ImageSet:
        """The chosen rows in the order of the file.

        Raises:
            MissingData: the file is not there.
            ValueError: the file is damaged; it is named.
        """
        path = require_file("iqa_live_subset_crop288.parquet", self.root, self.origin)
        images, cells = read_images(path, "type", "source_name", "dmos", "dmos_how")
        names = [name.rsplit(".", 1)[0] for name in cells["source_name"]]
        ids = tuple(f"live/{kind}/{name}" for kind, name in zip(cells["type"], names, strict=True))
        scores = np.asarray(cells["dmos"], dtype=np.float64)
        whole = ImageSet("live_subset", ids, images, scores, higher_is_better=False)
        if not self.certain_only:
            return whole
        return whole.take([row for row, how in enumerate(cells["dmos_how"]) if how in CERTAIN])
