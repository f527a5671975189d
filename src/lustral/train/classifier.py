"""Train a residual classifier: one loop for every labelled image set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lustral.data.base import ImageSet
from lustral.nets.residual import ResidualClassifier
from lustral.train.loop import as_tensor, channel_statistics, optimise, shift_and_mirror
from lustral.train.settings import ClassifierTraining, Progress

__all__ = ["ClassifierTraining", "accuracy", "train_classifier"]


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, mean: Tensor, std: Tensor, batch: int = 500) -> float:
    """Share of uint8 images (n, 3, h, w) whose largest logit is the label; runs where ``mean`` is."""
    model.eval()
    correct = 0
    for x, y in zip(images.split(batch), labels.split(batch), strict=True):
        logits = model((x.to(mean.device).float().div(255) - mean) / std)
        correct += int((logits.argmax(1).cpu() == y).sum())
    return correct / len(images)


def train_classifier(
    settings: ClassifierTraining,
    train: ImageSet,
    test: ImageSet,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train, and return the averaged weights with ``mean`` and ``std`` buffers, and a record of the run.

    A run that finds ``checkpoint`` goes on from there, see ``lustral.train.loop.optimise``.

    Cost: ``epochs * len(train)`` forward and backward passes in bfloat16.
    """
    x_train, y_train = as_tensor(train), torch.from_numpy(train.truth.astype(np.int64))
    x_test, y_test = as_tensor(test), torch.from_numpy(test.truth.astype(np.int64))
    mean_list, std_list = channel_statistics(x_train)
    mean = torch.tensor(mean_list, device=device)[:, None, None]
    std = torch.tensor(std_list, device=device)[:, None, None]

    def loss_of(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        x = shift_and_mirror(x_train[rows], settings.shift, settings.mirror, generator).to(device).float().div_(255)
        x = ((x - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            logits = model(x)
        return functional.cross_entropy(logits.float(), y_train[rows].to(device), label_smoothing=settings.smoothing)

    def score(model: nn.Module) -> dict[str, float]:
        return {"test_accuracy": accuracy(model, x_test, y_test, mean, std)}

    def make() -> nn.Module:
        return ResidualClassifier(len(train.classes), settings.widths)

    weights, history = optimise(settings, make, len(x_train), loss_of, score, checkpoint, progress, device)
    weights |= {"mean": torch.tensor(mean_list), "std": torch.tensor(std_list)}
    return weights, {"history": history, "test_accuracy": history[-1]["test_accuracy"], "test_images": len(test)}
