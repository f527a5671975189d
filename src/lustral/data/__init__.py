"""Image sets: where they come from, how they are read, and how their images are named. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lustral.data.base import DataSettings, ImageSet, MissingData, data_folder, require_file
from lustral.data.cifar import Cifar10, Cifar100
from lustral.data.folder import ClassFolder, Folder
from lustral.data.live import LiveSubset
from lustral.data.nips2017 import Nips2017
from lustral.data.photos import Photos
from lustral.data.scenes import Scenes
from lustral.settings import choose

__all__ = ["DATA", "DataSettings", "ImageSet", "MissingData", "data_folder", "parse_data", "require_file"]

DATA: dict[str, type[DataSettings]] = {
    cls.name: cls for cls in (Scenes, Photos, Cifar10, Cifar100, Nips2017, LiveSubset, Folder, ClassFolder)
}


def parse_data(value: str | Mapping[str, Any] | DataSettings) -> DataSettings:
    """Settings from ``name:key=value,key=value``, from JSON, or as they are; nothing is loaded.

    Raises:
        SettingsError: unknown name, unknown key or bad value; the message lists what is known.

    >>> parse_data("cifar10:split=test,count=512").count
    512
    """
    return value if isinstance(value, DataSettings) else choose(value, DATA, "data set")
