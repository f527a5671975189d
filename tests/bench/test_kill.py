"""SIGKILL at any instant loses no finished cell, repeats none and changes no number."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from lustral.bench.atomic import is_temporary
from lustral.bench.store import Store
from tests.bench.grid import grid, main
from tests.bench.kills import ROOT, Tally, _inspect, command, digests, torture, uninterrupted

WORK = ["--nap", 0.015]


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> tuple[dict[str, str], float]:
    return uninterrupted(tmp_path_factory.mktemp("truth") / "out", [*WORK, "--workers", 1])


@pytest.mark.parametrize(
    ("kills", "variants"),
    [
        (20, [["--workers", 1]]),
        (20, [["--workers", 2, "--order", 1], ["--workers", 2, "--order", 2], ["--workers", 2]]),
    ],
    ids=["one worker", "two workers in shuffled orders"],
)
def test_random_kills_lose_nothing_repeat_nothing_change_nothing(tmp_path, truth, kills, variants):
    expected, seconds = truth
    assert len(expected) == len(grid())
    tally = torture(tmp_path, [[*WORK, *variant] for variant in variants], kills, 3, expected, seconds)
    assert tally.problems == []
    assert tally.kills == kills
    assert tally.amid >= 5, f"only {tally.amid} of {kills} kills hit a run amid its work"


def test_the_inspection_notices_losses_repetitions_damage_and_differences(tmp_path, truth):
    expected, _ = truth
    out, log = tmp_path / "out", tmp_path / "log"
    subprocess.run(command(out, log, ["--workers", 0, *WORK]), cwd=ROOT, check=True)
    store = Store(out)
    lost, again, torn, *_ = sorted(store.done())
    seen = _inspect(out, log, {}, expected, tally := Tally())
    assert tally.problems == []
    store.path(lost).unlink()
    log.write_text(log.read_text() + f"{again}\n")
    assert seen == {**seen, **_inspect(out, log, seen, {**expected, torn: "other"}, tally)}
    assert (tally.lost, tally.duplicated, tally.damaged, tally.different) == ([lost], [again], [], [torn])
    content = store.path(torn).read_bytes()
    store.path(torn).write_bytes(content[:100] + b"x" + content[101:])
    with pytest.raises(RuntimeError, match="damaged"):
        digests(out)


def test_a_kill_before_any_call_into_the_operating_system_is_survived(tmp_path):
    small = ["--workers", 0, "--defences", 0, "--chunks", 1]
    assert main([str(tmp_path / "truth"), *map(str, small)]) == 0
    expected = digests(tmp_path / "truth")
    deaths = 0
    for k in range(1, 50):
        out = tmp_path / str(k)
        dying = command(out, out.with_suffix(".log"), [*small, "--die-at", k])
        code = subprocess.run(dying, cwd=ROOT, stderr=subprocess.DEVNULL, check=False).returncode
        assert [item for item in Store(out).verify() if not is_temporary(item.path)] == []
        assert digests(out).items() <= expected.items()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        deaths += 1
        assert main([str(out), *map(str, small)]) == 0
        assert digests(out) == expected
        assert Store(out).verify() == []
    assert deaths >= 7  # lock, then unlink, open, write, fsync, link, unlink, open, fsync


@pytest.mark.slow
def test_the_real_recipe_survives_kills(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "tests.torture", "--kills", "20", "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 lost, 0 duplicated, 0 damaged, 0 different" in result.stdout
