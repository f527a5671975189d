"""Train a network to undo attacks: one loop for every network and every loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lustral.attacks import parse_attack
from lustral.data.base import ImageSet
from lustral.measures.fidelity import psnr, ssim_gaussian
from lustral.nets.restorers import RESTORATION, restoration_network
from lustral.settings import SettingsError
from lustral.targets import parse_target
from lustral.tensors import Images
from lustral.train.adversarial_pairs import adversarial_pairs
from lustral.train.loop import as_tensor, epoch_of, optimise
from lustral.train.purifier_losses import LOSSES, Moment
from lustral.train.purifier_settings import PurifierTraining
from lustral.train.settings import Progress

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = ["architecture", "judge_purifier", "train_purifier"]

BATCH = 100  # images per pass when judging

Purify = Callable[[Images], Images]


def architecture(settings: PurifierTraining, images: ImageSet) -> dict[str, JsonValue]:
    """What rebuilds the network, for the weight card: every argument of its class, also where it is the default.

    Raises:
        SettingsError: an option that its class does not know.
    """
    parameters = inspect.signature(RESTORATION[settings.network]).parameters
    unknown = [name for name in settings.options if name not in parameters]
    if unknown:
        known = ", ".join(parameters)
        raise SettingsError(f"unknown option {unknown[0]!r} of the network {settings.network}; known: {known}")
    found: dict[str, Any] = {name: parameter.default for name, parameter in parameters.items()}
    found |= {"side": images.images[0].shape[0]} if "side" in found else {}
    found |= settings.options
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
    return {"network": settings.network, **plain}


def train_purifier(
    settings: PurifierTraining,
    train: ImageSet,
    test: ImageSet,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Attack both sets, train, and return the averaged weights and a record of the run.

    The record holds what ``judge_purifier`` finds on the attacked test images. Pairs come from the cache, see
    ``lustral.train.adversarial_pairs``; a run that finds ``checkpoint`` goes on, see ``lustral.train.loop.optimise``.

    Cost: one attack per image, then ``epochs * len(train)`` forward and backward passes in bfloat16, twice as many for
    the losses "reconstruction", "trades_pixels" and "trades_latents".

    Source: MAEP (paper 004), sections 4 and 5.1. Differs: far fewer images and epochs; images are mirrored.

    Raises:
        SettingsError: the target is not a classifier, or an unknown option.
    """
    described = architecture(settings, train)
    clean, held_out = as_tensor(train), as_tensor(test)
    victim, attack = parse_target(settings.attacked), parse_attack(settings.attack)
    attacked, held_out_attacked = (
        adversarial_pairs(images, victim, attack, seed=settings.seed, device=device, progress=progress)
        for images in (train, test)
    )
    target = victim.build(device)
    labels = torch.from_numpy(test.truth.astype(np.int64))
    loss_function = LOSSES[settings.loss]

    def classify(x: Images) -> Tensor:
        with torch.autocast(torch.device(device).type, enabled=False):  # its logits are compared with each other
            return target(x.float())

    def loss_of(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        pair = _mirrored(attacked[rows], clean[rows], settings.mirror, generator)
        x, y = (images.to(device).float().div_(255) for images in pair)
        moment = Moment(generator, classify, settings.balance, epoch_of(settings, generator) / settings.epochs)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            return loss_function(model, x, y, moment)

    def score(model: nn.Module, full: bool = False) -> dict[str, float]:
        model.eval()
        return judge_purifier(model, target, held_out, held_out_attacked, labels, full=full, device=device)

    def make() -> nn.Module:
        return restoration_network(described)

    weights, history = optimise(settings, make, len(train), loss_of, score, checkpoint, progress, device)
    model = make().to(device)
    model.load_state_dict(weights)
    return weights, {"history": history, **score(model, full=True), "test_images": len(test)}


def _mirrored(attacked: Tensor, clean: Tensor, mirror: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Both images of half of the pairs mirrored."""
    if not mirror:
        return attacked, clean
    flip = (torch.rand(len(clean), generator=generator) < 0.5)[:, None, None, None]
    return torch.where(flip, attacked.flip(3), attacked), torch.where(flip, clean.flip(3), clean)


@torch.no_grad()
def judge_purifier(
    purify: Purify, target: Callable[[Images], Tensor], clean: Tensor, attacked: Tensor, labels: Tensor,
    *, full: bool = True, device: str = "cpu",
) -> dict[str, float]:  # fmt: skip
    """What a purifier does to clean and attacked images, and what a classifier makes of that.

    Args:
        purify: images in [0, 1] -> images; clamped here.
        target: images -> logits.
        clean: uint8 images (n, 3, h, w).
        attacked: their attacked versions.
        labels: true classes (n,).
        full: also SSIM, and the same of images that were not purified.
        device: where ``purify`` and ``target`` run.

    Returns:
        ``test_accuracy_<which>`` and, against the clean images, ``psnr_<which>`` in dB and ``ssim_<which>``, where
        which is purified_clean and purified_attacked, and with ``full`` clean and attacked.
    """

    def purified(x: Tensor) -> Tensor:
        return purify(x).clamp(0, 1)

    def found(x: Tensor, change: Purify) -> tuple[Tensor, float]:
        parts: list[Tensor] = []
        right = 0
        for part, wanted in zip(x.split(BATCH), labels.split(BATCH), strict=True):
            y = change(part.to(device).float().div(255))
            right += int((target(y).argmax(1).cpu() == wanted).sum())
            parts.append(y.cpu())
        return torch.cat(parts), right / len(x)

    cases = {"purified_clean": (clean, purified), "purified_attacked": (attacked, purified)}
    if full:
        cases |= {"clean": (clean, torch.clone), "attacked": (attacked, torch.clone)}
    truth = _pixels(clean.float().div(255))
    scores: dict[str, float] = {}
    for name, (x, change) in cases.items():
        y, scores[f"test_accuracy_{name}"] = found(x, change)
        if name != "clean":
            scores[f"psnr_{name}"] = float(psnr(truth, _pixels(y)).mean())
            if full:
                scores[f"ssim_{name}"] = float(ssim_gaussian(truth, _pixels(y)).mean())
    return scores


def _pixels(x: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    return x.permute(0, 2, 3, 1).double().numpy()  # (n, h, w, 3)
