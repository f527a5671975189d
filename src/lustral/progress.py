"""Progress of a run for people and for programs. No torch here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lustral.bench.run import Progress

__all__ = ["Reporter"]


class Reporter:
    """Progress of a run: a bar with the remaining time on a terminal, JSON lines elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Callable[[Progress], None]:
        if not sys.stderr.isatty():
            return self._line
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bar = Bar(*columns, console=Console(stderr=True))
        self._bar.start()
        self._task = self._bar.add_task("planning", total=None, left="")
        return self._draw

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _draw(self, progress: Progress) -> None:
        cell, seconds = progress.event.cell, progress.remaining_seconds
        left = "" if seconds is None else f"{seconds / 60:.1f} min left"
        what = f"{cell.suite}: {_defence(cell.settings)} {cell.label or cell.kind}"
        self._bar.update(self._task, total=progress.total, completed=progress.done, description=what[:60], left=left)

    def _line(self, progress: Progress) -> None:
        event = progress.event
        row = {
            "event": event.name,
            "cell": event.cell.id,
            "kind": event.cell.kind,
            "suite": event.cell.suite,
            "defence": _defence(event.cell.settings),
            "attack": event.cell.label,
            "done": progress.done,
            "total": progress.total,
            "seconds": round(event.seconds, 3),
            "remaining_seconds": None if progress.remaining_seconds is None else round(progress.remaining_seconds, 1),
        }
        sys.stderr.write(json.dumps(row) + "\n")
        sys.stderr.flush()


def _defence(settings: dict[str, Any]) -> str:
    return str(settings.get("defence", {}).get("name", ""))
