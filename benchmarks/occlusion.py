"""What multi-scale occlusion maps of an image cost, against one superpixel at a time and against bare passes.

    python benchmarks/occlusion.py [--rounds 200] [--large-rounds 5] [--out benchmarks/results/occlusion.json]

Images of 32 px are CIFAR-10 test images (``LUSTRAL_DATA`` says where they are) with 5, 10 and 15 superpixels and the
shipped classifier; the one of 256 px is a photograph of scikit-image with 100, 200 and 300 superpixels and the
shipped quality network, since no classifier for that size is shipped.

"loop" is the time of one superpixel at a time, in the manner of listing D.1 of paper 001, over ours: for every scale
the image is segmented and passed once, and for every superpixel a copy without it is passed alone. The listing hands
the superpixel's pixels to an imputer that it does not print; here the image is blurred once, as for ours, so that the
passes and not the imputer make the difference. A ratio of 3 means that ours is three times faster. "alone" is what
batches by themselves are worth: passes of one image each over passes of the same images in batches. It depends on the
processor and on the target, and bounds "loop", but for the image's own pass, which the loop makes at every scale; so
both are also measured with two other shipped targets at 32 px ("scenes", "transformer"), whose passes are short.

"bare" is our time over that of passes alone, as many as there are superpixels and one for the image, in our batches but
without what fills up the last one. "occlusion" is the same with superpixels and blur given. "bare" should not exceed
1.15. What segmentation takes does not depend on the target, at 32 px as long as two and a half passes of the shipped
classifier, so with smaller targets it does; with the classifier of paper 001 ("wide": WideResNet-28-10 with random
weights) it is hardly to be seen.

Maps are made as ``msid`` makes them, first all superpixels of a batch of images, then their passes image by image.
Made of one image after the other ("one") they cost more: after a pass, nothing else is at hand in the processor.

Both sides alternate in one single-threaded process and are timed in processor time, so that other work on the machine
touches both alike; the figure is the median of the paired ratios. The process starts itself anew with an allocator
that keeps freed memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from paired import compare, machine, start_anew, write
from skimage.data import astronaut
from torch import Tensor, nn

from lustral.data import parse_data
from lustral.purifiers.occlusion import fillings, sensitivity
from lustral.purifiers.superpixels import superpixels
from lustral.targets import parse_target
from lustral.tensors import from_uint8

Network = Callable[[Tensor], Tensor]
BATCH, COUNT, FASTER = 32, 16, 3.0
COMPARISONS = ("alone", "loop", "bare", "one", "occlusion")
LIMITS = dict.fromkeys(("bare_32", "bare_32_wide", "bare_256", "occlusion_32", "occlusion_256"), 1.15)
OTHERS = {"scenes": "scenes_classifier", "transformer": "transformer_quality"}
SMALL, LARGE = ("cifar10_classifier", (5, 10, 15)), ("photo_quality", (100, 200, 300))


def small() -> Tensor:
    """CIFAR-10 test images."""
    return from_uint8(np.stack(parse_data(f"cifar10:split=test,count={COUNT}").load().images))


def large() -> Tensor:
    """One photograph of 256 x 256 pixels."""
    return from_uint8(astronaut()[None, :256, 100:356].copy())


class _Wide(nn.Module):
    """Block of a wide residual network: twice normalisation, rectifier and convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.start = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        )
        self.skip = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.start(x)
        return self.body(y) + (x if self.skip is None else self.skip(y))


def wide(depth: int = 28, factor: int = 10, classes: int = 10) -> Network:
    """WideResNet-28-10 of arXiv:1605.07146, 36.5 million weights, not trained: its passes take as long."""
    torch.manual_seed(0)
    blocks: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)]
    inputs = 16
    for stage, width in enumerate((16 * factor, 32 * factor, 64 * factor)):
        for block in range((depth - 4) // 6):
            blocks.append(_Wide(inputs, width, 2 if stage and not block else 1))
            inputs = width
    end = (nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*blocks, *end, nn.Linear(inputs, classes)).eval()


Prepared = tuple[Tensor, Tensor, list[Tensor]]


def prepare(images: Tensor, scales: Sequence[int]) -> Prepared:
    """Images with their superpixels at all scales and what takes their place."""
    labels = torch.stack([superpixels(image, scales) for image in images])
    return images, labels, [fillings(image, "blur") for image in images]


@torch.no_grad()
def occlude(network: Network, prepared: Prepared) -> Tensor:
    """The maps of all images by the library (n, s, h, w)."""
    images, labels, filled = prepared
    return sensitivity(images, labels, network, filled, batch=BATCH)


def change(before: Tensor, after: Tensor) -> Tensor:
    """Drop of the probability of the class seen before, or change of the score, of one image."""
    if before.ndim == 1:
        return (after - before).abs()[0]
    return (before.softmax(1) - after.softmax(1))[0, before.argmax()]


@torch.no_grad()
def loop(network: Network, images: Tensor, scales: Sequence[int]) -> Tensor:
    """The same maps, one superpixel at a time."""
    found: list[Tensor] = []
    for image in images:
        maps: list[Tensor] = []
        blurred = fillings(image, "blur")[0]
        for count in scales:
            before, labels = network(image[None]), superpixels(image, (count,))[0]
            heat = torch.zeros(image.shape[1:])
            for label in labels.unique():
                occluded, mask = image.clone(), labels == label
                occluded[:, mask] = blurred[:, mask]
                heat[mask] = change(before, network(occluded[None]))
            maps.append(heat)
        found.append(torch.stack(maps))
    return torch.stack(found)


def batches(images: Tensor, scales: Sequence[int]) -> list[Tensor]:
    """Batches of the size and, all in all, the number of images that ``ours`` needs."""
    found: list[Tensor] = []
    for image in images:
        needed = int((superpixels(image, scales).amax((1, 2)) + 1).sum()) + 1
        size = -(-needed // -(-needed // BATCH))
        found += image.expand(needed, -1, -1, -1).contiguous().split(size)
    return found


@torch.no_grad()
def bare(network: Network, given: Sequence[Tensor]) -> None:
    """Passes, nothing else."""
    for x in given:
        network(x)


def measure(
    network: Network, scales: Sequence[int], images: Tensor, rounds: int, names: Sequence[str] = COMPARISONS
) -> dict[str, dict[str, float]]:
    """The comparisons for one network and size of images."""
    given, prepared = batches(images, scales), prepare(images, scales)
    difference = float((occlude(network, prepared) - loop(network, images, scales)).abs().max())
    facts = {"rounds": rounds, "images": len(images), "passes": sum(map(len, given)), "difference": difference}

    def ours() -> None:
        occlude(network, prepare(images, scales))

    def one() -> None:
        for image in images:
            occlude(network, prepare(image[None], scales))

    def passes() -> None:
        bare(network, given)

    def alone() -> None:
        bare(network, [image[None] for x in given for image in x])

    pairs_of_work = {
        "alone": (alone, passes),
        "loop": (lambda: loop(network, images, scales), ours),
        "bare": (ours, passes),
        "one": (one, passes),
        "occlusion": (lambda: occlude(network, prepared), passes),
    }
    side = images.shape[-1]
    return {f"{name}_{side}": {**compare(*pairs_of_work[name], rounds), **facts} for name in names}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(description="What multi-scale occlusion maps cost")
    parser.add_argument("--rounds", type=int, default=200, help="paired measurements at 32 px")
    parser.add_argument(
        "--large-rounds", type=int, default=5, help="paired measurements at 256 px and with the wide network"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "occlusion.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    environment = machine()
    name, scales = SMALL
    results = measure(parse_target(name).build(), scales, small(), options.rounds)
    for suffix, other in OTHERS.items():
        found = measure(
            parse_target(other).build(), scales, small(), max(2, options.rounds // 4), ["alone", "loop", "bare"]
        )
        results |= {f"{key}_{suffix}": figures for key, figures in found.items()}
    if options.large_rounds:
        found = measure(wide(), scales, small()[:3], options.large_rounds, ["alone", "loop", "bare", "one"])
        results |= {f"{key}_wide": figures for key, figures in found.items()}
        name, scales = LARGE
        results |= measure(parse_target(name).build(), scales, large(), options.large_rounds)
    for key in ("loop_32", *(f"loop_32_{suffix}" for suffix in OTHERS)):
        results[key]["at_least"] = FASTER
    for name, limit in LIMITS.items():
        results.get(name, {})["limit"] = limit
    report = {
        "benchmark": "occlusion",
        "setting": f"32 px: {SMALL[0]}, wide: WideResNet-28-10, "
        f"{', '.join(f'{suffix}: {other}' for suffix, other in OTHERS.items())}, superpixels {SMALL[1]}; "
        f"256 px: {LARGE[0]}, superpixels {LARGE[1]}; "
        f"batches of at most {BATCH}",
        "measured": "processor time, median of paired ratios: loop over ours, ours over bare passes",
        "rounds": options.rounds,
        "environment": environment,
        "results": results,
    }
    write(report, options.out)


if __name__ == "__main__":
    start_anew()
    main()
