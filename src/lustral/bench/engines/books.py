"""What an engine knows about its cells, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lustral.bench.cell import CellLike
from lustral.bench.engines.schedule import Schedule
from lustral.bench.store import WriteError

__all__ = ["Books", "Event", "Outcome"]


@dataclass(frozen=True)
class Event:
    """Something happened to a cell: "started", "finished", "failed", "blocked" or "died" (its worker did)."""

    name: str
    cell: CellLike
    seconds: float = 0.0
    error: str = ""


@dataclass
class Outcome:
    """What a run did: ids that finished now, errors by id, and for blocked cells the id of the failed one."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)


@dataclass
class Books:
    """Keeps schedule, outcome and listener in step."""

    cells: Mapping[str, CellLike]
    schedule: Schedule
    on_event: Callable[[Event], None]
    outcome: Outcome

    def finished(self, cell: CellLike, seconds: float) -> None:
        """The cell is stored."""
        self.schedule.finish(cell.id)
        self.outcome.finished.append(cell.id)
        self.on_event(Event("finished", cell, seconds))

    def failed(self, cell: CellLike, seconds: float, error: str) -> None:
        """The cell will not be stored in this run, nor what needs it."""
        self.outcome.failed[cell.id] = error
        self.on_event(Event("failed", cell, seconds, error))
        for blocked in self.schedule.drop(cell.id):
            self.outcome.blocked[blocked] = cell.id
            self.on_event(Event("blocked", self.cells[blocked], 0.0, f"needs {cell.id}, which failed"))

    def settle(self, cell: CellLike, answer: Mapping[str, Any]) -> None:
        """Take the answer of a worker, see ``engines.worker.Done``.

        Raises:
            WriteError: it says that the store cannot be written, so that going on would be in vain.
        """
        if answer["event"] == "broken":
            raise WriteError(answer["error"])
        if answer["event"] == "finished":
            self.finished(cell, answer["seconds"])
        else:
            self.failed(cell, answer["seconds"], answer["error"])
