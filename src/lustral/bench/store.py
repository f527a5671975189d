"""The folder of results: one immutable, self-describing, checksummed Parquet file per finished cell. No torch here.

::

    OUT/recipe.json             the recipe of the last run
    OUT/cells/<id>.parquet      finished cells; a file that exists is done
    OUT/failures/<id>.json      cells that raised, until they succeed
    OUT/quarantine/             damaged files that ``verify`` was asked to move away

The Parquet schema metadata hold JSON under the key ``lustral``: what the cell is, facts, provenance and
three SHA-256 digests (``rows_sha256`` over all columns but the timing ones, ``timing_sha256``,
``metadata_sha256`` over that JSON). Every read checks them, so a damaged file never changes a number.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet

from lustral.bench.atomic import StoreError, WriteError, is_temporary, publish, replace, sweep
from lustral.bench.cell import CellLike, CellResult
from lustral.bench.rows import Table, digest_rows, to_table
from lustral.settings import canonical, digest

__all__ = ["CellResult", "Conflict", "Problem", "Status", "Store", "StoreError", "WriteError"]

_KEY = b"lustral"
_ID = re.compile(r"[0-9a-f]{8,64}")
_UNREADABLE = (arrow.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError)


class Conflict(StoreError):
    """The same settings gave different rows twice: something they depend on is not in the settings."""


@dataclass(frozen=True)
class Problem:
    """Something ``verify`` found: which file, and what is wrong with it."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True)
class Status:
    """How far a plan is: numbers of cells, in all and as (done, total) per kind."""

    total: int
    done: int
    failed: int
    by_kind: dict[str, tuple[int, int]]


class Store:
    """Results in ``folder``. Making the object touches nothing; folders appear with the first write."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.cells = self.folder / "cells"
        self.failed = self.folder / "failures"

    def path(self, cell_id: str) -> Path:
        """Where the cell is or will be."""
        return self.cells / f"{_checked(cell_id)}.parquet"

    def write(self, cell: CellLike, result: CellResult, provenance: Mapping[str, Any]) -> bool:
        """Keep the result for good; once this returns it survives a kill and a power cut.

        Returns:
            Whether this call wrote it; False if the same rows were there before.

        Raises:
            Conflict: the cell is stored with other rows; the first stay.
            WriteError: the disk is full or broken.
            ValueError: the columns are no table, the facts no JSON, or the id not that of the settings.
        """
        if cell.id != digest(cell.settings):
            raise ValueError(f"cell {cell.id} must have the id of its settings, {digest(cell.settings)}")
        table = to_table(result.columns)
        metadata: dict[str, Any] = {
            **_describe(cell),
            "settings": cell.settings,
            "facts": result.facts,
            "provenance": dict(provenance),
            "rows_sha256": digest_rows(table),
            "timing_sha256": digest_rows(table, timing=True),
        }
        metadata["metadata_sha256"] = _digest_metadata(metadata)
        path = self.path(cell.id)
        if path.exists():
            return self._agree(cell.id, metadata["rows_sha256"])
        try:
            publish(path, _encode(table, metadata))
        except FileExistsError:
            return self._agree(cell.id, metadata["rows_sha256"])
        with contextlib.suppress(OSError):
            (self.failed / f"{cell.id}.json").unlink()
        return True

    def _agree(self, cell_id: str, rows: str) -> bool:
        stored = self.metadata(cell_id)["rows_sha256"]
        if stored != rows:
            raise Conflict(
                f"{self.path(cell_id)} holds other rows (rows_sha256 {stored[:12]}) than the same cell gave now "
                f"({rows[:12]}); the first are kept. Some result depends on what the settings do not name"
            )
        return False

    def read(self, cell_id: str) -> CellResult:
        """A finished cell, with all digests checked.

        Raises:
            KeyError: it is not finished.
            StoreError: the file is damaged.
        """
        table, metadata = self._load(cell_id)
        return CellResult(table.to_pydict(), metadata["facts"])

    def _load(self, cell_id: str) -> tuple[Table, dict[str, Any]]:
        path = self.path(cell_id)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise KeyError(f"cell {cell_id} is not finished in {self.folder}") from None
        except OSError as error:
            raise _damaged(path, str(error)) from error
        try:
            with parquet.ParquetFile(arrow.BufferReader(data), page_checksum_verification=True) as file:
                metadata = _decode_metadata(file.schema_arrow.metadata)
                table = file.read(use_threads=False)
            table.validate(full=True)
            for key, timing in (("rows_sha256", False), ("timing_sha256", True)):
                if digest_rows(table, timing=timing) != metadata[key]:
                    raise ValueError(f"{key} does not match")
        except _UNREADABLE as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from error
        return table, metadata

    def metadata(self, cell_id: str) -> dict[str, Any]:
        """What the cell is, its facts, provenance and digests, without reading the rows.

        Raises:
            KeyError: it is not finished.
            StoreError: the file is damaged.
        """
        path = self.path(cell_id)
        try:
            with parquet.ParquetFile(path) as file:
                return _decode_metadata(file.schema_arrow.metadata)
        except FileNotFoundError:
            raise KeyError(f"cell {cell_id} is not finished in {self.folder}") from None
        except _UNREADABLE as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from error

    def done(self) -> set[str]:
        """Ids of the finished cells."""
        return {path.stem for path in self.cells.glob("*.parquet") if _ID.fullmatch(path.stem)}

    def fail(self, cell: CellLike, error: str, details: str = "") -> None:
        """Record that the cell raised ``error``, with ``details`` such as a traceback; it never counts as done.

        Raises:
            WriteError: the disk is full or broken.
        """
        when = datetime.now(UTC).isoformat(timespec="seconds")
        record = {**_describe(cell), "error": error, "details": details, "when": when, "settings": cell.settings}
        replace(self.failed / f"{_checked(cell.id)}.json", json.dumps(record, indent=1).encode())

    def failures(self) -> dict[str, dict[str, Any]]:
        """Records of the cells that raised and have not succeeded since, by id."""
        records: dict[str, dict[str, Any]] = {}
        done = self.done()
        for path in sorted(self.failed.glob("*.json")):
            if path.stem not in done:
                try:
                    records[path.stem] = dict(json.loads(path.read_bytes()))
                except (OSError, ValueError, TypeError):
                    records[path.stem] = {"id": path.stem, "error": f"the record {path} is not readable"}
        return records

    def status(self, cells: Iterable[CellLike]) -> Status:
        """How many of ``cells`` are done."""
        kinds = {cell.id: cell.kind for cell in cells}
        done, failed = self.done(), self.failures()
        total, ready = Counter(kinds.values()), Counter(kind for id, kind in kinds.items() if id in done)
        by_kind = {kind: (ready[kind], count) for kind, count in sorted(total.items())}
        return Status(len(kinds), ready.total(), len(kinds.keys() & failed.keys()), by_kind)

    def clean(self) -> list[Path]:
        """Delete what killed processes of this machine left half written."""
        return [path for folder in (self.folder, self.cells, self.failed) for path in sweep(folder)]

    def verify(self, *, quarantine: bool = False) -> list[Problem]:
        """Read every stored byte and recompute every digest.

        Args:
            quarantine: move damaged files to ``OUT/quarantine``, so that the next run makes their cells again.

        Returns:
            What is wrong; empty if every number is as it was written.
        """
        problems = [problem for path in _files(self.cells) if (problem := self._check(path))]
        for path in _files(self.failed):
            try:
                json.loads(path.read_bytes())
            except (OSError, ValueError):
                problems.append(Problem(path, _left_over(path) or "not a readable failure record"))
        if not quarantine:
            return problems
        place = self.folder / "quarantine"
        return [
            item if is_temporary(item.path) else Problem(_move_away(item.path, place), item.message)
            for item in problems
        ]

    def _check(self, path: Path) -> Problem | None:
        if path.suffix != ".parquet" or not _ID.fullmatch(path.stem):
            return Problem(path, _left_over(path) or "not a cell file")
        try:
            _, metadata = self._load(path.stem)
        except KeyError:
            return None  # another process moved it since it was listed
        except StoreError as error:
            return Problem(path, str(error.__cause__ or error))
        if not path.stem == metadata["id"] == digest(metadata["settings"]):
            return Problem(path, f"the name is not the id of the settings inside, {digest(metadata['settings'])}")
        return None


def _checked(cell_id: str) -> str:
    if not _ID.fullmatch(cell_id):
        raise ValueError(f"a cell id is 8 to 64 hexadecimal characters, got {cell_id!r}")
    return cell_id


def _describe(cell: CellLike) -> dict[str, Any]:
    return {"id": cell.id, "kind": cell.kind, "suite": cell.suite, "label": cell.label, "role": cell.role}


def _digest_metadata(metadata: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in metadata.items() if key != "metadata_sha256"}
    return hashlib.sha256(canonical(rest).encode()).hexdigest()


def _encode(table: Table, metadata: Mapping[str, Any]) -> bytes:
    table = table.replace_schema_metadata({_KEY: canonical(metadata).encode()})
    sink = arrow.BufferOutputStream()
    # Statistics would repeat picture bytes in the footer, and dictionaries do not help columns without repeats.
    parquet.write_table(
        table, sink, compression="zstd", write_page_checksum=True, write_statistics=False, use_dictionary=False
    )
    return sink.getvalue().to_pybytes()


def _decode_metadata(raw: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    metadata = json.loads((raw or {})[_KEY])
    if _digest_metadata(metadata) != metadata["metadata_sha256"]:
        raise ValueError("metadata_sha256 does not match")
    return metadata


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"{path} is damaged ({why}); move it away with `lustral verify --quarantine` and run the same command again"
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _left_over(path: Path) -> str | None:
    return "left by a process that was killed, or being written now" if is_temporary(path) else None


def _move_away(path: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    number = 0
    while (target := folder / f"{path.name.lstrip('.')}{f'.{number}' if number else ''}").exists():
        number += 1
    return path.replace(target)
