"""What every data set promises: 8-bit images with stable ids and the truth about them. No torch here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from lustral.settings import Settings

__all__ = ["VARIABLE", "DataSettings", "ImageSet", "MissingData", "Split", "data_folder", "require_file"]

VARIABLE = "LUSTRAL_DATA"

Split = Literal["train", "validation", "test"]


class MissingData(FileNotFoundError):
    """A data set is not on this machine; the message says where to get it and which variable points at it."""


def data_folder(root: str | None = None) -> Path | None:
    """Folder of downloaded data sets: ``root`` if given, else the variable ``LUSTRAL_DATA``, else None."""
    chosen = root or os.environ.get(VARIABLE)
    return Path(chosen).expanduser() if chosen else None


def require_file(name: str, root: str | None, origin: str) -> Path:
    """Path of a file of a data set.

    Raises:
        MissingData: no folder is set or the file is not in it.
    """
    folder = data_folder(root)
    if folder is None:
        raise MissingData(
            f"{name} is needed but no data folder is set; set {VARIABLE} to the folder that holds it. Origin: {origin}"
        )
    if not (folder / name).exists():
        raise MissingData(f"{name} is not in {folder} (from {VARIABLE} or root). Origin: {origin}")
    return folder / name


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one split, in a fixed order.

    Attributes:
        name: data set and split, for tables.
        ids: one stable, unique name per image; seeds and results hang on it.
        images: uint8 (h, w, 3) arrays, sizes may differ; a sequence may decode them when they are looked at.
        truth: int64 class labels, or float64 quality scores (NaN where no person judged the image).
        classes: class names in label order; empty for quality and plain sets.
        higher_is_better: direction of quality scores.
    """

    name: str
    ids: tuple[str, ...]
    images: Sequence[NDArray[np.uint8]]
    truth: NDArray[np.int64] | NDArray[np.float64]
    classes: tuple[str, ...] = ()
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.images) == len(self.truth):
            raise ValueError(f"{self.name}: {len(self.ids)} ids, {len(self.images)} images, {len(self.truth)} truths")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError(f"{self.name}: image ids repeat")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> ImageSet:
        """The set restricted to ``rows``, in that order."""
        chosen = [int(row) for row in rows]
        return replace(
            self,
            ids=tuple(self.ids[row] for row in chosen),
            images=[self.images[row] for row in chosen],
            truth=self.truth[chosen],
        )

    def stack(self) -> NDArray[np.uint8]:
        """All images as one uint8 array (n, h, w, 3).

        Raises:
            ValueError: sizes differ.
        """
        sizes = {image.shape for image in self.images}
        if len(sizes) != 1:
            raise ValueError(f"{self.name}: images of {len(sizes)} different sizes cannot form one batch: {sizes}")
        return np.stack(list(self.images))

    def fingerprint(self) -> str:
        """Hash of ids, truth and every pixel: part of a cell's identity."""
        hasher = hashlib.sha256()
        for name, image, truth in zip(self.ids, self.images, self.truth, strict=True):
            hasher.update(f"{name}\x1f{image.shape}\x1f{truth.item()!r}\x1f".encode())
            hasher.update(np.ascontiguousarray(image).tobytes())
        return hasher.hexdigest()[:32]


class DataSettings(Settings):
    """Base of data set settings.

    ``kind`` says what the truth is: "classes" (labels), "quality" (scores) or "plain" (nothing).
    ``origin`` says where the set comes from, ``splits`` which splits it has, and ``higher_is_better`` which way scores
    of a quality set go.
    ``count`` images are taken by a seeded choice that does not depend on the machine; None takes all.
    """

    kind: ClassVar[Literal["classes", "quality", "plain"]]
    origin: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    higher_is_better: ClassVar[bool] = True
    split: Split = "test"
    count: int | None = Field(default=None, ge=1)
    choice_seed: int = 0

    @field_validator("split")
    @classmethod
    def _known_split(cls, split: Split) -> Split:
        if split not in cls.splits:
            raise ValueError(f"{cls.name} has no {split} split; it has: {', '.join(cls.splits)}")
        return split

    def load(self) -> ImageSet:
        """Read the split and choose ``count`` images.

        Raises:
            MissingData: the files are not there.
        """
        return self.choose(self.read())

    def read(self) -> ImageSet:
        """Read the whole split; each data set defines this."""
        raise NotImplementedError

    def choose(self, images: ImageSet) -> ImageSet:
        """``count`` images spread evenly over the classes (or over the set), in the order of the set."""
        if self.count is None or self.count == len(images):
            return images
        if self.count > len(images):
            raise ValueError(f"{images.name} has {len(images)} images, count={self.count} asks for more")
        # Rank by a hash of the id: a prefix of this order is a fair choice that any program can redo.
        rank = [hashlib.sha256(f"{self.choice_seed}\x1f{name}".encode()).hexdigest() for name in images.ids]
        order = sorted(range(len(images)), key=rank.__getitem__)
        if images.classes:
            seen: dict[int, int] = {}
            turn: list[int] = []
            for row in order:
                label = int(images.truth[row])
                turn.append(seen.get(label, 0))
                seen[label] = turn[-1] + 1
            order = [row for _, row in sorted(zip(turn, order, strict=True), key=lambda pair: pair[0])]
        return images.take(sorted(order[: self.count]))
