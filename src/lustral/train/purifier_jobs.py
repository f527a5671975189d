"""``lustral train maep`` and ``lustral train purifier``: networks that learn to undo attacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lustral.data.base import DataSettings, ImageSet
from lustral.data.cifar import Cifar10, Cifar100
from lustral.data.scenes import Scenes
from lustral.train.jobs import DATA_LICENCES, Job, Weights
from lustral.train.purifier_settings import PurifierTraining
from lustral.train.settings import Progress

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = ["MAEP", "PURIFIER"]

CIFAR10_COUNT = 20000
_KINDS = {"cifar10": Cifar10, "cifar100": Cifar100, "scenes": Scenes}


def _data(settings: PurifierTraining) -> tuple[DataSettings, DataSettings]:
    """Recipes choose their images with seed 0, so those to judge by are chosen with another."""
    kind = _KINDS[settings.data]
    usual = CIFAR10_COUNT if settings.data == "cifar10" else None
    count = usual if settings.count is None else settings.count
    return kind(split="train", count=count), kind(split="test", count=settings.held_out, choice_seed=1)


def _train(
    settings: Any, train: ImageSet, test: ImageSet, checkpoint: Path | None, progress: Progress | None, device: str
) -> tuple[Weights, dict[str, Any]]:
    from lustral.train.purifier import train_purifier

    return train_purifier(settings, train, test, checkpoint, progress, device)


def _architecture(settings: PurifierTraining, weights: Weights, train: ImageSet) -> dict[str, JsonValue]:
    from lustral.train.purifier import architecture

    return architecture(settings, train)


def _pairs(settings: PurifierTraining, weights: Weights) -> tuple[dict[str, float], str]:
    """No further scores; what the images were attacked with."""
    return {}, f"attacked by {settings.attack} on {settings.attacked}"


def _name(settings: PurifierTraining) -> str:
    loss = "" if settings.loss == "own" else settings.loss
    return "_".join(filter(None, (settings.data, settings.network, loss, settings.label)))


PURIFIER = Job(
    settings=PurifierTraining(network="disco"),
    data=_data,
    function=_train,
    judge=_pairs,
    architecture=_architecture,
    data_licence=lambda settings: DATA_LICENCES[settings.data],
    weights=_name,
)
MAEP = replace(PURIFIER, settings=PurifierTraining(network="maep"))
