"""What purification by diffusion, and an exact gradient through it, cost beyond the network passes they need.

    python benchmarks/diffusion_gradients.py [--rounds 9] [--out benchmarks/results/diffusion_gradients.json]

Both sides of a ratio alternate in one single-threaded process and are timed in processor time, so that other work
on the machine touches both alike; the figure is the median of the paired ratios. The process starts itself anew with
an allocator that keeps freed memory: otherwise page faults are a large part of the figure. Memory is the peak of a
fresh process for every number of steps, less what it held before the gradient; once with an allocator that gives back
what is freed, so that it is what tensors need, and once with the usual one, whose heap has holes.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from paired import compare, machine, start_anew, write
from torch import Tensor

from lustral.diffusion import load_denoiser
from lustral.nets.unet import NoiseUNet
from lustral.purifiers.diffpure import DiffPure
from lustral.purifiers.module import Purifier
from lustral.seeds import Noise
from lustral.steps import checkpointing

BATCH, SIDE, TIME = 16, 32, 100
NETWORK = "cifar10_denoiser"
LIMITS = {
    "reverse_loop": 1.10,
    "checkpointed_gradient": 1.55,
    "memory_of_100_steps": 1.5,
    "memory_of_100_steps_usual_allocator": 1.5,
}
RETURNING = {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}
KEYS = [str(row) for row in range(BATCH)]


def images() -> Tensor:
    """Random 8-bit images."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), generator=generator).float() / 255


@torch.no_grad()
def purify(purifier: Purifier, x: Tensor) -> None:
    """One purification of the batch without gradient."""
    purifier(x, Noise(0, "benchmark", KEYS))


@torch.no_grad()
def bare_passes(network: NoiseUNet, x: Tensor, count: int) -> None:
    """``count`` forward passes of the network, nothing else."""
    level = torch.full((len(x),), -0.3)
    for _ in range(count):
        network(x, level)


def gradient(purifier: Purifier, x: Tensor, checkpointed: bool) -> None:
    """The exact gradient of the sum of all purified values."""
    leaf = x.detach().requires_grad_()
    with checkpointing(checkpointed):
        value = purifier(leaf, Noise(0, "benchmark", KEYS)).sum()
    torch.autograd.grad(value, leaf)


def peak() -> float:
    """Most memory this process ever held, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def report_memory(steps: int) -> None:
    """Write how much a checkpointed gradient through ``steps`` steps adds to the peak, in MiB."""
    purifier, x = DiffPure(denoiser=NETWORK, time=TIME, steps=steps).build(), images()
    before = peak()
    gradient(purifier, x, checkpointed=True)
    sys.stdout.write(f"{peak() - before}\n")


def memory(allocator: dict[str, str]) -> dict[str, float]:
    """Peaks of 10 and 100 steps, medians of 3 processes each, which start with the peak of what this one holds."""
    usual = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    found: list[float] = []
    for steps in (10, 100):
        command = [sys.executable, __file__, "--memory", str(steps)]
        peaks = [
            subprocess.run(command, check=True, capture_output=True, text=True, env={**usual, **allocator}).stdout
            for _ in range(3)
        ]
        found.append(statistics.median(map(float, peaks)))
    few, many = found
    return {"ratio": round(many / few, 4), "mib_10": round(few, 1), "mib_100": round(many, 1)}


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """All comparisons, each with its limit."""
    exact, usual = memory(RETURNING), memory({})  # before this process grows
    network = next(part for part in load_denoiser(NETWORK).modules() if isinstance(part, NoiseUNet))
    x = images()
    loop, short = (DiffPure(denoiser=NETWORK, time=TIME, steps=steps).build() for steps in (20, 10))
    found = {
        "reverse_loop": compare(lambda: purify(loop, x), lambda: bare_passes(network, x, 20), rounds),
        "checkpointed_gradient": compare(lambda: gradient(short, x, True), lambda: gradient(short, x, False), rounds),
        "memory_of_100_steps": exact,
        "memory_of_100_steps_usual_allocator": usual,
    }
    return {name: {**figures, "limit": LIMITS[name]} for name, figures in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="paired measurements per figure")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "diffusion_gradients.json")
    parser.add_argument("--memory", type=int, metavar="STEPS", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.memory is not None:
        return report_memory(options.memory)
    report = {
        "benchmark": "diffusion_gradients",
        "setting": f"diffpure at time {TIME} with {NETWORK}, {BATCH} images of {SIDE} x {SIDE}; 20 strides over 20 "
        "bare network passes, checkpointed over plain gradient through 10, memory through 100 strides over 10",
        "measured": "processor time, median of paired ratios; memory, ratio of medians of 3 processes",
        "rounds": options.rounds,
        "environment": machine(),
        "results": measure(options.rounds),
    }
    write(report, options.out)
    return None


if __name__ == "__main__":
    if "--memory" not in sys.argv:
        start_anew()
    main()
