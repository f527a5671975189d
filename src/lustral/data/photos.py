"""Photographs with graded distortions: a quality set that can be made on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field

from lustral.data.base import DataSettings, ImageSet, require_file
from lustral.data.builtin import PHOTOGRAPHS, photograph, resized_to
from lustral.data.distortions import DISTORTIONS, LEVELS, distort
from lustral.data.parquet import read_images
from lustral.data.similarity import SMALLEST, similarity
from lustral.data.tiles import Tile, luma, tiles
from lustral.settings import digest

__all__ = ["Photos", "Source"]

Source = Literal["builtin", "kodak", "bsds"]
FILES: dict[str, str] = {"kodak": "photos_kodak24.parquet", "bsds": "photos_bsds_train200.parquet"}
ORIGINS: dict[str, str] = {
    "kodak": "https://r0k.us/graphics/kodak (pack the pictures into a Parquet file with columns image and name)",
    "bsds": "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html"
    " (pack the training pictures into a Parquet file with columns image and name)",
}
PIXELS = 512 * 512  # larger built-in photographs are reduced to this: at native size retina and hubble are blurred
FLAT = 6.0  # standard deviation of luma in 8-bit levels; in a flatter crop blur and JPEG cannot be seen

Crop = tuple[str, NDArray[np.uint8]]


def _known_kind(kind: str) -> str:
    if kind not in DISTORTIONS:
        raise ValueError(f"unknown distortion; known: {', '.join(DISTORTIONS)}")
    return kind


def _split_plus(value: object) -> object:
    """Let people write ``sources=builtin+kodak``."""
    return tuple(value.split("+")) if isinstance(value, str) else value


Kind = Annotated[str, AfterValidator(_known_kind)]


def _builtin() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for name in PHOTOGRAPHS:
        picture = photograph(name)
        yield name, resized_to(picture, min(PIXELS, picture.width * picture.height))


def _packed(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    images, cells = read_images(path, "name")
    for name, pixels in zip(cells["name"], images, strict=True):
        yield name.rsplit(".", 1)[0], pixels


class Photos(DataSettings):
    """Crops of photographs, each pristine and with 17 kinds of distortion at 5 levels.

    No person has judged these pictures. The truth is computed, higher is better, 1 is pristine.

    Training and test crops share no pixel: ``kodak`` is split by photograph (every fifth in order of name is
    for testing), ``bsds`` is training photographs only (its test split is empty), and ``builtin``, with ten
    photographs only, is split by interleaved tiles of each photograph (one in five is for testing). A picture
    that a distortion leaves as it was (desaturating a grey photograph) is left out. Ids are
    ``photos/<source>/<photograph>/<row>-<column>/<kind>-<level>``, and ``/pristine`` for the crop itself.

    Args:
        sources: which photographs; on the command line ``sources=builtin+kodak+bsds``. What is named must be
            there: what happens to be on a machine never changes the set.
        side: side of the square crops in pixels.
        crops: crops per photograph, chosen by a seeded hash from the tiles that are not flat (standard
            deviation of luma at least 6 levels); fewer where a photograph has fewer.
        kinds: which distortions, ``kinds=jpeg+white_noise``; by default all of ``DISTORTIONS``.
        truth: "similarity" compares with the pristine crop (``lustral.data.similarity``), to a power per
            kind that makes kinds comparable (``harshness`` in ``DISTORTIONS``), and never rises from one
            level to the next. Its Spearman correlation with the human scores of ``LiveSubset`` is 0.998 on
            the 25 certain rows and 0.96 on all 63 (LIVE was looked at when it was chosen).
            "level" is 1 - level / 5, the grade that was asked for: it orders pictures of one kind, but
            equal grades of two kinds are not equally bad.
        root: folder with the Parquet files of kodak and bsds; by default the variable ``LUSTRAL_DATA``.

    Licence: builtin, see ``lustral.data.builtin.PHOTOGRAPHS``; kodak, released by Eastman Kodak for unrestricted
        use; bsds, Berkeley, non-commercial research and education, cite Arbelaez et al., Contour detection and
        hierarchical image segmentation, IEEE TPAMI 33(5), 2011.
    Source: the design follows KADID-10k (Lin, Hosu, Saupe, QoMEX 2019).
    Differs: computed truth in place of opinions; own strengths (see ``DISTORTIONS``); crops.
    """

    name: ClassVar[str] = "photos"
    kind: ClassVar = "quality"
    origin: ClassVar[str] = "made from the photographs of scikit-image, the Kodak suite and BSDS500"
    sources: Annotated[tuple[Source, ...], BeforeValidator(_split_plus), Field(min_length=1)] = ("builtin",)
    side: int = Field(96, ge=SMALLEST)
    crops: int = Field(1, ge=1)
    kinds: Annotated[tuple[Kind, ...], BeforeValidator(_split_plus)] = tuple(DISTORTIONS)
    truth: Literal["level", "similarity"] = "similarity"
    root: str | None = None

    def read(self) -> ImageSet:
        """All pictures of the split: photograph by photograph, crop by crop, kind by kind, level by level.

        Raises:
            MissingData: a Parquet file of a source is not there.
            ValueError: a file is damaged, or the split of these sources is empty.
        """
        made = [row for crop in self._chosen() for row in self._spoilt(crop)]
        if not made:
            raise ValueError(f"photos has no {self.split} picture of {self.side} pixels in {'+'.join(self.sources)}")
        ids, images, scores = zip(*made, strict=True)
        return ImageSet(f"photos {self.split}", ids, list(images), np.asarray(scores, dtype=np.float64))

    def _chosen(self) -> Iterator[Crop]:
        """Id and pixels of every crop of the split."""
        for source in dict.fromkeys(self.sources):
            for row, (name, pixels) in enumerate(self._photographs(source)):
                label = f"photos/{source}/{name}"
                held_out = source == "kodak" and row % 5 == 0
                whole: str | None = None if source == "builtin" else ("test" if held_out else "train")
                grid = [tile for tile in tiles(pixels, self.side) if (whole or tile.split) == self.split]
                yield from self._best(label, pixels, grid)

    def _photographs(self, source: Source) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        if source == "builtin":
            yield from _builtin()
        else:
            yield from _packed(require_file(FILES[source], self.root, ORIGINS[source]))

    def _best(self, label: str, pixels: NDArray[np.uint8], grid: list[Tile]) -> list[Crop]:
        textured = [tile for tile in grid if luma(tile.cut(pixels)).std() >= FLAT]
        named = {f"{label}/{tile.row}-{tile.column}": tile for tile in textured}
        chosen = sorted(named, key=lambda name: digest([self.choice_seed, name]))[: self.crops]
        return [(name, tile.cut(pixels)) for name, tile in named.items() if name in chosen]

    def _spoilt(self, crop: Crop) -> Iterator[tuple[str, NDArray[np.uint8], float]]:
        """The crop itself and all its distorted versions, each with its score."""
        name, pristine = crop
        yield f"{name}/pristine", pristine, 1.0
        seed = int(digest(name)[:15], 16)
        for kind in self.kinds:
            score = 1.0
            for level in LEVELS:
                image = distort(pristine, kind, level, seed)
                if not np.array_equal(image, pristine):
                    # Never above the level before: a repeating texture can match itself again after a longer shift.
                    score = min(score, self._score(pristine, image, kind, level))
                    yield f"{name}/{kind}-{level}", image, score

    def _score(self, pristine: NDArray[np.uint8], image: NDArray[np.uint8], kind: str, level: int) -> float:
        if self.truth == "level":
            return 1 - level / len(LEVELS)
        return similarity(pristine, image) ** DISTORTIONS[kind].harshness
