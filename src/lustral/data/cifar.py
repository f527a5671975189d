"""CIFAR-10 and CIFAR-100 from the official archives (as torchvision unpacks them) or from Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lustral.data.base import VARIABLE, DataSettings, ImageSet, MissingData, data_folder
from lustral.data.cifar_batches import Batch, read_binary, read_python
from lustral.data.cifar_classes import CIFAR10_CLASSES, CIFAR100_CLASSES
from lustral.data.parquet import read_images

__all__ = ["Cifar10", "Cifar100"]


@dataclass(frozen=True)
class Layout:
    """One way in which people keep a split: its files, in order, below the data folder, and their reader."""

    files: Sequence[str]
    reader: Callable[[Path], Batch]
    is_official: bool = True


Rows = tuple[list[NDArray[np.uint8]], NDArray[np.int64], Layout]


def _read_parquet(path: Path) -> Batch:
    images, cells = read_images(path, "label")
    return np.stack(images), np.asarray(cells["label"], dtype=np.int64)


def _find(title: str, root: str | None, layouts: Sequence[Layout]) -> tuple[Path, Layout]:
    """The data folder and the first layout that is in it.

    Raises:
        MissingData: none is there, or the first of which a file is there lacks others.
    """
    folder = data_folder(root)
    tried = " or ".join(", ".join(layout.files) for layout in layouts)
    if folder is None:
        raise MissingData(f"{title}: no data folder is set; set {VARIABLE} to the folder that holds {tried}")
    for layout in layouts:
        absent = [name for name in layout.files if not (folder / name).is_file()]
        if not absent:
            return folder, layout
        if len(absent) < len(layout.files):
            raise MissingData(f"{title}: {folder} (from {VARIABLE} or root) lacks {', '.join(absent)}")
    raise MissingData(f"{title}: {folder} (from {VARIABLE} or root) has none of: {tried}")


def _read(title: str, root: str | None, layouts: Sequence[Layout], origin: str) -> Rows:
    try:
        folder, layout = _find(title, root, layouts)
    except MissingData as error:
        raise MissingData(f"{error}. Get and unpack the python or the binary version from {origin}") from None
    batches = [layout.reader(folder / name) for name in layout.files]
    images = np.concatenate([pixels for pixels, _ in batches])
    return list(images), np.concatenate([labels for _, labels in batches]), layout


class Cifar10(DataSettings):
    """CIFAR-10, official split and order: 50,000 training and 10,000 test images of 32 x 32.

    Read from the first of these that is in the data folder: ``cifar-10-batches-py`` (the official python
    version, also what torchvision unpacks), ``cifar-10-batches-bin`` (the official binary version), Parquet
    files ``cifar10_test.parquet`` and ``cifar10_train-0000N-of-00003.parquet``. All have the same order, so
    ids (``cifar10/<split>/<row>``) are the same too. In the Parquet files 86 training and 23 test images
    are lossy copies, so their fingerprint differs from that of the official files.

    Args:
        root: folder with the files; by default the variable ``LUSTRAL_DATA``.

    Licence: the authors state none; cite the source.
    Source: Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """

    name: ClassVar[str] = "cifar10"
    kind: ClassVar = "classes"
    origin: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar.html"
    root: str | None = None

    def read(self) -> ImageSet:
        """The whole split, official order.

        Raises:
            MissingData: no layout is there, or one is there in part.
            ValueError: a file is damaged; it is named.
        """
        train = self.split == "train"
        parts = [f"data_batch_{part}" for part in range(1, 6)] if train else ["test_batch"]
        shards = [f"_train-0000{part}-of-00003" for part in range(3)] if train else ["_test"]
        layouts = (
            Layout([f"cifar-10-batches-py/{part}" for part in parts], partial(read_python, key=b"labels", classes=10)),
            Layout([f"cifar-10-batches-bin/{part}.bin" for part in parts], partial(read_binary, header=1, classes=10)),
            Layout([f"cifar10{shard}.parquet" for shard in shards], _read_parquet),
        )
        images, labels, _ = _read(f"cifar10 {self.split}", self.root, layouts, self.origin)
        ids = tuple(f"cifar10/{self.split}/{row}" for row in range(len(images)))
        return ImageSet(f"cifar10 {self.split}", ids, images, labels, CIFAR10_CLASSES)


class Cifar100(DataSettings):
    """CIFAR-100 with its 100 fine labels: 50,000 training and 10,000 test images of 32 x 32.

    Read from the first of these that is in the data folder: ``cifar-100-python`` (the official python
    version, also what torchvision unpacks), ``cifar-100-binary`` (the official binary version), both with
    ids ``cifar100/<split>/<row>``; ``cifar100_test.parquet``, which holds 10,000 CIFAR-100 images of an OWN split,
    not the official one. Of these every fifth row is for testing and the other 8,000 are for training. Their ids are
    ``cifar100/own/<row>`` and the sets are named "cifar100 own split train" and "... test": use them for transfer and
    speed, never to compare with published accuracies, because networks of others may have been trained on them.

    Args:
        root: folder with the files; by default the variable ``LUSTRAL_DATA``.

    Licence: the authors state none; cite the source.
    Source: Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """

    name: ClassVar[str] = "cifar100"
    kind: ClassVar = "classes"
    origin: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar.html"
    root: str | None = None

    def read(self) -> ImageSet:
        """The whole split, in the order of its files.

        Raises:
            MissingData: no layout is there.
            ValueError: a file is damaged; it is named.
        """
        layouts = [
            Layout([f"cifar-100-python/{self.split}"], partial(read_python, key=b"fine_labels", classes=100)),
            Layout([f"cifar-100-binary/{self.split}.bin"], partial(read_binary, header=2, classes=100)),
            Layout(["cifar100_test.parquet"], _read_parquet, is_official=False),
        ]
        images, labels, layout = _read(f"cifar100 {self.split}", self.root, layouts, self.origin)
        if layout.is_official:
            ids = tuple(f"cifar100/{self.split}/{row}" for row in range(len(images)))
            return ImageSet(f"cifar100 {self.split}", ids, images, labels, CIFAR100_CLASSES)
        chosen = [row for row in range(len(images)) if (row % 5 == 0) == (self.split == "test")]
        ids = tuple(f"cifar100/own/{row}" for row in chosen)
        images = [images[row] for row in chosen]
        return ImageSet(f"cifar100 own split {self.split}", ids, images, labels[chosen], CIFAR100_CLASSES)
