"""What DeepFool costs, in the time that adversarial-library takes for it.

    python benchmarks/deepfool.py --reference CHECKOUT [--rounds 9] [--out benchmarks/results/deepfool.json]

CHECKOUT is a folder with the sources of https://github.com/jeromerony/adversarial-library, whose DeepFool is batched
and lets images leave one by one too. Both sides see the same CIFAR-10 test images (``LUSTRAL_DATA`` says where they
are) and the shipped classifier, which is right about all of them, look at all nine wrong classes and may take 50
steps. They alternate in one single-threaded process and are timed in processor time, so that other work on the machine
touches both alike; the figure is the median of the paired ratios. The process starts itself anew with an allocator
that keeps freed memory: otherwise page faults, which come and go with the heap's layout, are a large part of it.

Ours does more for its time: an image counts only once it is broken as an 8-bit image.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from paired import compare, machine, start_anew, write
from torch import Tensor

from lustral.attacks import Access, DeepFool
from lustral.attacks.goals import Misclassify
from lustral.attacks.oracle import Oracle
from lustral.data import parse_data
from lustral.seeds import Noise
from lustral.targets import parse_target
from lustral.tensors import from_uint8, quantise

BATCH, STEPS, TARGETS, OVERSHOOT = 64, 50, 9, 0.02
NETWORK, LIMIT = "cifar10_classifier", 1.3
Network = Callable[[Tensor], Tensor]
Attack = Callable[[Network, Tensor, Tensor], Tensor]


def problem() -> tuple[Network, Tensor, Tensor]:
    """The shipped classifier and the first test images that it gets right, with their labels."""
    network, data = parse_target(NETWORK).build(), parse_data(f"cifar10:split=test,count={2 * BATCH}").load()
    x, labels = from_uint8(np.stack(data.images)), torch.as_tensor(data.truth)
    with torch.no_grad():
        right = (network(x).argmax(1) == labels).nonzero().flatten()[:BATCH]
    return network, x[right], labels[right]


def ours(network: Network, x: Tensor, labels: Tensor) -> Tensor:
    """Our DeepFool without a budget."""
    settings, keys = DeepFool(steps=STEPS, targets=TARGETS, overshoot=OVERSHOOT), [str(row) for row in range(len(x))]
    oracle = Oracle(network, Misclassify(labels), x, Noise(0, "oracle", keys), Access(), ball=settings.ball())
    return settings.run(oracle, x, Noise(0, "attack", keys))


def reference(checkout: Path) -> Attack:
    """DeepFool of the checkout, from its one file: the package itself also imports what is not needed here."""
    file = checkout / "adv_lib" / "attacks" / "deepfool.py"
    if not file.is_file():
        raise SystemExit(f"--reference needs a checkout of adversarial-library, found no {file}")
    sys.path.insert(0, str(checkout))
    specification = importlib.util.spec_from_file_location("reference_deepfool", file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        specification.loader.exec_module(module)
    return lambda network, x, labels: module.df(network, x, labels, steps=STEPS, overshoot=OVERSHOOT)


@torch.no_grad()
def outcome(network: Network, x: Tensor, labels: Tensor, found: Tensor) -> dict[str, float]:
    """Share misclassified, as it is and as 8-bit images, and the median L2 length."""
    broken, rounded = ((network(images).argmax(1) != labels).float().mean() for images in (found, quantise(found)))
    length = (found - x).flatten(1).norm(dim=1).median()
    return {"broken": round(float(broken), 4), "broken_8_bit": round(float(rounded), 4), "l2": round(float(length), 4)}


def measure(checkout: Path, rounds: int) -> dict[str, dict[str, float]]:
    """The comparison, with its limit, and what either side found."""
    (network, x, labels), theirs = problem(), reference(checkout)
    figures = compare(lambda: ours(network, x, labels), lambda: theirs(network, x, labels), rounds)
    found = {"ours": ours(network, x, labels), "theirs": theirs(network, x, labels)}
    sides = {
        f"{key}_{side}": value
        for side, images in found.items()
        for key, value in outcome(network, x, labels, images.detach()).items()
    }
    return {"deepfool": {**figures, "limit": LIMIT, **sides}}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, required=True, help="checkout of adversarial-library")
    parser.add_argument("--rounds", type=int, default=9, help="paired measurements")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "deepfool.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    report = {
        "benchmark": "deepfool",
        "setting": f"{NETWORK}, {BATCH} CIFAR-10 test images, {TARGETS} wrong classes, at most {STEPS} steps",
        "measured": "processor time, median of paired ratios over adversarial-library",
        "rounds": options.rounds,
        "environment": machine(),
        "results": measure(options.reference, options.rounds),
    }
    write(report, options.out)


if __name__ == "__main__":
    start_anew()
    main()
