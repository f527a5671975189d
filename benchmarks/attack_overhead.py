"""What attacks cost beyond the network passes they need.

    python benchmarks/attack_overhead.py [--rounds 9] [--out benchmarks/results/attack_overhead.json]

Attack and bare passes alternate in one single-threaded process and are timed in processor time, so that
other work on the machine touches both alike; the figure is the median of the paired ratios. The
network is the shipped CIFAR-10 classifier, 35 ms for a forward and backward pass of the batch; its
parameters stay unfrozen on both sides. The process starts itself anew with an allocator that
keeps freed memory: otherwise page faults, which come and go with the heap's layout, are half of the figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from paired import compare, machine, start_anew, write
from torch import Tensor, nn
from torch.nn import functional

from lustral.attacks import (
    APGD,
    IFGSM,
    MADC,
    NES,
    PGD,
    SPSA,
    SSAH,
    Access,
    AttackSettings,
    CarliniWagner,
    Korhonen,
    NAttack,
    Square,
    StAdv,
    Zhang,
)
from lustral.attacks.goals import Misclassify
from lustral.attacks.oracle import Oracle
from lustral.nets.full_reference import SSIM
from lustral.seeds import Noise
from lustral.targets import parse_target

BATCH, SIDE, FALLING = 32, 32, 0.8
NETWORK = "cifar10_classifier"
LIMITS = {
    "pgd_40": 1.10,
    "apgd_50": 1.10,
    "pgd_40_80_percent_fall": 0.60,
    "square_200": 1.15,
    "square_l2_200": 1.15,
    "carlini_wagner_2_x_25": 1.15,
    "nattack_202": 1.15,
    "spsa_257": 1.15,
    "nes_201": 1.15,
    "stadv_50": 1.15,
    "ifgsm_40": 1.10,
    "madc_40": 1.10,
    "korhonen_40": 1.10,
    "zhang_ssim_40": 1.10,
    "ssah_40": 1.15,
}


class Sure(nn.Module):
    """A network whose class 0 is out of reach of any attack, for images whose first pixel is bright red."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        ahead = functional.pad((x[:, 0, 0, :1].detach() > 0.5).to(x) * 1e3, (0, logits.shape[1] - 1))
        return logits + ahead


def problem() -> tuple[nn.Module, Tensor, Tensor]:
    """The shipped classifier, random 8-bit images, and labels that ``FALLING`` of the images lose at the first step."""
    generator = torch.Generator().manual_seed(0)
    network = parse_target(NETWORK).build().requires_grad_(True)
    x = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), generator=generator).float() / 255
    safe = torch.arange(BATCH) >= round(FALLING * BATCH)
    x[:, 0, 0, 0] = torch.where(safe, 1.0, 0.0)
    with torch.no_grad():
        labels = torch.where(safe, 0, network(x).argmin(1))
    return Sure(network), x, labels


def attack(network: nn.Module, x: Tensor, labels: Tensor, settings: AttackSettings) -> Oracle:
    """Run one attack on the undefended network and return its oracle."""
    keys = [str(row) for row in range(len(x))]
    access = Access(knowledge="scores" if settings.needs == "scores" else "exact")
    oracle = Oracle(network, Misclassify(labels), x, Noise(0, "oracle", keys), access, ball=settings.ball())
    settings.run(oracle, x, Noise(0, "attack", keys))
    return oracle


def bare_gradients(network: nn.Module, x: Tensor, labels: Tensor, count: int) -> None:
    """``count`` forward and backward passes to the image, nothing else."""
    for _ in range(count):
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(functional.cross_entropy(network(leaf), labels, reduction="sum"), leaf)


def bare_gradients_and_distances(network: nn.Module, x: Tensor, labels: Tensor, count: int) -> None:
    """``count`` forward and backward passes to the image of the network and of the SSIM, nothing else."""
    measure = SSIM()
    reference = measure.describe(x)
    for _ in range(count):
        bare_gradients(network, x, labels, 1)
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(measure.compare(measure.describe(leaf), reference).sum(), leaf)


@torch.no_grad()
def bare_forwards(network: nn.Module, x: Tensor, labels: Tensor, count: int) -> None:
    """``count`` forward passes, nothing else."""
    for _ in range(count):
        network(x)


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """All comparisons, each with its limit."""
    network, x, labels = problem()
    cases: dict[str, tuple[AttackSettings, Callable[[nn.Module, Tensor, Tensor, int], None], int]] = {
        "pgd_40": (PGD(steps=40), bare_gradients, 40),
        "apgd_50": (APGD(steps=50), bare_gradients, 50),
        "pgd_40_80_percent_fall": (PGD(steps=40, early_stop=True), bare_gradients, 40),
        "square_200": (Square(queries=200, early_stop=False), bare_forwards, 200),
        "square_l2_200": (Square(norm="l2", epsilon=0.5, queries=200, early_stop=False), bare_forwards, 200),
        "carlini_wagner_2_x_25": (CarliniWagner(steps=25, searches=2, epsilon=0.5), bare_gradients, 50),
        "nattack_202": (NAttack(queries=202, population=100, early_stop=False), bare_forwards, 202),
        "spsa_257": (SPSA(queries=257, early_stop=False), bare_forwards, 257),
        "nes_201": (NES(queries=201, early_stop=False), bare_forwards, 201),
        "stadv_50": (StAdv(steps=50), bare_gradients, 50),
        "ifgsm_40": (IFGSM(steps=40), bare_gradients, 40),
        "madc_40": (MADC(steps=40), bare_gradients, 40),
        "korhonen_40": (Korhonen(steps=40), bare_gradients, 40),
        "zhang_ssim_40": (Zhang(steps=40), bare_gradients_and_distances, 40),
        "ssah_40": (SSAH(steps=40), bare_gradients, 40),
    }
    found: dict[str, dict[str, float]] = {}
    for name, (settings, bare, count) in cases.items():
        oracle = attack(network, x, labels, settings)
        figures = compare(
            lambda settings=settings: attack(network, x, labels, settings),
            lambda bare=bare, count=count: bare(network, x, labels, count),
            rounds,
        )
        stopped = float((oracle.queries < oracle.queries.max()).float().mean())
        found[name] = {**figures, "limit": LIMITS[name], "stopped_early": round(stopped, 3)}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="paired measurements per figure")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "attack_overhead.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    report = {
        "benchmark": "attack_overhead",
        "setting": f"{NETWORK}, {BATCH} images of {SIDE} x {SIDE}, parameters unfrozen",
        "measured": "processor time, median of paired ratios over bare passes",
        "rounds": options.rounds,
        "environment": machine(),
        "results": measure(options.rounds),
    }
    write(report, options.out)


if __name__ == "__main__":
    start_anew()
    main()
