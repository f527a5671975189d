"""Finished cells as the report sees them: who they are and which rows belong to them. Reads, never writes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lustral.bench.cell import CellLike
from lustral.bench.store import Store, StoreError

__all__ = ["Source", "StoredCell", "read_source"]


@dataclass(frozen=True)
class StoredCell:
    """One finished cell; ``path`` is its Parquet file, of which only the metadata has been read."""

    id: str
    kind: str
    suite: str
    label: str
    role: str
    settings: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    path: Path = Path()

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the cells that this one was made from."""
        return tuple(self.settings.get("needs", ()))


@dataclass(frozen=True)
class Source:
    """Everything in a store folder, in an order that does not depend on the file system.

    Attributes:
        recipe: the canonical recipe, empty if the folder has none.
        cells: finished cells by id.
        places: the same as every suite speaks of them; a cell that two suites share stands in both.
        failures: what failed cells said, by id.
        missing: planned cells without a file; 0 if no plan was given.
    """

    recipe: dict[str, Any]
    cells: dict[str, StoredCell]
    failures: dict[str, str]
    missing: int = 0
    places: tuple[StoredCell, ...] = ()


def read_source(folder: Path, plan: Iterable[CellLike] | None = None) -> Source:
    """Read recipe, failures and the metadata of every finished cell of a store folder.

    Args:
        folder: the folder that a run wrote.
        plan: cells that the report is about. A folder may also hold cells of an earlier recipe, and names
            of suites and attacks are not part of a cell's identity; the plan knows both (a cell of several suites
            stands in it several times). Without one every file is taken at its word.

    Raises:
        StoreError: no finished cells, or a damaged file.
    """
    store = Store(folder)
    done = store.done()
    if not done:
        raise StoreError(f"{folder} holds no finished cell; run a recipe into it first: lustral run RECIPE --out DIR")
    asked = None if plan is None else tuple(plan)
    planned = None if asked is None else {cell.id: cell for cell in reversed(asked)}
    wanted = sorted(done if planned is None else done & planned.keys())
    if not wanted:
        raise StoreError(f"none of the {len(done)} finished cells in {folder} belongs to this recipe; run it first")
    failures = {name: str(record.get("error", "no message")) for name, record in store.failures().items()}
    recipe = folder / "recipe.json"
    cells = {name: _cell(store, name, (planned or {}).get(name)) for name in wanted}
    return Source(
        recipe=json.loads(recipe.read_text(encoding="utf-8")) if recipe.exists() else {},
        cells=cells,
        failures={name: text for name, text in failures.items() if planned is None or name in planned},
        missing=0 if planned is None else len(planned.keys() - done),
        places=tuple(cells.values()) if asked is None else _places(cells, asked),
    )


def _places(cells: dict[str, StoredCell], asked: Iterable[CellLike]) -> tuple[StoredCell, ...]:
    """Every finished cell under every name it is asked for by, in the order of their ids."""
    named = {(cell.id, cell.suite, cell.role, cell.label) for cell in asked if cell.id in cells}
    return tuple(
        replace(cells[name], suite=suite, role=role, label=label) for name, suite, role, label in sorted(named)
    )


def _cell(store: Store, cell_id: str, planned: CellLike | None) -> StoredCell:
    content = store.metadata(cell_id)
    return StoredCell(
        id=cell_id,
        kind=content["kind"],
        suite=content["suite"] if planned is None else planned.suite,
        label=content["label"] if planned is None else planned.label,
        role=content["role"] if planned is None else planned.role,
        settings=content["settings"],
        facts=content["facts"],
        provenance=content["provenance"],
        path=store.path(cell_id),
    )
