"""Which cell comes next: needs first, then cells that can reuse what a worker has already built."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

from lustral.bench.cell import CellLike

__all__ = ["Schedule"]


class Schedule:
    """Hands out every cell once, in plan order as far as ``needs`` and groups allow.

    Args:
        cells: what is to be done, in plan order.
        done: ids of cells that are finished already.
        group: cells of one group share built models; a worker stays in its group while it lasts.

    Raises:
        ValueError: a cell needs one that is neither planned nor done, or needs itself in the end.
    """

    def __init__(self, cells: Sequence[CellLike], done: Collection[str], group: Callable[[CellLike], str]) -> None:
        self._cells = list(cells)
        self._group = [group(cell) for cell in cells]
        self._waiting: dict[str, set[str]] = {}
        self._ready: dict[str, list[int]] = defaultdict(list)
        self._place = {cell.id: place for place, cell in enumerate(cells)}
        self._children: dict[str, list[str]] = defaultdict(list)
        for cell in cells:
            self._add(cell, set(cell.needs) - set(done))
        self._refuse_circles()

    def _add(self, cell: CellLike, needs: set[str]) -> None:
        if unknown := sorted(needs - self._place.keys()):
            raise ValueError(f"cell {cell.id} needs {unknown[0]}, which is neither planned nor done; plan it too")
        for need in needs:
            self._children[need].append(cell.id)
        if needs:
            self._waiting[cell.id] = needs
        else:
            self.again(cell)

    def _refuse_circles(self) -> None:
        reached = [self._cells[place].id for places in self._ready.values() for place in places]
        missing = {cell_id: len(needs) for cell_id, needs in self._waiting.items()}
        for cell_id in reached:  # grows while it is walked
            for child in self._children[cell_id]:
                missing[child] -= 1
                if not missing[child]:
                    reached.append(child)
        if len(reached) < len(self._cells):
            stuck = sorted(self._waiting.keys() - set(reached))
            raise ValueError(f"cell {stuck[0]} needs itself in the end: the needs of {len(stuck)} cells form a circle")

    @property
    def has_ready(self) -> bool:
        """Whether ``take`` would give a cell now."""
        return any(self._ready.values())

    def take(self, mine: str | None, others: Iterable[str]) -> tuple[CellLike, str] | None:
        """The next cell and its group for a worker that was in group ``mine``; None if none is ready now.

        ``others`` are the groups of the busy workers: a new group is preferred to sharing one of theirs.
        """
        groups = {name: places[0] for name, places in self._ready.items() if places}
        if not groups:
            return None
        busy = set(others)
        chosen = mine if mine in groups else min(groups, key=lambda name: (name in busy, groups[name]))
        return self._cells[heapq.heappop(self._ready[chosen])], chosen

    def again(self, cell: CellLike) -> None:
        """Make a cell ready (once more)."""
        place = self._place[cell.id]
        heapq.heappush(self._ready[self._group[place]], place)

    def finish(self, cell_id: str) -> None:
        """The cell is stored; cells that waited for it last become ready."""
        for child in self._children[cell_id]:
            needs = self._waiting.get(child)
            if needs is not None:
                needs.discard(cell_id)
                if not needs:
                    del self._waiting[child]
                    self.again(self._cells[self._place[child]])

    def drop(self, cell_id: str) -> list[str]:
        """The cell failed; returns the cells that can never run now, directly or through others."""
        dropped: list[str] = []
        rest = list(self._children[cell_id])
        while rest:
            child = rest.pop()
            if self._waiting.pop(child, None) is not None:
                dropped.append(child)
                rest.extend(self._children[child])
        return sorted(dropped, key=self._place.__getitem__)
