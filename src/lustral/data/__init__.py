"""Image sets: where they come from, how they are read, and how their images are named. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lustral.data.agiqa import Agiqa3k
from lustral.data.altered import Colored, Corrupted
from lustral.data.base import DataSettings, ImageSet, MissingData, data_folder, require_file
from lustral.data.cifar import Cifar10, Cifar100
from lustral.data.cropped import Cropped
from lustral.data.derived import Derived
from lustral.data.folder import ClassFolder, Folder
from lustral.data.kadid import Kadid10k
from lustral.data.koniq import Koniq10k
from lustral.data.live import LiveSubset
from lustral.data.nips2017 import Nips2017
from lustral.data.photos import Photos
from lustral.data.scenes import Scenes
from lustral.data.selected import Clustered, Listed
from lustral.settings import SettingsError, choose, parse_spec

__all__ = ["DATA", "DataSettings", "ImageSet", "MissingData", "data_folder", "parse_data", "require_file"]

DATA: dict[str, type[DataSettings]] = {
    cls.name: cls
    for cls in (
        *(Scenes, Photos, Cifar10, Cifar100, Nips2017, LiveSubset, Koniq10k, Kadid10k, Agiqa3k, Folder, ClassFolder),
        *(Colored, Corrupted, Cropped, Clustered, Listed),
    )
}


def parse_data(value: str | Mapping[str, Any] | DataSettings) -> DataSettings:
    """Settings from ``name:key=value,key=value``, from JSON, or as they are; nothing is loaded.

    What stands to the right of ``|`` changes the pictures of what stands to the left, or selects some of them.

    Raises:
        SettingsError: unknown name, unknown key or bad value; the message lists what is known.

    >>> parse_data("cifar10:split=test,count=512").count
    512
    >>> parse_data("cifar10:count=512 | corrupted:by=saturate,level=5").to_json()["data"]["name"]
    'cifar10'
    """
    if isinstance(value, DataSettings):
        return value
    if not isinstance(value, str) or "|" not in value:
        return choose(value, DATA, "data set")
    first, *changes = (piece.strip() for piece in value.split("|"))
    data = choose(first, DATA, "data set")
    for change in changes:
        name, fields = parse_spec(change)
        if not issubclass(DATA.get(name, Derived), Derived) or "data" in fields:
            known = ", ".join(cls.name for cls in DATA.values() if issubclass(cls, Derived))
            raise SettingsError(f"expected a change ({known}) without data= to the right of |, got {change!r}")
        data = choose({"name": name, **fields, "data": data}, DATA, "data set")
    return data
