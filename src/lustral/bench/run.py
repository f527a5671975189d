"""Run a recipe, or go on with one: plan, skip what is done, hand the rest to an engine. No torch here."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lustral.bench.atomic import locked, replace
from lustral.bench.cell import CellLike
from lustral.bench.engines.books import Event, Outcome
from lustral.bench.engines.local import run_cells
from lustral.bench.store import Store
from lustral.settings import canonical

if TYPE_CHECKING:
    from lustral.bench.recipe import Recipe

__all__ = ["ENGINES", "EXECUTOR", "Progress", "Summary", "run", "run_plan"]

EXECUTOR = "lustral.bench.cells:execute"
ENGINES = {"local": run_cells}


@dataclass(frozen=True)
class Progress:
    """What listeners get with every event.

    Attributes:
        event: what happened to which cell.
        total: cells of the plan.
        done: of these finished, now or earlier.
        remaining_seconds: estimate from the mean duration of each kind in this run; None before the first.
    """

    event: Event
    total: int
    done: int
    remaining_seconds: float | None


@dataclass
class Summary:
    """How a run ended."""

    folder: Path
    total: int
    skipped: int
    outcome: Outcome = field(default_factory=Outcome)
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Cells of the plan that are finished."""
        return self.skipped + len(self.outcome.finished)

    @property
    def exit_code(self) -> int:
        """0 if every cell is finished, 130 after Ctrl-C or SIGTERM, else 1."""
        return 130 if self.interrupted else int(self.done < self.total)

    def __str__(self) -> str:
        lines = [f"{self.done} of {self.total} cells are finished in {self.folder} ({self.skipped} were before)"]
        same: dict[str, list[str]] = defaultdict(list)
        for cell_id, error in self.outcome.failed.items():
            same[error].append(cell_id)
        for error, (first, *more) in same.items():
            lines.append(f"failed: {first}{f' and {len(more)} more' if more else ''}: {error}")
        if self.outcome.failed:
            lines.append(f"tracebacks are in {self.folder / 'failures'}")
        if self.outcome.blocked:
            lines.append(f"blocked: {len(self.outcome.blocked)} cells that need a failed one")
        if self.interrupted:
            lines.append("stopped; the same command goes on from here")
        elif self.done < self.total:
            lines.append("the same command tries the missing cells again")
        return "\n".join(lines)


def run(recipe: Recipe, out: Path | str, **options: Any) -> Summary:
    """Plan ``recipe`` and carry out what ``out`` lacks. Options are those of ``run_plan``."""
    from lustral.bench.plan import make_plan

    return run_plan(make_plan(recipe).cells, out, recipe=recipe.to_json(), **options)


def run_plan(
    cells: Sequence[CellLike],
    out: Path | str,
    *,
    recipe: dict[str, Any] | None = None,
    executor: str = EXECUTOR,
    workers: int = 1,
    engine: str = "local",
    on_event: Callable[[Progress], None] = lambda progress: None,
    order: int | None = None,
) -> Summary:
    """Carry out the cells that ``out`` lacks.

    One run works in a folder at a time. Ctrl-C and SIGTERM end it cleanly; a kill loses only the cells
    that were being worked on.

    Args:
        cells: from a plan.
        out: folder of results, see ``Store``.
        recipe: kept as ``recipe.json`` for the report.
        executor: importable ``module:function`` that carries out one cell.
        workers: processes; 0 means in this one.
        engine: a key of ``ENGINES``.
        on_event: told about every cell, in this process.
        order: seed of a random order of the cells; no result depends on it, tests show that.

    Raises:
        Busy: another run works in ``out``.
        StoreError: the disk is full or broken.
        EngineError: workers cannot start or keep dying.
        ValueError: unknown engine, or a plan that cannot be carried out.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    store, started = Store(out), time.monotonic()
    with locked(store.folder):
        store.clean()
        if recipe is not None:
            replace(store.folder / "recipe.json", json.dumps(recipe, indent=1, sort_keys=True).encode())
        done = store.done() & {cell.id for cell in cells}
        summary = Summary(store.folder, len(cells), len(done))
        try:
            with _terminable():
                ENGINES[engine](
                    _shuffled(cells, order),
                    store,
                    executor,
                    workers=workers,
                    done=done,
                    group=_group,
                    on_event=_Teller(cells, done, max(workers, 1), on_event),
                    outcome=summary.outcome,
                )
        except KeyboardInterrupt:
            summary.interrupted = True
    summary.seconds = time.monotonic() - started
    return summary


def _shuffled(cells: Sequence[CellLike], order: int | None) -> Sequence[CellLike]:
    return cells if order is None else random.Random(order).sample(list(cells), len(cells))


def _group(cell: CellLike) -> str:
    """Cells of one target and one defence share built models."""
    return canonical([cell.settings.get("target"), cell.settings.get("defence")])


class _Teller:
    """Adds counts and the estimated remaining time to the events of an engine."""

    def __init__(
        self, cells: Sequence[CellLike], done: set[str], workers: int, tell: Callable[[Progress], None]
    ) -> None:
        self.total, self.done, self.workers, self.tell = len(cells), len(done), workers, tell
        self.left: dict[str, int] = defaultdict(int)
        self.spent: dict[str, list[float]] = defaultdict(list)
        for cell in cells:
            self.left[cell.kind] += cell.id not in done

    def __call__(self, event: Event) -> None:
        kind = event.cell.kind
        if event.name in ("finished", "failed", "blocked"):
            self.left[kind] -= 1
        if event.name == "finished":
            self.done += 1
            self.spent[kind].append(event.seconds)
        self.tell(Progress(event, self.total, self.done, self._remaining()))

    def _remaining(self) -> float | None:
        every = [seconds for several in self.spent.values() for seconds in several]
        if not every:
            return None
        mean = {kind: sum(several) / len(several) for kind, several in self.spent.items()}
        usual = sum(every) / len(every)
        return sum(count * mean.get(kind, usual) for kind, count in self.left.items()) / self.workers


@contextlib.contextmanager
def _terminable() -> Generator[None]:
    """Treat SIGTERM, which batch systems send before they kill, like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
