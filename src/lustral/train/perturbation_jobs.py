"""``lustral train uap`` and ``lustral train facpa``: perturbations that are made once for a quality target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lustral.data.base import DataSettings, ImageSet
from lustral.data.photos import Photos
from lustral.train.jobs import DATA_LICENCES, Job, Weights
from lustral.train.perturbation_settings import GeneratorTraining, PerturbationTraining, UniversalTraining
from lustral.train.settings import Progress

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = ["FACPA", "UAP"]

_LICENCES = {"builtin": DATA_LICENCES["scenes"], "bsds": "BSDS500, non-commercial research and education"}


def _data(settings: PerturbationTraining) -> tuple[DataSettings, DataSettings]:
    """Pristine crops to learn from, and of tiles that no training sees to follow it by."""
    return (
        Photos(split="train", sources=settings.sources, kinds=(), side=settings.side, crops=settings.crops),
        Photos(split="test", sources=("builtin",), kinds=(), side=settings.side, crops=settings.crops),
    )


def _train(
    settings: Any, train: ImageSet, test: ImageSet, checkpoint: Path | None, progress: Progress | None, device: str
) -> tuple[Weights, dict[str, Any]]:
    from lustral.train.perturbation import train_perturbation

    return train_perturbation(settings, train, test, checkpoint, progress, device)


def _judge(settings: Any, weights: Weights) -> tuple[dict[str, float], str]:
    from lustral.train.perturbation import judge_perturbation

    return judge_perturbation(settings, weights)


def _architecture(settings: Any, weights: Weights, train: ImageSet) -> dict[str, JsonValue]:
    from lustral.train.perturbation import architecture

    return architecture(settings)


UAP = Job(
    settings=UniversalTraining(),
    data=_data,
    function=_train,
    judge=_judge,
    architecture=_architecture,
    data_licence=lambda settings: "; ".join(_LICENCES[source] for source in settings.sources),
    weights=lambda settings: f"{settings.name}_{settings.victim}",
)
FACPA = replace(UAP, settings=GeneratorTraining())
