"""The local engine: every cell once, whatever its workers do, and nothing ever hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lustral.bench import atomic
from lustral.bench.engines.books import Event
from lustral.bench.engines.local import EngineError, run_cells
from lustral.bench.engines.schedule import Schedule
from lustral.bench.engines.worker import resolve
from lustral.bench.run import Progress, run_plan
from lustral.bench.store import Store, WriteError
from lustral.settings import digest
from tests.bench.grid import EXECUTOR, grid, make_cell

ROOT = Path(__file__).parents[2]


def rows(folder: Path) -> dict[str, str]:
    store = Store(folder)
    assert store.verify() == []
    return {cell_id: store.metadata(cell_id)["rows_sha256"] for cell_id in store.done()}


def with_settings(cell, **settings):
    settings = {**cell.settings, **settings}
    return replace(cell, settings=settings, id=digest(settings))


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.bench.grid", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(what, seconds: float = 20.0):
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return value


def drain(schedule: Schedule, mine: str | None = None) -> list[str]:
    order: list[str] = []
    while chosen := schedule.take(mine, ()):
        cell, mine = chosen
        order.append(cell.id)
        schedule.finish(cell.id)
    return order


def test_schedule_hands_out_every_cell_once_after_its_needs():
    cells = grid(3, 2)
    for planned in (cells, cells[::-1]):
        order = drain(Schedule(planned, (), lambda cell: repr(cell.settings.get("defence"))))
        assert sorted(order) == sorted(cell.id for cell in cells)
        assert all(order.index(need) < order.index(cell.id) for cell in cells for need in cell.needs)
    done = {cell.id for cell in cells if cell.kind != "score"}
    scores = [cell for cell in cells if cell.kind == "score"]
    assert drain(Schedule(scores, done, lambda cell: "")) == [cell.id for cell in scores]


def test_a_worker_stays_in_its_group_and_new_workers_take_new_groups():
    cells = [make_cell("clean", group=group, start=start) for group in "abc" for start in range(2)]
    schedule = Schedule(cells, (), lambda cell: cell.settings["group"])
    taken = [schedule.take(None, ()), schedule.take(None, ["a"]), schedule.take("a", ["b"]), schedule.take("a", ["b"])]
    assert [group for _, group in taken if _] == ["a", "b", "a", "c"]


def test_dropping_a_cell_blocks_all_that_wait_for_it_and_no_others():
    attack, clean, score, adaptive = grid(1, 1)
    schedule = Schedule([attack, clean, score, adaptive], (), lambda cell: "")
    schedule.take(None, ())
    assert schedule.drop(attack.id) == [score.id]
    assert drain(schedule) == [clean.id, adaptive.id]


def test_plans_that_cannot_be_carried_out_are_refused():
    lonely = make_cell("score", ("ab" * 16,))
    with pytest.raises(ValueError, match="neither planned nor done"):
        Schedule([lonely], (), lambda cell: "")
    one, two = make_cell("clean", start=1), make_cell("clean", start=2)
    circle = [replace(one, needs=(two.id,)), replace(two, needs=(one.id,)), make_cell("clean", start=3)]
    with pytest.raises(ValueError, match="circle"):
        Schedule(circle, (), lambda cell: "")


def test_results_do_not_depend_on_workers_nor_order(tmp_path):
    cells = grid()
    results: list[dict[str, str]] = []
    for number, (workers, order) in enumerate([(0, None), (1, None), (2, 5), (3, 6)]):
        events: list[Event] = []
        summary = run_plan(
            cells,
            tmp_path / str(number),
            executor=EXECUTOR,
            workers=workers,
            order=order,
            on_event=lambda progress, events=events: events.append(progress.event),
        )
        assert (summary.exit_code, summary.done, summary.skipped) == (0, len(cells), 0)
        finished = Counter(event.cell.id for event in events if event.name == "finished")
        assert finished == Counter(cell.id for cell in cells)
        results.append(rows(tmp_path / str(number)))
    assert len(results[0]) == len(cells)
    assert all(result == results[0] for result in results)
    again = run_plan(cells, tmp_path / "1", executor="nothing:needed", workers=2)
    assert (again.skipped, again.outcome.finished, again.exit_code) == (len(cells), [], 0)


def test_workers_have_one_thread_and_a_protected_standard_output(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    cell = make_cell("clean", prints=True)
    run_plan([cell], tmp_path, executor=EXECUTOR)
    assert Store(tmp_path).read(cell.id).facts["threads"] == "1"
    assert Store(tmp_path).metadata(cell.id)["provenance"]["threads"] == "1"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cell_that_raises_fails_alone_and_blocks_what_needs_it(tmp_path, workers):
    attack, *others = grid(2, 1)
    bad = with_settings(attack, raises="badly")
    cells = [bad] + [
        replace(cell, needs=tuple(bad.id if need == attack.id else need for need in cell.needs)) for cell in others
    ]
    events: list[Event] = []
    summary = run_plan(
        cells, tmp_path, executor=EXECUTOR, workers=workers, on_event=lambda progress: events.append(progress.event)
    )
    scores = {cell.id for cell in cells if cell.kind == "score"}
    assert summary.outcome.failed == {bad.id: "ArithmeticError: as told: badly"}
    assert summary.outcome.blocked == dict.fromkeys(scores, bad.id)
    assert summary.done == len(cells) - 1 - len(scores)
    assert summary.exit_code == 1
    assert all(text in str(summary) for text in (bad.id, "as told: badly", "blocked: 2 cells", str(tmp_path)))
    assert 'raise ArithmeticError(f"as told' in Store(tmp_path).failures()[bad.id]["details"]
    assert Counter(event.name for event in events)["blocked"] == 2


def test_a_worker_that_dies_is_replaced_and_its_cell_tried_again(tmp_path):
    once = make_cell("clean", dies=str(tmp_path / "marker"))
    events: list[Event] = []
    outcome = run_cells([once, *grid()], Store(tmp_path / "out"), EXECUTOR, workers=2, on_event=events.append)
    assert not outcome.failed
    assert len(rows(tmp_path / "out")) == 1 + len(grid())
    (death,) = [event for event in events if event.name == "died"]
    assert death.cell.id == once.id
    assert "signal 9" in death.error


def test_a_cell_that_kills_its_worker_twice_fails_by_name_and_the_run_goes_on(tmp_path):
    killer = make_cell("clean", dies="always")
    after = make_cell("score", (killer.id,))
    summary = run_plan([killer, after, *grid(1)], tmp_path, executor=EXECUTOR)
    assert "signal 9" in summary.outcome.failed[killer.id]
    assert summary.outcome.blocked == {after.id: killer.id}
    assert summary.done == len(grid(1))
    assert "2 times" in Store(tmp_path).failures()[killer.id]["error"]


def test_workers_that_keep_dying_end_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("lustral.bench.engines.local.DEATHS", 3)
    killers = [make_cell("clean", dies="always", start=start) for start in range(20)]
    with pytest.raises(EngineError, match="4 worker processes died"):
        run_cells(killers, Store(tmp_path), EXECUTOR, workers=2)


def test_executors_that_cannot_be_imported_are_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dies_at_import.py").write_text("import os\nos._exit(3)\n")
    (tmp_path / "raises_at_import.py").write_text("raise ImportError('install lustral[extra]')\n")
    for name, message in {
        "no_such_module:f": "No module named 'no_such_module'",
        "tests.bench.grid:nothing": "has no 'nothing'",
        "raises_at_import:f": r"install lustral\[extra\]",
        "dies_at_import:f": "ended with exit code 3",
    }.items():
        with pytest.raises(EngineError, match=message):
            run_cells(grid(1), Store(tmp_path / "out"), name, workers=2)
    with pytest.raises(ImportError, match=r"expected package\.module:function"):
        resolve("tests.bench.grid")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_disk_that_refuses_writes_ends_the_run_at_once_and_the_same_command_resumes(tmp_path, workers):
    (tmp_path / "cells").write_text("in the way")
    with pytest.raises(WriteError, match=r"cannot write .*\.parquet.*run the same command again"):
        run_plan(grid(), tmp_path, executor=EXECUTOR, workers=workers)
    (tmp_path / "cells").unlink()
    assert run_plan(grid(), tmp_path, executor=EXECUTOR, workers=workers).exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_the_same_command_goes_on(tmp_path, number):
    arguments = (tmp_path / "out", "--nap", 0.2, "--defences", 1, "--workers", 2, "--log", tmp_path / "log")
    with start(*arguments) as process:
        assert process.stderr is not None
        wait_for((tmp_path / "log").exists)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        text = process.stderr.read()
        assert process.wait(10) == 130
    assert "the same command goes on" in text
    assert "Traceback" not in text
    assert not any(child.is_running() for child in children)
    done = rows(tmp_path / "out")
    assert 0 < len(done) < 8
    assert run_plan(grid(1, nap=0.2), tmp_path / "out", executor=EXECUTOR, workers=0).skipped == len(done)


def test_workers_end_when_their_parent_is_killed(tmp_path):
    with start(tmp_path / "out", "--nap", 60, "--workers", 2) as process:
        assert process.stderr is not None
        family = psutil.Process(process.pid)
        children = wait_for(lambda: len(found := family.children(recursive=True)) == 2 and found)
        time.sleep(1)  # let them start their naps
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_for(lambda: not any(child.is_running() for child in children), 5)
        process.stderr.read()


def test_two_runs_at_once_do_every_cell_once(tmp_path):
    logs = [tmp_path / "log0", tmp_path / "log1"]
    both = [start(tmp_path / "out", "--nap", 0.03, "--log", log) for log in logs]
    texts = [process.communicate(timeout=60)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes[0] == 0
    if codes[1]:  # the other came while the first worked, not after
        assert any("another run works in" in text for text in texts)
    finished = [line for log in logs if log.exists() for line in log.read_text().split()]
    assert sorted(finished) == sorted(cell.id for cell in grid(nap=0.03))
    run_plan(grid(nap=0.03), tmp_path / "alone", executor=EXECUTOR, workers=0)
    assert rows(tmp_path / "out") == rows(tmp_path / "alone")


def test_two_runs_at_once_without_locks_still_give_one_file_per_cell(tmp_path):
    code = (
        "import sys; from lustral.bench.engines.local import run_cells; from lustral.bench.store import Store\n"
        f"from tests.bench.grid import *; run_cells(grid(), Store({str(tmp_path / 'out')!r}), EXECUTOR, workers=2)"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    run_plan(grid(), tmp_path / "alone", executor=EXECUTOR, workers=0)
    assert rows(tmp_path / "out") == rows(tmp_path / "alone")


def test_a_run_in_a_locked_folder_is_refused_before_it_changes_anything(tmp_path):
    with atomic.locked(tmp_path), pytest.raises(atomic.Busy, match="another run works"):
        run_plan(grid(), tmp_path, recipe={"name": "x"}, executor=EXECUTOR)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_progress_counts_and_estimates_from_the_kinds_that_were_seen(tmp_path):
    heard: list[Progress] = []
    cells = [
        make_cell(kind, nap=nap, start=start) for kind, nap in (("clean", 0.02), ("adaptive", 0.06)) for start in "ab"
    ]
    run_plan(cells, tmp_path, recipe={"name": "x"}, executor=EXECUTOR, workers=0, on_event=heard.append)
    assert [progress.event.name for progress in heard] == ["started", "finished"] * 4
    assert [progress.done for progress in heard] == [0, 1, 1, 2, 2, 3, 3, 4]
    assert heard[0].remaining_seconds is None
    assert heard[5].remaining_seconds == pytest.approx(heard[5].event.seconds)
    assert heard[-1].remaining_seconds == 0
    assert (tmp_path / "recipe.json").exists()


def test_unknown_engines_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one of local"):
        run_plan(grid(), tmp_path, engine="ray")
