"""Train a network that removes JPEG artefacts, against a discriminator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.func import functional_call

from lustral.data.base import ImageSet
from lustral.measures.fidelity import psnr, ssim_gaussian
from lustral.nets.artifact_removal import PatchDiscriminator
from lustral.nets.restorers import restoration_network
from lustral.purifiers.jpeg import JPEG
from lustral.seeds import Noise
from lustral.targets import TARGETS
from lustral.train.loop import as_tensor, optimise
from lustral.train.settings import ArtifactRemovalTraining, Progress
from lustral.train.super_resolution import windows

__all__ = ["Game", "architecture", "artifact_scores", "decoded", "game_loss", "train_artifact_removal"]

SCORED_IMAGES = 60  # after every epoch; the weight card uses all
CLASSIFIERS = {"cifar10": "cifar10_classifier", "photographs": "scenes_classifier"}

Restore = Callable[[Tensor], Tensor]
"""Decoded JPEG pictures (n, 3, h, w) -> better ones."""


def decoded(x: Tensor, quality: int) -> Tensor:
    """Images (n, 3, h, w) in [0, 1] after JPEG, exactly as in purification."""
    return JPEG(quality=quality).purify(x, Noise(0, "", ()))  # JPEG draws nothing


@torch.no_grad()
def artifact_scores(
    restorers: Mapping[str, Restore], images: Tensor, quality: int, batch: int = 100, device: str = "cpu"
) -> dict[str, float]:
    """Mean PSNR in dB and mean Gaussian-window SSIM of uint8 images (n, 3, h, w) after JPEG and each restorer."""
    found: dict[str, float] = {f"{measure}_{name}": 0.0 for measure in ("psnr", "ssim") for name in restorers}
    for part in images.split(batch):
        x = part.float().div(255)
        compressed = decoded(x, quality).to(device)
        reference = x.permute(0, 2, 3, 1).numpy()
        for name, restore in restorers.items():
            y = restore(compressed).float().clamp(0, 1).cpu().permute(0, 2, 3, 1).numpy()
            found[f"psnr_{name}"] += float(psnr(y, reference).sum()) / len(images)
            found[f"ssim_{name}"] += float(ssim_gaussian(y, reference).sum()) / len(images)
    return found


class Game(nn.Module):
    """Generator and discriminator, so that one loop trains, averages and saves both.

    Args:
        settings: sizes of both.
    """

    def __init__(self, settings: ArtifactRemovalTraining) -> None:
        super().__init__()
        self.generator = restoration_network(architecture(settings))
        self.discriminator = PatchDiscriminator(settings.discriminator)


def _fixed(network: nn.Module) -> Callable[..., Tensor]:
    """The network with parameters that get no gradient; its inputs do."""
    values = {name: value.detach() for name, value in network.named_parameters()}
    return lambda *inputs: functional_call(network, values, inputs)


def game_loss(
    model: Game, x: Tensor, compressed: Tensor, features: Restore, perceptual: float, adversarial: float
) -> Tensor:
    """Sum of the losses of both players; each of them has a gradient for its own parameters only.

    generator: mean |y - x| + perceptual * relative squared error of features - adversarial * mean log D(y)
    discriminator: - mean log D(x) - mean log (1 - D(y))
    """
    restored = model.generator(compressed)
    wanted = features(x)
    distance = (features(restored) - wanted).square().mean() / wanted.square().mean()
    fooled = functional.softplus(-_fixed(model.discriminator)(restored, compressed).float()).mean()
    generator = (restored - x).abs().mean() + perceptual * distance + adversarial * fooled
    missed = functional.softplus(-model.discriminator(x, compressed).float()).mean()
    believed = functional.softplus(model.discriminator(restored.detach(), compressed).float()).mean()
    return generator + missed + believed


def architecture(settings: ArtifactRemovalTraining) -> dict[str, Any]:
    """What rebuilds the generator, for the weight card."""
    sizes = {"width": settings.widths[0], "blocks": settings.blocks, "fold": settings.fold}
    return {"network": "artifact_removal", **sizes}


def _features_of(data: str, device: str) -> Restore:
    """The last feature map of the classifier of the zoo for this data set."""
    with torch.random.fork_rng(devices=[]):  # its first weights are replaced at once
        classifier = TARGETS[CLASSIFIERS[data]].make().build(device)

    def features(x: Tensor) -> Tensor:
        return classifier.network.features((x - classifier.mean) / classifier.std).float()  # pyright: ignore[reportCallIssue] a module

    return features


def train_artifact_removal(
    settings: ArtifactRemovalTraining,
    train: ImageSet,
    test: ImageSet,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train generator and discriminator, and return the averaged weights of the generator and a record of the run.

    The record has ``psnr_restored`` and ``ssim_restored`` and, for comparison, ``psnr_jpeg`` and ``ssim_jpeg`` of the
    held-out images. A run that finds ``checkpoint`` goes on from there, see ``lustral.train.loop.optimise``.

    Cost: ``epochs * len(train)`` forward and backward passes of the generator, three of the discriminator and one of
        the classifier, in bfloat16, and as many JPEG compressions.

    Source: paper 003, section 3.2.1 (patches, flips and rotations, Adam with momentum 0.9, learning rate halved every
        5 of 20 epochs); Galteri et al., ICCV 2017 (conditional discriminator, perceptual and adversarial loss).
        Differs: CIFAR-10 or few photographs instead of DIV2K; small patches and ten times the learning rate with a
        short warm-up, for few steps; the absolute error of pixels beside the two other losses; features of the
        classifier of the zoo for the same data in place of VGG-19, which makes the restorer depend on the classifier
        that it later protects; both players take a step at the same time; averaged weights.

    Raises:
        ValueError: images smaller than the window.
    """
    images, held_out = as_tensor(train), as_tensor(test)
    if settings.window > min(images.shape[2:]):
        raise ValueError(f"window={settings.window} must not exceed the images of side {min(images.shape[2:])}")
    features = _features_of(settings.data, device)

    def loss_of(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        x = windows(images, rows, settings.window, generator).float().div_(255)
        compressed = decoded(x, settings.quality).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            weights = settings.perceptual, settings.adversarial
            return game_loss(cast(Game, model), x.to(device), compressed, features, *weights)

    def score(model: nn.Module) -> dict[str, float]:
        some = held_out[:: -(-len(held_out) // SCORED_IMAGES)]
        return artifact_scores({"restored": cast(Game, model).generator}, some, settings.quality, device=device)

    def make() -> nn.Module:
        return Game(settings)

    weights, history = optimise(settings, make, len(train), loss_of, score, checkpoint, progress, device)
    prefix = "generator."
    kept = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    with torch.device("meta"):
        network = restoration_network(architecture(settings))
    network.load_state_dict(kept, assign=True)
    restorers: dict[str, Restore] = {"jpeg": lambda compressed: compressed, "restored": network.to(device).eval()}
    scores = artifact_scores(restorers, held_out, settings.quality, device=device)
    return kept, {"history": history, **scores, "test_images": len(test)}
