"""The loop that every training shares: steps, weight average, checkpoint after every epoch, exact resume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lustral.data.base import ImageSet
from lustral.seeds import seed_of
from lustral.train.settings import LoopSettings, Progress

__all__ = ["as_tensor", "channel_statistics", "epoch_of", "make_seeded", "optimise", "shift_and_mirror"]

LossOf = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
"""Loss of (model, rows of the training set, the generator of the epoch)."""


def as_tensor(images: ImageSet) -> Tensor:
    """All images as uint8 (n, 3, h, w)."""
    return torch.from_numpy(np.ascontiguousarray(images.stack().transpose(0, 3, 1, 2)))


def channel_statistics(images: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of uint8 images (n, 3, h, w), in units of [0, 1]."""
    flat = images.permute(1, 0, 2, 3).flatten(1).double() / 255
    return flat.mean(1).tolist(), flat.std(1).tolist()


def shift_and_mirror(x: Tensor, shift: int, mirror: bool, generator: torch.Generator) -> Tensor:
    """Shift every image (n, 3, h, w) by up to ``shift`` pixels with reflected borders, mirror half of them."""
    n, _, height, width = x.shape
    if shift:
        padded = functional.pad(x, [shift] * 4, mode="reflect")
        dy, dx = torch.randint(0, 2 * shift + 1, (2, n), generator=generator)
        rows = (dy[:, None] + torch.arange(height))[:, None, :, None]
        columns = (dx[:, None] + torch.arange(width))[:, None, None, :]
        x = padded[torch.arange(n)[:, None, None, None], torch.arange(3)[None, :, None, None], rows, columns]
    if mirror:
        flip = torch.rand(n, generator=generator) < 0.5
        x = torch.where(flip[:, None, None, None], x.flip(3), x)
    return x


def make_seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network whose initial weights follow from ``seed``, whatever state torch's own generator is in."""
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(seed_of(seed, "weights"))
        return make()


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _optimizer(settings: LoopSettings, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if settings.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=1.0, betas=(settings.momentum, 0.99))
    return torch.optim.SGD(groups, lr=1.0, momentum=settings.momentum, nesterov=True)


@torch.no_grad()
def _update_average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, value in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        kept.lerp_(value, 1 - decay) if kept.is_floating_point() else kept.copy_(value)


def optimise(
    settings: LoopSettings,
    make: Callable[[], nn.Module],
    count: int,
    loss_of: LossOf,
    score: Callable[[nn.Module], dict[str, float]],
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Train ``make()`` on ``count`` images; return the averaged weights and one history row per epoch.

    Every epoch is saved to ``checkpoint`` (temporary name, then renamed); a run that finds it goes on
    from there and ends with the same weights as one that was never stopped, on the same machine.

    Raises:
        ValueError: fewer images than one batch, or a checkpoint of other settings.
    """
    if count < settings.batch:
        raise ValueError(f"training needs at least one batch of {settings.batch} images, got {count}")
    model = make_seeded(make, settings.seed).to(device)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] the stubs of torch lack it
    averaged = make_seeded(make, settings.seed).to(device)
    groups = _decay_groups(model, settings.weight_decay)
    optimizer = _optimizer(settings, groups)
    history: list[dict[str, Any]] = []
    parts = {"model": model, "averaged": averaged, "optimizer": optimizer}
    if checkpoint is not None and checkpoint.exists():
        history = _resume(checkpoint, settings, parts)
    for epoch in range(len(history), settings.epochs):
        start, cpu_start = time.perf_counter(), time.process_time()
        loss = _epoch(settings, epoch, model, averaged, optimizer, count, loss_of)
        row = {"epoch": epoch + 1, "loss": loss, **score(averaged)}
        row |= {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu_start}
        history.append(row)
        if checkpoint is not None:
            _save(checkpoint, settings, parts, history)
        if progress is not None:
            progress(row)
    return {key: value.cpu().contiguous() for key, value in averaged.state_dict().items()}, history


def _epoch_seed(settings: LoopSettings, epoch: int) -> int:
    return seed_of(settings.seed, "epoch", epoch)


def epoch_of(settings: LoopSettings, generator: torch.Generator) -> int:
    """Which epoch 0, 1, ... the generator belongs to that a loss was given; for losses that change on the way."""
    seed = generator.initial_seed()
    return next(epoch for epoch in range(settings.epochs) if _epoch_seed(settings, epoch) == seed)


def _epoch(
    settings: LoopSettings,
    epoch: int,
    model: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    count: int,
    loss_of: LossOf,
) -> float:
    per_epoch = count // settings.batch
    generator = torch.Generator().manual_seed(_epoch_seed(settings, epoch))
    order = torch.randperm(count, generator=generator)[: per_epoch * settings.batch]
    model.train()
    losses: list[float] = []
    for index, rows in enumerate(order.split(settings.batch)):
        step = epoch * per_epoch + index
        done = step / (per_epoch * settings.epochs)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(epoch, done)
        loss = loss_of(model, rows, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.clip:
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        losses.append(float(loss.detach()))
        _update_average(averaged, model, min(settings.average, 1 - 1 / (step + 2)))
    return sum(losses) / len(losses)


def _resume(path: Path, settings: LoopSettings, parts: dict[str, Any]) -> list[dict[str, Any]]:
    state = torch.load(path, weights_only=True)
    if json.loads(state["settings"]) != settings.model_dump(mode="json"):
        raise ValueError(f"{path} was made with other settings; delete it or use another output folder")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["history"]


def _save(path: Path, settings: LoopSettings, parts: dict[str, Any], history: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save(state | {"settings": settings.model_dump_json(), "epoch": len(history), "history": history}, temporary)
    temporary.replace(path)
