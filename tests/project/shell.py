"""Running this project's Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(*arguments: str | Path, cwd: Path = ROOT, source: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``python ARGUMENTS`` in ``cwd``, with ``source`` in front of the installed package if it is given."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "COLUMNS": "200"}
    if source is not None:
        environment["PYTHONPATH"] = str(source)
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def lustral(*arguments: str | Path, cwd: Path = ROOT, source: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``lustral ARGUMENTS``."""
    return python("-m", "lustral.cli", *arguments, cwd=cwd, source=source)
