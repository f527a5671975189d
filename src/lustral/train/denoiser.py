"""Train a denoiser for diffusion: one loop for every image set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lustral.data.base import ImageSet
from lustral.data.cifar import Cifar10
from lustral.data.scenes import Scenes
from lustral.diffusion.preconditioned import DEVIATION, PreconditionedDenoiser
from lustral.diffusion.samplers import State
from lustral.purifiers.diffpure import DiffPure
from lustral.seeds import Noise, seed_of
from lustral.targets import TARGETS
from lustral.tensors import from_uint8
from lustral.train.loop import optimise
from lustral.train.settings import DenoiserTraining, Progress

__all__ = ["REPORTED", "denoising_psnr", "purified_accuracy", "train_denoiser"]

SMALLEST, LARGEST = 0.02, 80.0
REPORTED = (0.1, 0.25, 0.5, 1.0)
JUDGED_IMAGES = 500
SCORED_IMAGES = 500  # after every epoch; the weight card uses all


@torch.no_grad()
def denoising_psnr(model: nn.Module, images: Tensor, sigma: float, batch: int = 250, device: str = "cpu") -> float:
    """Mean PSNR in dB of uint8 images (n, 3, h, w) with seeded noise of deviation ``sigma`` after one pass."""
    generator = torch.Generator().manual_seed(seed_of("denoising_psnr", sigma))
    found: list[Tensor] = []
    for part in images.split(batch):
        x = part.float().div(127.5).sub(1)
        noisy = (x + sigma * torch.randn(x.shape, generator=generator)).to(device)
        guess = model(noisy, torch.full((len(x),), sigma, device=device)).clamp(-1, 1).cpu()
        found.append(-10 * ((guess - x) / 2).square().flatten(1).mean(1).log10())
    return float(torch.cat(found).mean())


@torch.no_grad()
def purified_accuracy(settings: DenoiserTraining, weights: dict[str, Tensor]) -> tuple[dict[str, float], str]:
    """Accuracy of the shipped classifier on clean test images as they are and after three purifications.

    ``one_shot``: noise of 0.25 and one pass; ``diffpure``: time step 100 and back in 100 or in 10 strides.

    Cost: 111 passes per image, ``JUDGED_IMAGES`` images.
    """
    classifier = TARGETS[f"{settings.data}_classifier"].make().build()
    test = (Cifar10 if settings.data == "cifar10" else Scenes)(split="test", count=JUDGED_IMAGES).load()
    denoise = PreconditionedDenoiser.of(settings.model_dump())
    denoise.load_state_dict(weights)
    denoise.eval()
    images = from_uint8(test.stack())
    truth = torch.from_numpy(test.truth)

    def correct(clean: Callable[[State, Noise], State]) -> float:
        hits = 0
        for rows in torch.arange(len(images)).split(100):
            noise = Noise(settings.seed, "judge", [test.ids[row] for row in rows.tolist()])
            x = ((clean(2 * images[rows] - 1, noise) + 1) / 2).clamp(0, 1)
            hits += int((classifier(x).argmax(1) == truth[rows]).sum())
        return hits / len(images)

    def one_shot(x: State, noise: Noise) -> State:
        return denoise(x + 0.25 * noise.normal(x), torch.full((len(x),), 0.25))

    scores = {"accuracy_clean": correct(lambda x, _: x), "accuracy_one_shot_0.25": correct(one_shot)}
    for steps in (100, 10):
        purifier = DiffPure(time=100, steps=steps)
        scores[f"accuracy_diffpure_100_{steps}"] = correct(lambda x, noise, p=purifier: p.clean(denoise, x, noise))
    return scores, f"accuracies on {len(test)} images of {test.name}"


def _crops(images: Sequence[NDArray[np.uint8]], rows: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A random square part of every chosen image, uint8 (n, 3, side, side)."""
    places = torch.rand(len(rows), 2, generator=generator).tolist()
    parts: list[NDArray[np.uint8]] = []
    for row, (down, across) in zip(rows.tolist(), places, strict=True):
        image = images[row]
        top, left = int(down * (image.shape[0] - side + 1)), int(across * (image.shape[1] - side + 1))
        parts.append(image[top : top + side, left : left + side])
    return torch.from_numpy(np.stack(parts).transpose(0, 3, 1, 2).copy())


def _turned(x: Tensor, dihedral: bool, generator: torch.Generator) -> Tensor:
    across, down, transposed = torch.rand(3, len(x), 1, 1, 1, generator=generator) < 0.5
    x = torch.where(across, x.flip(3), x)
    if dihedral:
        x = torch.where(down, x.flip(2), x)
        x = torch.where(transposed, x.transpose(2, 3), x)
    return x


def _levels(settings: DenoiserTraining, n: int, generator: torch.Generator) -> Tensor:
    usual = torch.randn(n, generator=generator) * settings.log_deviation + settings.log_mean
    low, high = math.log(SMALLEST), math.log(LARGEST)
    wide = low + (high - low) * torch.rand(n, generator=generator)
    chosen = torch.where(torch.rand(n, generator=generator) < settings.uniform, wide, usual)
    return chosen.clamp(low, high).exp()


def train_denoiser(
    settings: DenoiserTraining,
    train: ImageSet,
    test: ImageSet,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train, and return the averaged weights and a record of the run.

    A run that finds ``checkpoint`` goes on from there, see ``lustral.train.loop.optimise``.

    Cost: ``epochs * len(train)`` forward and backward passes in bfloat16.

    Source: Karras et al., arXiv:2206.00364, table 1 (preconditioning, loss weight, noise levels). Differs: a
        share of the noise levels is log-uniform from 0.02 to 80, so that sampling from pure noise works with a
        small network; no augmentation pipe.

    Raises:
        ValueError: images smaller than ``side``.
    """
    side = settings.side
    small = [name for name, image in zip(train.ids, train.images, strict=True) if min(image.shape[:2]) < side]
    if small:
        raise ValueError(f"side={side} must not exceed the training images; smaller: {', '.join(small[:3])}")
    held_out = _crops(test.images, torch.arange(len(test)), side, torch.Generator().manual_seed(0))

    def loss_of(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        x = _crops(train.images, rows, side, generator)
        x = _turned(x.float().div_(127.5).sub_(1), settings.dihedral, generator).to(device)
        sigma = _levels(settings, len(x), generator).to(device)
        noise = torch.randn(x.shape, generator=generator).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            guess = model(x + sigma[:, None, None, None] * noise, sigma)
        weight = (sigma.square() + DEVIATION**2) / (sigma * DEVIATION).square()
        return (weight * (guess.float() - x).square().flatten(1).mean(1)).mean()

    def score(model: nn.Module) -> dict[str, float]:
        model.eval()
        some = held_out[:: max(1, len(held_out) // SCORED_IMAGES)]
        return {f"psnr_{sigma}": denoising_psnr(model, some, sigma, device=device) for sigma in REPORTED}

    def make() -> nn.Module:
        return PreconditionedDenoiser.of(settings.model_dump())

    weights, history = optimise(settings, make, len(train), loss_of, score, checkpoint, progress, device)
    model = make().to(device).eval()
    model.load_state_dict(weights)
    scores = {f"psnr_{sigma}": denoising_psnr(model, held_out, sigma, device=device) for sigma in REPORTED}
    return weights, {"history": history, **scores, "test_images": len(test)}
