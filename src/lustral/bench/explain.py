"""Why a cell is done, or has to run again: which settings differ from the nearest finished one. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lustral.bench.atomic import StoreError
from lustral.bench.cell import CellLike
from lustral.bench.store import Store

__all__ = ["changes", "explain"]


def explain(store: Store, cell: CellLike) -> str:
    """A few lines: done and by whom, or what changed since a similar cell was done, or what it failed with."""
    name = f"{cell.kind} {cell.label or cell.role} of {cell.suite}, {cell.id}"
    if cell.id in store.done():
        made = store.metadata(cell.id)["provenance"]
        return f"{name}: done {made.get('finished', '')} by lustral {made.get('lustral')}, {made.get('git')}"
    lines = [f"{name}: has to run"]
    if failure := store.failures().get(cell.id):
        lines.append(f"it failed {failure.get('when', '')}: {failure['error']}")
    if waits := sorted(set(cell.needs) - store.done()):
        lines.append(f"it needs cells that are not done: {', '.join(waits)}")
    if nearest := _nearest(store, cell):
        stored, differences = nearest
        lines.append(f"the nearest finished cell, {stored}, has other settings:")
        lines += [f"  {place}: {old} -> {new}" for place, old, new in differences]
    else:
        lines.append(f"no {cell.kind} cell is finished")
    return "\n".join(lines)


def changes(old: object, new: object) -> list[tuple[str, str, str]]:
    """(place, old value, new value) of every leaf that differs between two JSON values.

    >>> changes({"a": {"b": 1}, "c": [1, 2]}, {"a": {"b": 2}, "c": [1, 2]})
    [('a.b', '1', '2')]
    """
    before, after = dict(_leaves(old)), dict(_leaves(new))
    places = sorted(before.keys() | after.keys())
    pairs = [(place, before.get(place, "(absent)"), after.get(place, "(absent)")) for place in places]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _leaves(value: object, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(inner, f"{place}.{key}" if place else str(key))  # pyright: ignore[reportUnknownArgumentType]
    else:
        yield place, repr(value)


def _nearest(store: Store, cell: CellLike) -> tuple[str, list[tuple[str, str, str]]] | None:
    """The finished cell of this kind with the fewest differences; method and slice weigh more than the rest."""
    best: tuple[tuple[int, int, str], list[tuple[str, str, str]]] | None = None
    for other in sorted(store.done()):
        try:
            metadata = store.metadata(other)
        except (KeyError, StoreError):
            continue
        if metadata["kind"] != cell.kind:
            continue
        differences = changes(metadata["settings"], cell.settings)
        score = (_distance(metadata, cell), len(differences), other)
        if best is None or score < best[0]:
            best = score, differences
    return None if best is None else (best[0][2], best[1])


def _distance(stored: dict[str, Any], cell: CellLike) -> int:
    settings = stored["settings"]
    same_names = sum(_name(settings.get(part)) == _name(cell.settings.get(part)) for part in ("defence", "attack"))
    same_start = settings.get("start") == cell.settings.get("start")
    return -(same_names + same_start + (stored["suite"] == cell.suite) + (stored["label"] == cell.label))


def _name(settings: object) -> object:
    return settings.get("name") if isinstance(settings, dict) else settings  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
