"""Pictures of the page: clean, attacked, purified and in between, as small PNG data URIs that are stored once each."""

from __future__ import annotations

import base64
import hashlib
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
from PIL import Image

from lustral.bench.strips import split_strip
from lustral.report.results import Result
from lustral.report.source import StoredCell

__all__ = ["BUDGET", "SIDE", "Album", "make_albums"]

BUDGET = 8_000_000
"""Most characters of all pictures together; a page should open on a phone."""

SIDE = 128
"""Larger pictures are cut to their centre of this side: scaling them down would hide what an attack did."""

_KINDS = ("clean", "purified_clean", "attacked", "purified_attacked")
_STRIPS = ("steps_clean", "steps_attacked")  # what purifiers show of their inside; most show nothing

Shots = dict[str, dict[str, str]]


@dataclass
class Album:
    """Pictures by digest, and which of them belong to a defence.

    Attributes:
        pool: digest -> data URI.
        strips: digest -> name and digest of each picture of a strip.
        entries: (suite, defence) -> attack -> image id -> what -> digest, of a picture or a strip.
        left_out: images of which there was no room for pictures.
    """

    pool: dict[str, str] = field(default_factory=dict)
    strips: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    entries: dict[tuple[str, str], dict[str, Shots]] = field(default_factory=dict)
    left_out: int = 0

    def unfold(self, shots: Iterable[tuple[str, bytes]]) -> Album:
        """An album without entries of what these shots, of what and PNG, add to this one."""
        new = Album()
        for name, what, data in sorted((_digest(data), what, data) for what, data in shots):
            if what in _STRIPS and name not in self.strips:
                tiles = [(title, _uri(picture)) for title, picture in split_strip(data)]
                new.strips[name] = [(title, _digest(uri.encode())) for title, uri in tiles]
                new.pool |= {_digest(uri.encode()): uri for _, uri in tiles}
            elif what in _KINDS and name not in self.pool | new.pool:
                new.pool[name] = _uri(_opened(data))
        new.pool = {name: uri for name, uri in new.pool.items() if name not in self.pool}
        return new


def make_albums(results: Sequence[Result], cells: Mapping[str, StoredCell], budget: int = BUDGET) -> Album:
    """Collect pictures image by image, the first image of every suite first, until the budget is spent."""
    everything = _Reader(cells)
    found = {(result.key, result.label): everything.of(result) for result in results}
    album = Album()
    spent = 0
    for image in _fair_order(found):
        group = {place: shots[image] for place, shots in found.items() if image in shots}
        new = album.unfold({pair for shot in group.values() for pair in shot.items()})
        size = sum(map(len, new.pool.values()))
        if spent + size > budget:
            album.left_out += 1
            continue
        spent += size
        album.pool |= new.pool
        album.strips |= new.strips
        for (key, label), shot in group.items():
            names = {what: _digest(data) for what, data in shot.items()}
            album.entries.setdefault(key, {}).setdefault(label, {})[image] = names
    return album


def _fair_order(found: Mapping[tuple[tuple[str, str], str], Mapping[str, Any]]) -> list[str]:
    suites: dict[str, dict[str, None]] = {}
    for (key, _), shots in found.items():
        suites.setdefault(key[0], {}).update(dict.fromkeys(sorted(shots)))
    turns = [(turn, image) for images in suites.values() for turn, image in enumerate(images)]
    return list(dict.fromkeys(image for _, image in sorted(turns)))


class _Reader:
    """Reads the picture columns of every cell once."""

    def __init__(self, cells: Mapping[str, StoredCell]) -> None:
        self._cells = cells
        self._read: dict[str, dict[str, dict[str, bytes]]] = {}

    def of(self, result: Result) -> dict[str, dict[str, bytes]]:
        """Image id -> what -> PNG, for the images of a result that have pictures."""
        shots: dict[str, dict[str, bytes]] = {}
        for name in result.cells:
            if name not in self._read:
                self._read[name] = _read(self._cells[name])
            for image, found in self._read[name].items():
                shots.setdefault(image, {}).update(found)
        return {image: shot for image, shot in shots.items() if shot.keys() >= set(_KINDS)}


def _read(cell: StoredCell) -> dict[str, dict[str, bytes]]:
    names = [f"picture_{what}" for what in (*_KINDS, *_STRIPS)]
    schema = parquet.read_schema(cell.path)
    present = [name for name in names if name in schema.names and arrow.types.is_binary(schema.field(name).type)]
    table = parquet.read_table(cell.path, columns=["image", *present], page_checksum_verification=True)
    shots: dict[str, dict[str, bytes]] = {}
    for row in table.to_pylist():
        for name in present:
            if row[name] is not None:
                shots.setdefault(row["image"], {})[name.removeprefix("picture_")] = row[name]
    return shots


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _opened(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data), formats=["PNG"]).convert("RGB")


def _uri(picture: Image.Image) -> str:
    left, top = (max(0, (side - SIDE) // 2) for side in picture.size)
    picture = picture.crop((left, top, left + min(SIDE, picture.width), top + min(SIDE, picture.height)))
    # Written anew: what is embedded is the pixels, whatever else the stored bytes held.
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
