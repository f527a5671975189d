"""Carry out cells with worker processes of this machine.

Every worker is a fresh interpreter with one compute thread, so that results do not depend on how many
there are. A worker that raises only fails its cell; one that dies is replaced and its cell is tried once
more. No process outlives the run: workers end when their standard input does, also when the parent is
killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from lustral.bench.cell import CellLike
from lustral.bench.engines.books import Books, Event, Outcome
from lustral.bench.engines.schedule import Schedule
from lustral.bench.engines.worker import carry_out, resolve
from lustral.bench.provenance import provenance
from lustral.bench.store import Store

__all__ = ["EngineError", "Event", "Outcome", "run_cells"]

THREADS = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Handing every freed tensor back to the system costs a fifth of an attack's time in page faults.
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
}
TRIES = 2
DEATHS = 20
PATIENCE = 0.5  # seconds between looks for workers that died without closing their pipe


class EngineError(RuntimeError):
    """The run cannot go on; finished cells are safe."""


def run_cells(
    cells: Sequence[CellLike],
    store: Store,
    executor: str,
    *,
    workers: int = 1,
    done: Collection[str] = (),
    group: Callable[[CellLike], str] = lambda cell: "",
    on_event: Callable[[Event], None] = lambda event: None,
    outcome: Outcome | None = None,
) -> Outcome:
    """Carry out ``cells`` and put their results into ``store``.

    Args:
        cells: dataclass objects of one importable class, in the order they are wanted.
        store: where results go and inputs come from.
        executor: ``package.module:function`` that each worker imports; called with (cell, inputs by id).
        workers: processes; 0 executes in this process, for debuggers (then set the threads yourself).
        done: ids that need no work.
        group: cells of one group go to one worker as far as possible, because it keeps built models.
        on_event: called in this process.
        outcome: filled while running, so that it is known even if this raises.

    Raises:
        EngineError: workers cannot start or keep dying.
        StoreError: the disk is full or broken.
        KeyboardInterrupt: passed on after all workers are gone.
        ValueError: a cell needs one that is neither planned nor done.
    """
    outcome = outcome or Outcome()
    done = frozenset(done)
    todo = [cell for cell in cells if cell.id not in done]
    schedule = Schedule(todo, done, group)
    if not todo:
        return outcome
    if workers < 1:
        _run_here(schedule, store, executor, Books({cell.id: cell for cell in todo}, schedule, on_event, outcome))
    else:
        engine = _Engine(todo, schedule, store, executor, on_event, outcome)
        try:
            engine.run(min(workers, len(todo)))
        finally:
            engine.close()
            store.clean()
    return outcome


def _run_here(schedule: Schedule, store: Store, executor: str, books: Books) -> None:
    execute, machine = resolve(executor), provenance()
    group: str | None = None
    while chosen := schedule.take(group, ()):
        cell, group = chosen
        books.on_event(Event("started", cell))
        books.settle(cell, vars(carry_out(cell, execute, store, machine)))


@dataclass(eq=False)
class _Worker:
    """A process, what it works on, and the part of a line that it has sent so far."""

    process: subprocess.Popen[bytes]
    pending: bytes = b""
    ready: bool = False
    cell: CellLike | None = None
    group: str | None = None
    since: float = 0.0

    def send(self, message: Mapping[str, Any]) -> None:
        stream = self.process.stdin
        assert stream is not None
        with contextlib.suppress(BrokenPipeError):  # a dead worker shows at its other pipe
            stream.write(json.dumps(message).encode() + b"\n")
            stream.flush()

    def output(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()


class _Engine:
    def __init__(
        self,
        cells: Sequence[CellLike],
        schedule: Schedule,
        store: Store,
        executor: str,
        on_event: Callable[[Event], None],
        outcome: Outcome,
    ) -> None:
        self.books = Books({cell.id: cell for cell in cells}, schedule, on_event, outcome)
        self.schedule = schedule
        self.store = store
        self.hello = {
            "executor": executor,
            "cell": _name_of_class(cells),
            "store": str(store.folder.absolute()),
            "provenance": provenance(),
        }
        self.selector = selectors.DefaultSelector()
        self.workers: set[_Worker] = set()
        self.tries: dict[str, int] = {}
        self.deaths = 0

    def run(self, count: int) -> None:
        for _ in range(count):
            self._start()
        while self._hand_out():
            for key, _ in self.selector.select(PATIENCE):
                self._hear(key.data)
            for worker in [worker for worker in self.workers if worker.process.poll() is not None]:
                while worker in self.workers:  # its last words may still be in the pipe
                    self._hear(worker)

    def _start(self) -> None:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        with _deaf():
            process = subprocess.Popen(
                [sys.executable, "-m", "lustral.bench.engines.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **THREADS, "PYTHONPATH": path},
            )
            worker = _Worker(process)
            self.workers.add(worker)
        os.set_blocking(worker.output(), False)
        self.selector.register(worker.output(), selectors.EVENT_READ, worker)
        worker.send(self.hello)

    def _hand_out(self) -> bool:
        """Give idle workers something to do; whether anybody works, or will once it has started."""
        for worker in self.workers:
            if worker.ready and worker.cell is None:
                others = [other.group for other in self.workers if other.cell is not None and other.group is not None]
                chosen = self.schedule.take(worker.group, others)
                if chosen is None:
                    continue
                worker.cell, worker.group = chosen
                worker.since = time.perf_counter()
                worker.send({item.name: getattr(worker.cell, item.name) for item in fields(worker.cell)})  # pyright: ignore[reportArgumentType]
                self.books.on_event(Event("started", worker.cell))
        return self.schedule.has_ready or any(worker.cell is not None for worker in self.workers)

    def _hear(self, worker: _Worker) -> None:
        try:
            data = os.read(worker.output(), 1 << 16)
        except BlockingIOError:
            if worker.process.poll() is None:
                return
            data = b""
        if not data:
            self._bury(worker)
            return
        *lines, worker.pending = (worker.pending + data).split(b"\n")
        for line in lines:
            self._answer(worker, json.loads(line))

    def _answer(self, worker: _Worker, answer: Mapping[str, Any]) -> None:
        if answer["event"] == "ready":
            worker.ready = True
        elif answer["event"] == "unable":
            raise EngineError(f"workers cannot import {self.hello['executor']}: {answer['error']}")
        elif worker.cell is not None:
            cell, worker.cell = worker.cell, None
            self.books.settle(cell, answer)

    def _bury(self, worker: _Worker) -> None:
        """A worker is gone: find out what that means for its cell, and start another."""
        self._release(worker)
        how = _cause(worker.process.returncode)
        self.deaths += 1
        if worker.cell is not None:
            self._settle_dead(worker.cell, time.perf_counter() - worker.since, how)
        if self.deaths > DEATHS or not (worker.ready or self.books.outcome.finished or self.deaths < 3):
            raise EngineError(f"{self.deaths} worker processes died, the last one {how}; finished cells are safe")
        self._start()

    def _settle_dead(self, cell: CellLike, seconds: float, how: str) -> None:
        if cell.id in self.store.done():
            self.books.finished(cell, seconds)  # it died after the write
            return
        tries = self.tries[cell.id] = self.tries.get(cell.id, 0) + 1
        self.books.on_event(Event("died", cell, seconds, f"the worker process was {how}, try {tries} of {TRIES}"))
        if tries < TRIES:
            self.schedule.again(cell)
            return
        error = f"its worker process was {how}, {tries} times"
        self.store.fail(cell, error)
        self.books.failed(cell, seconds, error)

    def _release(self, worker: _Worker) -> None:
        self.workers.discard(worker)
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(worker.output())
        process = worker.process
        process.kill()  # nothing to a dead one; a living one that closed its pipe is of no use
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def close(self) -> None:
        """End all workers now."""
        for worker in list(self.workers):
            self._release(worker)
        self.selector.close()


@contextlib.contextmanager
def _deaf() -> Generator[None]:
    """Hold Ctrl-C back here; processes started meanwhile never hear it, for their parent to end them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _name_of_class(cells: Sequence[CellLike]) -> str:
    kinds = {type(cell) for cell in cells}
    kind = kinds.pop()
    if kinds or not is_dataclass(kind) or kind.__module__ == "__main__":
        raise TypeError(f"cells must be of one dataclass that workers can import, got {kind} and {kinds or 'no other'}")
    return f"{kind.__module__}:{kind.__qualname__}"


def _cause(code: int) -> str:
    if code == -9:
        return "killed by signal 9 (mostly: out of memory; use fewer workers)"
    return f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
