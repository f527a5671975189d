"""Kill a run at random instants until enough kills were survived, and count what was lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from lustral.bench.atomic import is_temporary
from lustral.bench.store import Store

ROOT = Path(__file__).parents[2]
LIMIT = 120.0  # seconds after which a run is said to hang


@dataclass
class Tally:
    """What went wrong in ``kills`` kills over ``runs`` complete runs; all but those two should stay empty."""

    kills: int = 0
    runs: int = 0
    amid: int = 0  # kills that hit when some but not all cells were done
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        return [*self.lost, *self.duplicated, *self.damaged, *self.different]


def command(out: Path, log: Path, arguments: Sequence[object]) -> list[str]:
    return [sys.executable, "-m", "tests.bench.grid", str(out), "--log", str(log), *map(str, arguments)]


def digests(folder: Path) -> dict[str, str]:
    """Id -> digest of the rows as they read now; damaged files raise."""
    store = Store(folder)
    for cell_id in store.done():
        store.read(cell_id)
    return {cell_id: store.metadata(cell_id)["rows_sha256"] for cell_id in sorted(store.done())}


def uninterrupted(folder: Path, arguments: Sequence[object]) -> tuple[dict[str, str], float]:
    """The truth, and how many seconds it takes."""
    started = time.monotonic()
    subprocess.run(command(folder, folder.with_suffix(".log"), arguments), cwd=ROOT, check=True, capture_output=True)
    return digests(folder), time.monotonic() - started


def torture(
    folder: Path,
    variants: Sequence[Sequence[object]],
    kills: int,
    seed: int,
    expected: dict[str, str],
    horizon: float,
    table: Callable[[Path], bytes] | None = None,
    expected_table: bytes = b"",
) -> Tally:
    """Kill runs ``kills`` times, and resume them.

    Half of the kills come at a uniformly random instant in [0, ``horizon``] seconds, the others a random
    moment after a random number of further cells was finished, which also hits the work of a slow machine.

    Args:
        folder: for the stores.
        variants: arguments of the runs, such as numbers of workers; each start takes another one.
        kills: how many.
        seed: of the instants and variants.
        expected: digests of an uninterrupted run.
        horizon: seconds of an uninterrupted run.
        table: makes the published table of a store; compared with ``expected_table`` byte for byte.
    """
    numbers, tally = np.random.default_rng(seed), Tally()
    while tally.kills < kills:
        out, log = folder / f"run{tally.runs}", folder / f"run{tally.runs}.log"
        seen: dict[str, tuple[int, int]] = {}
        finished = False
        while not finished:
            arguments = variants[int(numbers.integers(len(variants)))]
            moment = _moment(numbers, horizon, log) if tally.kills < kills else lambda: False
            finished = _run(command(out, log, arguments), moment)
            tally.kills += not finished
            seen = _inspect(out, log, seen, expected, tally)
            tally.amid += not finished and 0 < len(seen) < len(expected)
        tally.runs += 1
        if digests(out) != expected:
            tally.different.append(f"{out}: rows differ from those of the uninterrupted run")
        if table is not None and table(out) != expected_table:
            tally.different.append(f"{out}: the table differs from that of the uninterrupted run")
    return tally


def _moment(numbers: np.random.Generator, horizon: float, log: Path) -> Callable[[], bool]:
    """A question that is true from the moment of the kill on."""
    started, instant = time.monotonic(), numbers.uniform(0, horizon)
    lines, delay = _lines(log) + int(numbers.integers(1, 6)), numbers.uniform(0, horizon / 20)
    if numbers.random() < 0.5:
        return lambda: time.monotonic() - started >= instant
    reached: list[float] = []

    def is_after_cells() -> bool:
        if not reached and _lines(log) >= lines:
            reached.append(time.monotonic() + delay)
        return bool(reached) and time.monotonic() >= reached[0]

    return is_after_cells


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def _run(arguments: list[str], is_time: Callable[[], bool]) -> bool:
    """Whether the run came to its end before it was killed, with all its processes."""
    end = time.monotonic() + LIMIT
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        ) as process,
    ):
        while process.poll() is None:
            if is_time() or time.monotonic() > end:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                _await_end(process.pid)
                assert time.monotonic() < end, f"hung for {LIMIT} s: {arguments}"
                return False
            time.sleep(0.001)
        errors.seek(0)
        assert process.returncode == 0, errors.read().decode()
    return True


def _await_end(group: int) -> None:
    """Wait until no process of the group runs; dead ones that nobody has asked about yet do not count."""
    while any(_is_running(process, group) for process in psutil.process_iter()):
        time.sleep(0.002)


def _is_running(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def _inspect(
    out: Path, log: Path, seen: dict[str, tuple[int, int]], expected: dict[str, str], tally: Tally
) -> dict[str, tuple[int, int]]:
    """Compare the store with what was there after the last kill and with what the run said it had finished."""
    store = Store(out)
    now = {cell_id: _stamp(store.path(cell_id)) for cell_id in store.done()}
    acknowledged = log.read_text().split() if log.exists() else []
    tally.lost += sorted((seen.keys() | set(acknowledged)) - now.keys())
    tally.duplicated += [cell_id for cell_id, stamp in seen.items() if now.get(cell_id, stamp) != stamp]
    tally.duplicated += sorted({cell_id for cell_id in acknowledged if acknowledged.count(cell_id) > 1})
    tally.damaged += [str(item) for item in store.verify() if not is_temporary(item.path)]
    rows = {cell_id: store.metadata(cell_id)["rows_sha256"] for cell_id in now}
    tally.different += [cell_id for cell_id, value in rows.items() if expected.get(cell_id) != value]
    return now


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns
