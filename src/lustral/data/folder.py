"""Your own pictures: a plain folder, or one folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from lustral.data.base import DataSettings, ImageSet, MissingData

__all__ = ["ClassFolder", "Folder"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".gif", ".tif", ".tiff")


def _pictures(folder: Path) -> list[Path]:
    """Every picture below ``folder``, sorted by relative path, hidden files and folders left out.

    Raises:
        MissingData: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise MissingData(f"{folder} is not a folder; give path=FOLDER with pictures in it")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    shown = sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))
    if not shown:
        raise MissingData(f"{folder} has no picture in it; looked for {', '.join(SUFFIXES)} in it and below")
    return [folder / name for name in shown]


def _squared(pixels: NDArray[np.uint8], side: int | None) -> NDArray[np.uint8]:
    """Resize the shorter side to ``side`` and cut the centre square; None leaves the picture as it is."""
    if side is None:
        return pixels
    height, width = pixels.shape[:2]
    scale = side / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return np.asarray(picture.crop((left, top, left + side, top + side)))


def _load(folder: Path, side: int | None) -> tuple[list[str], list[NDArray[np.uint8]]]:
    """Relative paths and pixels of all pictures."""
    from lustral.images import read_image

    paths = _pictures(folder)
    return [path.relative_to(folder).as_posix() for path in paths], [_squared(read_image(path), side) for path in paths]


class Folder(DataSettings):
    """All pictures in a folder and below it, without labels (the truth is NaN); there is one split.

    Ids are ``folder/<relative path>``, so they do not depend on where the folder lies.

    Args:
        path: the folder.
        side: resize the shorter side to this and cut the centre square; None keeps sizes (which may differ).
    """

    name: ClassVar[str] = "folder"
    kind: ClassVar = "plain"
    origin: ClassVar[str] = "your own pictures"
    splits: ClassVar[tuple[str, ...]] = ("test",)
    path: str
    side: int | None = Field(None, ge=1)

    def read(self) -> ImageSet:
        """All pictures, sorted by relative path.

        Raises:
            MissingData: no such folder, or nothing in it.
            lustral.images.ImageError: a picture cannot be read; it is named.
        """
        names, images = _load(Path(self.path).expanduser(), self.side)
        return ImageSet("folder", tuple(f"folder/{name}" for name in names), images, np.full(len(names), np.nan))


class ClassFolder(DataSettings):
    """Pictures in one folder per class, the layout of ImageNet copies and of torchvision's ImageFolder.

    Classes are the folder names in sorted order. If ``path`` has folders ``train`` and ``test`` they are
    the splits; otherwise everything is the test split. Ids are ``class_folder/<class>/<relative path>``,
    preceded by the split where there is one.

    Args:
        path: the folder that holds the class folders, or ``train`` and ``test`` folders of them.
        side: resize the shorter side to this and cut the centre square; None keeps sizes (which may differ).
    """

    name: ClassVar[str] = "class_folder"
    kind: ClassVar = "classes"
    origin: ClassVar[str] = "your own pictures"
    path: str
    side: int | None = Field(None, ge=1)

    def read(self) -> ImageSet:
        """All pictures of the split, sorted by class and relative path.

        Raises:
            MissingData: no such folder or split, or nothing in it.
            ValueError: a picture lies outside the class folders, or cannot be read; it is named.
        """
        folder, prefix = Path(self.path).expanduser(), "class_folder"
        if (folder / "train").is_dir() and (folder / "test").is_dir():
            folder, prefix = folder / self.split, f"class_folder/{self.split}"
        elif self.split == "train":
            raise MissingData(f"{folder} has no folders train and test, so all of it is the test split")
        names, images = _load(folder, self.side)
        loose = [name for name in names if "/" not in name]
        if loose:
            raise ValueError(f"{folder / loose[0]} lies outside the class folders; use the data set 'folder' instead")
        classes = tuple(sorted({name.split("/")[0] for name in names}))
        labels = np.asarray([classes.index(name.split("/")[0]) for name in names], dtype=np.int64)
        return ImageSet(
            f"class_folder {self.split}", tuple(f"{prefix}/{name}" for name in names), images, labels, classes
        )
