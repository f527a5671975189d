"""What starts fast stays fast: nothing that only looks at settings or at stored results loads torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.shell import ROOT, python

HEAVY = ("torch", "torchvision", "timm", "kornia", "skimage")

# Runs commands one after the other in one process, as the entry point does, and says what they loaded.
COMMANDS = """
import sys
from lustral.cli import main
for arguments in {lists}:
    sys.argv = ["lustral", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
print("LOADED", [name for name in {heavy} if name in sys.modules])
"""


def test_importing_lustral_loads_no_torch():
    done = python("-X", "importtime", "-c", "import lustral")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "lustral" in loaded
    assert not loaded & {*HEAVY, "numpy", "pydantic"}


@pytest.mark.parametrize("command", ["--help", "status"])
def test_help_and_status_load_no_torch(command, tiny_run):
    arguments = [command, tiny_run / "out"] if command == "status" else [command]
    done = python("-X", "importtime", "-m", "lustral.cli", *arguments)
    assert done.returncode == 0, done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & set(HEAVY)


def test_commands_that_only_read_load_no_torch(tiny_run):
    out = str(tiny_run / "out")
    cell = next((tiny_run / "out" / "cells").glob("*.parquet")).stem
    lists = [["list", kind] for kind in ("purifiers", "attacks", "targets", "data", "recipes", "weights")]
    lists += [
        ["verify", out],
        ["explain", out, cell],
        ["report", out],
        ["run", str(tiny_run / "tiny.toml"), "--dry-run"],
    ]
    done = python("-c", COMMANDS.format(lists=lists, heavy=HEAVY))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_the_check_would_see_torch():
    done = python("-c", "import sys, lustral; lustral.to_uint8; print('torch' in sys.modules)")
    assert done.stdout == "True\n"


def test_imports_point_down_only():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
