"""A folder of adversarial images as ``lustral export adversarial`` writes it: a list of shards, and the shards."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lustral.data.parquet import decode, read_columns
from lustral.files import read_regular
from lustral.settings import SettingsError, canonical

__all__ = ["MANIFEST", "Manifest", "Shard", "find_shards", "manifest_text", "read_manifest", "read_shards"]

MANIFEST = "manifest.json"
_LARGEST = 2**26  # bytes of the list of shards; one takes about 1 KiB


class Shard(BaseModel):
    """One Parquet file: the images of one cell.

    Attributes:
        path: relative to the folder, with forward slashes.
        sha256: of the file.
        cell: id of the cell that it was made from.
        suite, label: which attack of which suite of the recipe.
        attack, target, data: settings that made the images, as JSON.
        images: how many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str = Field(pattern=r"^[A-Za-z0-9._/-]+\.parquet$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    cell: str
    suite: str
    label: str
    attack: dict[str, Any]
    target: dict[str, Any]
    data: dict[str, Any]
    images: int


class Manifest(BaseModel):
    """What is in the folder, and the command that made the run it was taken from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: str = Field(default="lustral adversarial images", pattern="^lustral adversarial images$")
    version: int = Field(default=1, ge=1, le=1)
    command: str = ""
    shards: tuple[Shard, ...] = Field(min_length=1)


def read_manifest(folder: Path) -> Manifest:
    """The list of shards of a folder.

    Raises:
        SettingsError: there is none, or it is not one of this format; shards outside the folder are refused.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise SettingsError(f"no {MANIFEST} in {folder}; give the folder that lustral export adversarial wrote")
    status = path.stat()
    return _read_manifest(path, (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=4)
def _read_manifest(path: Path, state: tuple[int, int, int]) -> Manifest:
    """Every cell of a plan asks for the list; ``state`` makes a file that was replaced another one."""
    try:
        manifest = Manifest.model_validate_json(read_regular(path, _LARGEST, SettingsError))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise SettingsError(f"{path} is no list of adversarial images: {where}: {problem['msg']}") from None
    for shard in manifest.shards:
        if ".." in Path(shard.path).parts or Path(shard.path).is_absolute():
            raise SettingsError(f"{path} names {shard.path!r}, which lies outside the folder; export the set again")
    return manifest


def find_shards(folder: Path, label: str, suite: str | None = None) -> tuple[Shard, ...]:
    """The shards of one attack.

    Args:
        folder: of the set.
        label: of the attack in the recipe that made it.
        suite: of that recipe; None where the label stands for one attack on one target only.

    Raises:
        SettingsError: no such attack (the known ones are listed), or several that differ.
    """
    shards = read_manifest(folder).shards
    found = tuple(shard for shard in shards if shard.label == label and suite in (None, shard.suite))
    if not found:
        known = sorted({f"{shard.label!r} of suite {shard.suite!r}" for shard in shards})
        raise SettingsError(f"{folder} has no attack {label!r} of suite {suite!r}; it has {', '.join(known)}")
    kinds = {canonical([shard.attack, shard.target, shard.data]) for shard in found}
    if len(kinds) > 1:
        suites = sorted({shard.suite for shard in found})
        raise SettingsError(f"{label!r} stands for {len(kinds)} attacks in {folder}; name its suite, one of {suites}")
    return found


def read_shards(folder: Path, shards: tuple[Shard, ...]) -> dict[str, NDArray[np.uint8]]:
    """Image id -> pixels (h, w, 3).

    Raises:
        ValueError: a shard is missing, damaged, or not the file that the list names, or two hold different images
            under one id.
    """
    found: dict[str, NDArray[np.uint8]] = {}
    for shard in shards:
        path = folder / shard.path
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != shard.sha256:
            raise ValueError(f"{path} is missing or is not the file that {MANIFEST} names; export or fetch it again")
        columns = read_columns(path, ("id", "image"))
        for name, entry in zip(columns["id"], columns["image"], strict=True):
            pixels = decode(entry.get("bytes", b"") if isinstance(entry, dict) else b"", f"{path}, image {name}")
            if not np.array_equal(found.setdefault(name, pixels), pixels):
                raise ValueError(f"{path} has another image {name!r} than the shards before it; name the suite")
    return found


def manifest_text(manifest: Manifest) -> str:
    """As it is written, the same for the same shards."""
    return json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
