"""The store never loses, tears or silently changes a number."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from lustral.bench import atomic
from lustral.bench.cell import CellResult
from lustral.bench.explain import changes, explain
from lustral.bench.provenance import provenance
from lustral.bench.rows import digest_rows, to_table
from lustral.bench.store import Conflict, Store, StoreError, WriteError
from lustral.settings import digest
from tests.bench.grid import Cell, Faulty, execute, grid, make_cell

COLUMNS = {
    "image": ["a", "ü/1"],
    "truth": [1.0, math.nan],
    "purified_clean": [[0.5, -math.inf], []],
    "correct": [[True, None], None],
    "psnr_clean": [math.inf, -0.0],
    "adversarial": [b"\x00\xff", b""],
    "height": [32, 33],
    "queries": [2**40, 0],
    "dead_start": [False, True],
    "picture_clean": [None, None],
    "seconds": [0.1, 0.2],
    "peak_memory": [5, 6],
}
CELL = make_cell("clean", start=0)


def same(left: object, right: object) -> bool:
    return repr(left) == repr(right)  # NaN is NaN, 1 is not 1.0 and not True


def filled(folder: Path, count: int = 4) -> tuple[Store, list[Cell]]:
    store, cells = Store(folder), grid(1, 2)[:count]
    for cell in cells:
        store.write(cell, execute(cell, {need: store.read(need) for need in cell.needs}), {"who": "test"})
    return store, cells


def test_every_value_comes_back_as_it_went_in(tmp_path):
    store = Store(tmp_path / "new" / "folder")
    assert store.done() == set()
    assert store.write(CELL, CellResult(COLUMNS, {"purifier": "ab", "n": 2}), provenance())
    result = store.read(CELL.id)
    assert same(result.columns, COLUMNS)
    assert result.facts == {"purifier": "ab", "n": 2}
    metadata = store.metadata(CELL.id)
    assert metadata["settings"] == CELL.settings
    assert metadata["provenance"]["versions"]["numpy"] == np.__version__
    assert store.done() == {CELL.id}
    assert store.verify() == []


def test_types_do_not_depend_on_which_values_are_null(tmp_path):
    store = Store(tmp_path)
    store.write(CELL, CellResult({"image": ["a"], "broken": [None], "psnr_clean": [None], "truth": [3]}), {})
    schema = parquet.read_schema(store.path(CELL.id))
    assert str(schema.field("broken").type.value_type) == "bool"
    assert [str(schema.field(name).type) for name in ("psnr_clean", "truth")] == ["double", "double"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "one length"),
        ({"image": ["a"], "truth": []}, "one length"),
        ({"image": ["a"], "truth": ["x"]}, "column 'truth' must hold double"),
        ({"image": [object()]}, "column 'image'"),
        ({"height": [2**40]}, "column 'height' must hold int32"),
    ],
)
def test_columns_that_are_no_table_are_refused(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        Store(tmp_path).write(CELL, CellResult(columns), {})
    assert Store(tmp_path).done() == set()


def test_row_digest_sees_every_value_but_not_timing_nor_column_order():
    base = digest_rows(to_table(COLUMNS))
    assert base == digest_rows(to_table(dict(reversed(COLUMNS.items()))))
    assert base == digest_rows(to_table({**COLUMNS, "seconds": [9.0, 9.0], "peak_memory": [1, 1]}))
    changed = {
        "image": ["aü", "/1"],
        "truth": [math.nan, 1.0],
        "purified_clean": [[0.5], [-math.inf]],
        "correct": [[True, False], None],
        "psnr_clean": [math.inf, 0.0],
        "adversarial": [b"\x00", b"\xff"],
        "height": [33, 32],
        "queries": [2**40, 1],
        "dead_start": [True, True],
        "picture_clean": [None, b""],
    }
    digests = {digest_rows(to_table({**COLUMNS, name: values})) for name, values in changed.items()}
    assert len(digests | {base}) == len(changed) + 1
    assert digest_rows(to_table(COLUMNS), timing=True) != digest_rows(
        to_table({**COLUMNS, "seconds": [0, 0]}), timing=True
    )


def test_rows_of_cells_without_strips_have_the_digest_they_always_had():
    """Of version 0.1.0, before there were columns ``picture_steps_*``: no stored file may read as damaged."""
    columns = {"image": ["a"], "truth": [1.0], "correct": [[True]], "picture_clean": [b"P"], "picture_attacked": [None]}
    assert digest_rows(to_table(columns)) == "e97e9a3342ac7423b721ab596c949330adfbe92accd83c83f2dd4bbb11693993"


def test_a_finished_cell_is_never_changed(tmp_path):
    store = Store(tmp_path)
    store.write(CELL, CellResult(COLUMNS), {"by": "first"})
    before = store.path(CELL.id).read_bytes()
    assert not store.write(CELL, CellResult({**COLUMNS, "seconds": [7.0, 7.0]}), {"by": "second"})
    with pytest.raises(Conflict, match="the first are kept"):
        store.write(CELL, CellResult({**COLUMNS, "height": [1, 1]}), {})
    assert store.path(CELL.id).read_bytes() == before


def test_two_writers_that_both_saw_no_file_leave_the_first_one(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write(CELL, CellResult(COLUMNS), {"by": "first"})
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert not store.write(CELL, CellResult(COLUMNS), {"by": "second"})
    with pytest.raises(Conflict):
        store.write(CELL, CellResult({**COLUMNS, "height": [1, 1]}), {})
    assert store.metadata(CELL.id)["provenance"] == {"by": "first"}
    assert [path.name for path in store.cells.iterdir()] == [f"{CELL.id}.parquet"]


def test_an_id_must_be_the_digest_of_the_settings(tmp_path):
    with pytest.raises(ValueError, match="must have the id of its settings"):
        Store(tmp_path).write(replace(CELL, id="0" * 32), CellResult(COLUMNS), {})
    for name in ("../../etc/passwd", "", "ABCDEF0123456789", "a" * 65):
        with pytest.raises(ValueError, match="hexadecimal"):
            Store(tmp_path).read(name)


def test_a_missing_cell_is_a_key_error(tmp_path):
    for method in (Store(tmp_path).read, Store(tmp_path).metadata):
        with pytest.raises(KeyError, match="not finished"):
            method(CELL.id)


def test_two_hundred_flipped_bytes_are_noticed_or_harmless(tmp_path):
    store = Store(tmp_path)
    store.write(CELL, CellResult(COLUMNS, {"purifier": "abc"}), {"who": "test"})
    path = store.path(CELL.id)
    whole, result, metadata = path.read_bytes(), store.read(CELL.id), store.metadata(CELL.id)
    numbers = np.random.default_rng(7)
    noticed, message = 0, ""
    for _ in range(200):
        torn = bytearray(whole)
        torn[numbers.integers(len(torn))] ^= int(numbers.integers(1, 256))
        path.write_bytes(torn)
        problems = store.verify()
        try:
            now = store.read(CELL.id)
        except StoreError as error:
            now, message = None, str(error)
            noticed += 1
        if now is None:
            assert str(path) in message
            assert len(problems) == 1
        else:
            assert same(now, result)
            assert problems == []
        try:
            assert same(store.metadata(CELL.id), metadata)
        except StoreError:
            assert problems
    assert noticed > 100


def test_every_truncation_is_noticed(tmp_path):
    store, (cell, *_) = filled(tmp_path, 1)
    path = store.path(cell.id)
    whole = path.read_bytes()
    for size in {0, 1, len(whole) - 1, *range(0, len(whole), max(1, len(whole) // 50))}:
        path.write_bytes(whole[:size])
        assert len(store.verify()) == 1
        with pytest.raises(StoreError, match="damaged"):
            store.read(cell.id)


def test_verify_finds_what_does_not_belong_and_moves_it_away(tmp_path):
    store, cells = filled(tmp_path)
    first, second, third, _ = (store.path(cell.id) for cell in cells)
    first.write_bytes(b"PAR1 torn")
    third.write_bytes(second.read_bytes())  # whole, but the rows of another cell
    (store.cells / "notes.txt").write_text("mine")
    (store.cells / f".{CELL.id}.elsewhere.1.tmp").write_bytes(b"half")
    store.failed.mkdir()
    (store.failed / f"{CELL.id}.json").write_text('{"error": ')
    messages = {problem.path.name: problem.message for problem in store.verify()}
    assert set(messages) == {first.name, third.name, "notes.txt", f".{CELL.id}.elsewhere.1.tmp", f"{CELL.id}.json"}
    assert "not the id of the settings" in messages[third.name]
    assert "killed" in messages[f".{CELL.id}.elsewhere.1.tmp"]
    moved = [problem.path for problem in store.verify(quarantine=True)]
    assert all(path.exists() for path in moved)
    assert {path.parent.name for path in moved} == {"quarantine", "cells"}
    assert [problem.path.suffix for problem in store.verify()] == [".tmp"]  # its owner may be alive
    assert store.done() == {cells[1].id, cells[3].id}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", ["open", "write", "fsync", "link", "unlink"])
def test_kth_failing_call_leaves_a_readable_store_and_the_next_try_completes(tmp_path, monkeypatch, name, code):
    def fault():
        raise OSError(code, os.strerror(code))

    messages: list[str] = []
    for k in range(1, 100):
        folder = tmp_path / str(k)
        store, (done, *_) = filled(folder, 1)
        before = store.read(done.id)
        faulty = Faulty(k, fault, frozenset({name}))
        monkeypatch.setattr(atomic, "os", faulty)
        try:
            store.write(CELL, CellResult(COLUMNS), {})
        except WriteError as error:
            messages.append(str(error))
        monkeypatch.setattr(atomic, "os", os)
        assert same(store.read(done.id), before)
        assert [problem for problem in store.verify() if not atomic.is_temporary(problem.path)] == []
        store.write(CELL, CellResult(COLUMNS), {})
        assert same(store.read(CELL.id).columns, COLUMNS)
        if faulty.calls < k:
            break
    assert all(f"{CELL.id}.parquet" in text and "run the same command again" in text for text in messages)
    assert all(("disk is full" in text) is (code == errno.ENOSPC) for text in messages)
    assert len(messages) == {"open": 2, "write": 1, "fsync": 2, "link": 1, "unlink": 1}[name]


def test_a_failed_fsync_is_not_asked_again_and_publishes_nothing(tmp_path, monkeypatch):
    asked: list[int] = []

    def fsync(descriptor: int) -> None:
        asked.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(WriteError):
        Store(tmp_path).write(CELL, CellResult(COLUMNS), {})
    assert len(asked) == 1
    assert list(Store(tmp_path).cells.iterdir()) == []


def test_short_writes_are_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:100]))
    store = Store(tmp_path)
    store.write(CELL, CellResult(COLUMNS), {})
    assert store.verify() == []


def test_file_systems_without_hard_links_get_a_rename(tmp_path, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    store = Store(tmp_path)
    assert store.write(CELL, CellResult(COLUMNS), {})
    with pytest.raises(FileExistsError):
        atomic.publish(store.path(CELL.id), b"other")
    assert store.verify() == []
    assert len(list(store.cells.iterdir())) == 1


def test_only_temporaries_of_dead_processes_of_this_machine_are_swept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = atomic._host()
    names = {number: f".{CELL.id}.{host}.{number}.tmp" for number in (dead.pid, os.getpid())}
    for name in (*names.values(), f".{CELL.id}.another-host.{dead.pid}.tmp", ".mine.tmp"):
        (tmp_path / name).touch()
    assert [path.name for path in atomic.sweep(tmp_path)] == [names[dead.pid]]
    assert len(list(tmp_path.iterdir())) == 3


def test_failures_are_recorded_until_the_cell_succeeds_and_never_count_as_done(tmp_path):
    store = Store(tmp_path)
    store.fail(CELL, "ValueError: no", "Traceback ...")
    store.fail(CELL, "ValueError: still no")
    assert store.failures()[CELL.id]["error"] == "ValueError: still no"
    assert store.status([CELL]).failed == 1
    assert store.done() == set()
    store.write(CELL, CellResult(COLUMNS), {})
    assert store.failures() == {}
    assert list(store.failed.iterdir()) == []


def test_status_counts_by_kind(tmp_path):
    store, _ = filled(tmp_path, 4)
    status = store.status(grid(1, 2))
    assert (status.total, status.done, status.failed) == (8, 4, 0)
    assert status.by_kind == {"attack": (2, 2), "clean": (1, 2), "score": (1, 2), "adaptive": (0, 2)}


def test_explain_names_the_setting_that_changed(tmp_path):
    store, cells = filled(tmp_path, 4)
    clean = next(cell for cell in cells if cell.kind == "clean")
    assert "done" in explain(store, clean)
    settings = {**clean.settings, "defence": {"name": "d0", "quality": 75}, "seed": 3}
    again = replace(clean, id=digest(settings), settings=settings)
    text = explain(store, again)
    assert clean.id in text
    assert "defence.quality: (absent) -> 75" in text
    assert "seed: (absent) -> 3" in text
    assert "nap" not in text
    store.fail(again, "OverflowError: big")
    assert "OverflowError: big" in explain(store, again)
    waiting = make_cell("adaptive", (again.id,))
    assert f"not done: {again.id}" in explain(store, waiting)
    assert "no adaptive cell is finished" in explain(store, waiting)


def test_changes_lists_leaves_on_either_side():
    assert changes({"a": [1], "b": {"c": None}}, {"a": [1, 2], "b": {}}) == [
        ("a", "[1]", "[1, 2]"),
        ("b", "(absent)", "{}"),
        ("b.c", "None", "(absent)"),
    ]


def test_the_lock_excludes_a_second_run_and_dies_with_its_owner(tmp_path):
    hold = "import sys, time; from pathlib import Path; from lustral.bench.atomic import locked\n"
    hold += f"with locked(Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        with pytest.raises(atomic.Busy, match=str(owner.pid)), atomic.locked(tmp_path):
            pass
        owner.kill()
        owner.wait()
        with atomic.locked(tmp_path), pytest.raises(atomic.Busy), atomic.locked(tmp_path):
            pass


def test_provenance_is_complete_json():
    about = provenance()
    assert {"lustral", "git", "versions", "python", "platform", "processor", "threads"} <= about.keys()
    assert about["processor"]
    digest(about)


def test_store_loads_no_torch():
    code = "import sys, lustral.bench.store, lustral.bench.explain, lustral.bench.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
