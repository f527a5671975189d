"""Run a training and put its weights with their card into a zoo folder."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lustral.data.base import ImageSet
from lustral.settings import SettingsError
from lustral.train.jobs import Job, Weights
from lustral.train.settings import LoopSettings, Progress
from lustral.weights import WeightCard, WeightFacts, register

__all__ = ["register_result", "run_training"]

SCORES = ("test_accuracy", "test_srocc", "test_plcc", "psnr_", "ssim_")


def _job(name: str) -> Job:
    from lustral.train import TRAININGS

    if name not in TRAININGS:
        raise SettingsError(f"unknown training {name!r}; known trainings: {', '.join(TRAININGS)}")
    return TRAININGS[name]


def run_training(
    name: str,
    *,
    out: Path,
    settings: Mapping[str, object] | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> WeightCard:
    """Train, judge and register; a run that was killed goes on from its last epoch.

    Args:
        name: key of ``TRAININGS``.
        out: zoo folder for the weights and ``registry.json``; meanwhile it holds a checkpoint.
        settings: overrides of the settings of the training, such as ``{"seed": 1, "epochs": 5}``.
        progress: called after every epoch.
        device: where to train, such as "cuda"; random numbers are drawn on the CPU everywhere.

    Raises:
        SettingsError: unknown training or unknown override.
        MissingData: the training images are not on this machine.
        ValueError: a checkpoint in ``out`` was made with other settings.
    """
    job = _job(name)
    chosen = type(job.settings).make(**(job.settings.model_dump() | dict(settings or {})))
    train, test = (part.load() for part in job.data(chosen))
    checkpoint = out / f"{job.weights(chosen)}.checkpoint"
    weights, record = job.function(chosen, train, test, checkpoint, progress, device)
    card = register_result(name, weights, record, out=out, settings=chosen, data=(train, test), device=device)
    checkpoint.unlink(missing_ok=True)
    return card


def register_result(
    name: str,
    weights: Weights,
    record: Mapping[str, Any],
    *,
    out: Path,
    settings: LoopSettings | None = None,
    data: tuple[ImageSet, ImageSet] | None = None,
    cost: Mapping[str, float | str] | None = None,
    device: str = "cpu",
) -> WeightCard:
    """Judge finished weights and register them with their card.

    Args:
        name: key of ``TRAININGS``.
        weights: what the training function returned.
        record: its record: ``history`` and the scores on the test set.
        out: zoo folder.
        settings: settings of the run; None means those of the training.
        data: training and test set of the run; None loads them again.
        cost: replaces the cost found in the history, for example ``{"seconds": 1900.0}``.
        device: where it was trained.
    """
    job = _job(name)
    settings = settings or job.settings
    train, test = data or tuple(part.load() for part in job.data(settings))
    scores = {key: float(record[key]) for key in record if key.startswith(SCORES)}
    judged, about = job.judge(settings, weights) if job.judge else ({}, "")
    described = [f"{_described(train)}, tested on {_described(test)}", job.data_licence(settings), about]
    facts = WeightFacts(
        licence="Apache-2.0",
        origin="trained by the lustral project",
        command=_command(name, settings, job.settings),
        seed=settings.seed,
        data="; ".join(filter(None, described)),
        cost=_cost(record, settings, weights, device) | dict(cost or {}),
        scores={key: round(value, 6) for key, value in (scores | judged).items()},
        architecture=job.architecture(settings, weights, train),
    )
    return register(out, job.weights(settings), weights, facts)


def _described(images: ImageSet) -> str:
    return f"{images.name} ({len(images)} images, fingerprint {images.fingerprint()})"


def _command(name: str, settings: LoopSettings, usual: LoopSettings) -> str:
    """What to type for the same weights: the seed always, other settings where they are not the usual ones."""
    fields, plain = settings.model_dump(mode="json"), usual.model_dump(mode="json")
    changed = [
        f" --set {key}={_typed(value)}" for key, value in fields.items() if key != "seed" and value != plain[key]
    ]
    return f"lustral train {name} --seed {settings.seed}" + "".join(changed)


def _typed(value: object) -> str:
    if isinstance(value, dict):
        return shlex.quote(json.dumps(value))
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _cost(record: Mapping[str, Any], settings: LoopSettings, weights: Weights, device: str) -> dict[str, float | str]:
    import torch

    found: dict[str, float | str] = {
        "epochs": settings.epochs,
        "parameters": _parameters(weights),
        "threads": torch.get_num_threads(),
        "device": f"{platform.machine()} CPU" if device == "cpu" else torch.cuda.get_device_name(device),
        "torch": torch.__version__,
    }
    for key in ("seconds", "cpu_seconds"):
        if all(key in row for row in record["history"]):
            found[key] = round(sum(row[key] for row in record["history"]), 1)
    return found


def _parameters(weights: Weights) -> int:
    """Trained numbers; running statistics and the normalisation are not among them."""
    counted = ("running_mean", "running_var", "num_batches_tracked", "mean", "std")
    return sum(value.numel() for key, value in weights.items() if key.split(".")[-1] not in counted)
