"""The process that carries out cells one after the other for ``engines.local``.

Lines of JSON come in on standard input: first an introduction, then one cell at a time. Lines of JSON
go out: ``ready``, then ``finished``, ``failed`` or ``broken`` for each cell. When standard input ends,
however that comes about, the process is gone at once; finished cells are whole files, so nothing is lost.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lustral.bench.cell import CellLike, CellResult
from lustral.bench.provenance import provenance
from lustral.bench.store import Store, WriteError

__all__ = ["Done", "Executor", "carry_out", "resolve", "serve"]

Executor = Callable[[CellLike, Mapping[str, CellResult]], CellResult]


@dataclass(frozen=True)
class Done:
    """How one cell ended: "finished", "failed" (it raised) or "broken" (the store cannot be written)."""

    event: str
    id: str
    seconds: float
    error: str = ""


def resolve(name: str) -> Any:
    """The object behind ``package.module:name``.

    Raises:
        ImportError: there is none.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except AttributeError as error:
        raise ImportError(f"{module} has no {attribute!r}; expected package.module:function, got {name!r}") from error


def carry_out(cell: CellLike, execute: Executor, store: Store, machine: Mapping[str, Any]) -> Done:
    """Read the inputs of a cell, execute it, and store the result or why there is none."""
    started, clock = datetime.now(UTC), time.perf_counter()
    try:
        result = execute(cell, {need: store.read(need) for need in cell.needs})
        seconds = time.perf_counter() - clock
        times = {"started": started.isoformat(), "finished": datetime.now(UTC).isoformat(), "seconds": seconds}
        store.write(cell, result, {**machine, **times})
    except WriteError as error:
        return Done("broken", cell.id, time.perf_counter() - clock, str(error))
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        try:
            store.fail(cell, message, traceback.format_exc())
        except WriteError as second:
            return Done("broken", cell.id, time.perf_counter() - clock, f"{second} (the cell raised {message})")
        return Done("failed", cell.id, time.perf_counter() - clock, message)
    return Done("finished", cell.id, seconds)


def serve() -> None:
    """Main loop of a worker process."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    hello = json.loads(lines.get())
    try:
        execute, make = resolve(hello["executor"]), resolve(hello["cell"])
    except Exception as error:
        _answer(answers, {"event": "unable", "error": f"{type(error).__name__}: {error}\n{traceback.format_exc()}"})
        os._exit(1)  # an ordinary end would wait for the thread that listens
    store, machine = Store(hello["store"]), {**hello["provenance"], "threads": provenance()["threads"]}
    _answer(answers, {"event": "ready"})
    while True:
        fields = json.loads(lines.get())
        cell = make(**{**fields, "needs": tuple(fields["needs"])})
        _answer(answers, vars(carry_out(cell, execute, store, machine)))


def _listen(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)  # the parent is gone or wants no more


def _answer(descriptor: int, message: Mapping[str, Any]) -> None:
    data = json.dumps(dict(message)).encode() + b"\n"
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    serve()
