"""Paired measurements in processor time, shared by the benchmarks."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["ENVIRONMENT", "compare", "machine", "start_anew", "write"]

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
}
"""One thread, and an allocator that keeps freed memory: otherwise page faults are a large part of a ratio."""


def start_anew() -> None:
    """Run the script again with ``ENVIRONMENT``, unless it has it."""
    if any(os.environ.get(key) != value for key, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ENVIRONMENT})


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(one: Callable[[], object], other: Callable[[], object], rounds: int) -> dict[str, float]:
    """Median and quartiles of the ratios of ``one`` to ``other``, measured in turns after a warm-up of each."""
    one(), other()
    ratios: list[float] = []
    for turn in range(rounds):
        first = _seconds(one) if turn % 2 else 0.0
        under = _seconds(other)
        ratios.append((first or _seconds(one)) / under)
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {"ratio": round(middle, 4), "lower_quartile": round(low, 4), "upper_quartile": round(high, 4)}


def machine() -> dict[str, Any]:
    """Where a measurement was made."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": platform.machine(),
        "system": platform.system(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),
        "variables": ENVIRONMENT,
    }


def write(report: Mapping[str, Any], file: Path) -> None:
    """Store a report, and show it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1) + "\n"
    file.write_text(text)
    sys.stdout.write(text)
