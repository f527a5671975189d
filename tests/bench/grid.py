"""A small grid of cells without torch, with needs as real ones have, and a command that runs it."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lustral.bench.cell import CellResult
from lustral.settings import digest

EXECUTOR = "tests.bench.grid:execute"
ROWS = 3


@dataclass(frozen=True)
class Cell:
    id: str
    kind: str
    suite: str
    settings: dict[str, Any] = field(hash=False)
    needs: tuple[str, ...] = ()
    role: str = "main"
    label: str = ""


def make_cell(kind: str, needs: tuple[str, ...] = (), label: str = "", **settings: Any) -> Cell:
    settings = {"kind": kind, "needs": list(needs), **settings}
    return Cell(digest(settings), kind, "toy", settings, needs, label=label)


def grid(defences: int = 4, chunks: int = 2, nap: float = 0.0) -> list[Cell]:
    """Blind attacks shared by all defences; clean, score and adaptive cells per defence: (1 + 3 d) c cells."""
    common = {"nap": nap, "target": {"name": "toy"}}
    attacks = [make_cell("attack", label="blind", start=start, **common) for start in range(chunks)]
    cells = list(attacks)
    for defence in range(defences):
        for start in range(chunks):
            here = {"start": start, "defence": {"name": f"d{defence}"}, **common}
            clean = make_cell("clean", **here)
            cells.append(clean)
            cells.append(make_cell("score", (attacks[start].id, clean.id), label="blind", **here))
            cells.append(make_cell("adaptive", (clean.id,), label="PGD", **here))
    return cells


def execute(cell: Cell, inputs: dict[str, CellResult]) -> CellResult:
    """Numbers that depend on the settings and on the inputs, and on nothing else; some settings misbehave."""
    started = time.perf_counter()
    if cell.settings.get("raises"):
        raise ArithmeticError(f"as told: {cell.settings['raises']}")
    if (marker := cell.settings.get("dies")) and not _seen(marker):
        os.kill(os.getpid(), 9)
    if nap := cell.settings.get("nap"):
        time.sleep(nap)
    if cell.settings.get("prints"):
        print('{"event": "finished"}')  # must not be taken for an answer of the worker
    fed = "".join(repr(inputs[need].columns["score"]) for need in cell.needs)
    seed = int.from_bytes(hashlib.sha256((cell.id + fed).encode()).digest()[:8], "big")
    numbers = np.random.default_rng(seed)
    columns = {
        "image": [f"image/{row}" for row in range(ROWS)],
        "score": numbers.normal(size=ROWS).tolist(),
        "broken": (numbers.random((ROWS, 4)) < 0.5).tolist(),
        "adversarial": [numbers.bytes(300) for _ in range(ROWS)],
        "seconds": [time.perf_counter() - started] * ROWS,
        "peak_memory": [time.time_ns() % 1000] * ROWS,
    }
    return CellResult(columns, {"inputs": sorted(inputs), "threads": os.environ.get("OMP_NUM_THREADS")})


def _seen(marker: str) -> bool:
    """Whether the marker existed; makes it. An empty marker never exists."""
    if marker == "always":
        return False
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return True
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grid; every finished cell is acknowledged with a line in ``--log`` that no kill can take back."""
    from lustral.bench import atomic
    from lustral.bench.run import EXECUTOR as REAL
    from lustral.bench.run import Progress, run_plan

    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--order", type=int)
    parser.add_argument("--nap", type=float, default=0.0)
    parser.add_argument("--defences", type=int, default=4)
    parser.add_argument("--chunks", type=int, default=2)
    parser.add_argument("--log", type=Path)
    parser.add_argument(
        "--die-at", type=int, help="SIGKILL before the k-th call into the operating system by the store"
    )
    parser.add_argument("--recipe", type=Path, help="real cells instead of toy ones")
    given = parser.parse_args(arguments)

    def note(progress: Progress) -> None:
        if given.log and progress.event.name == "finished":
            log = os.open(given.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(log, f"{progress.event.cell.id}\n".encode())
            os.close(log)

    if given.die_at:
        atomic.os = Faulty(given.die_at, lambda: os.kill(os.getpid(), 9))
    cells, recipe = real_cells(given.recipe) if given.recipe else (grid(given.defences, given.chunks, given.nap), None)
    summary = run_plan(
        cells,
        given.out,
        recipe=recipe,
        executor=REAL if given.recipe else EXECUTOR,
        workers=given.workers,
        order=given.order,
        on_event=note,
    )
    sys.stderr.write(f"{summary}\n")
    return summary.exit_code


def real_cells(recipe: Path) -> tuple[Sequence[Any], dict[str, Any]]:
    """The plan of a recipe, and the recipe as JSON."""
    from lustral.bench.plan import make_plan
    from lustral.bench.recipe import load_recipe

    loaded = load_recipe(recipe)
    return make_plan(loaded).cells, loaded.to_json()


class Faulty:
    """The module ``os``, but the k-th call of a function that changes or syncs files does ``fault`` first."""

    names = frozenset({"open", "write", "fsync", "link", "unlink", "replace"})

    def __init__(self, k: int, fault: Callable[[], object], names: frozenset[str] = names) -> None:
        self.k, self.fault, self.names, self.calls = k, fault, names, 0

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        if name not in self.names:
            return function

        def counted(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls == self.k:
                self.fault()
            return function(*arguments)

        return counted


if __name__ == "__main__":
    from tests.bench.grid import main as main_of_module  # workers cannot import a cell class of __main__

    sys.exit(main_of_module())
