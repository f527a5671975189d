"""What each training of lustral consists of: its data, its function, and how its weights are judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lustral.data.base import DataSettings, ImageSet, MissingData
from lustral.data.cifar import Cifar10, Cifar100
from lustral.data.folder import Folder
from lustral.data.live import LiveSubset
from lustral.data.photos import Photos, Source
from lustral.data.scenes import Scenes
from lustral.settings import SettingsError
from lustral.train.settings import (
    ArtifactRemovalTraining,
    ClassifierTraining,
    DenoiserTraining,
    LoopSettings,
    Progress,
    QualityTraining,
    SuperResolutionTraining,
)

if TYPE_CHECKING:
    from pydantic import JsonValue
    from torch import Tensor

__all__ = [
    "ARTIFACT_REMOVAL",
    "CIFAR10",
    "CIFAR100",
    "DATA_LICENCES",
    "DENOISER",
    "PHOTO_QUALITY",
    "PLAIN_QUALITY",
    "SCENES",
    "SUPER_RESOLUTION",
    "TRANSFORMER_QUALITY",
    "Job",
    "Weights",
]

Weights = dict[str, "Tensor"]

_BUILTIN = "photographs bundled with scikit-image: public domain, CC0 or free use, see lustral.data.builtin"
DATA_LICENCES = {
    "cifar10": "CIFAR-10, no formal licence, cite Krizhevsky 2009",
    "cifar100": "CIFAR-100, no formal licence, cite Krizhevsky 2009",
    "scenes": _BUILTIN,
    "folder": "licence of the photographs: their owner knows",
}


class Train(Protocol):
    """A training function: settings and images in, averaged weights and a record of the run out."""

    def __call__(
        self, settings: Any, train: ImageSet, test: ImageSet, checkpoint: Path | None, progress: Progress | None,
        device: str,
    ) -> tuple[Weights, dict[str, Any]]: ...  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One entry of ``TRAININGS``.

    Attributes:
        settings: the settings it runs with unless they are overridden.
        data: settings -> the training set and the test set.
        function: trains.
        judge: settings, weights -> scores beyond those of the training function, with the data they came from.
        architecture: settings, weights, training images -> what rebuilds the network, for the weight card.
        data_licence: settings -> licence of the training images.
        weights: settings -> name of the weights in the zoo.
    """

    settings: LoopSettings
    data: Callable[[Any], tuple[DataSettings, DataSettings]]
    function: Train
    judge: Callable[[Any, Weights], tuple[dict[str, float], str]] | None
    architecture: Callable[[Any, Weights, ImageSet], dict[str, JsonValue]]
    data_licence: Callable[[Any], str]
    weights: Callable[[Any], str]


def _classifier(
    settings: Any, train: ImageSet, test: ImageSet, checkpoint: Path | None, progress: Progress | None, device: str
) -> tuple[Weights, dict[str, Any]]:
    from lustral.train.classifier import train_classifier

    return train_classifier(settings, train, test, checkpoint, progress, device)


def _quality(
    settings: Any, train: ImageSet, test: ImageSet, checkpoint: Path | None, progress: Progress | None, device: str
) -> tuple[Weights, dict[str, Any]]:
    from lustral.train.quality import train_quality

    return train_quality(settings, train, test, checkpoint, progress, device)


def _denoiser(
    settings: Any, train: ImageSet, test: ImageSet, checkpoint: Path | None, progress: Progress | None, device: str
) -> tuple[Weights, dict[str, Any]]:
    from lustral.train.denoiser import train_denoiser

    if settings.data == "folder":
        held_out = range(0, len(train), 10)
        rest = [row for row in range(len(train)) if row % 10]
        if not rest:
            raise ValueError("a denoiser needs at least two photographs, one of them to judge it by")
        train, test = train.take(rest), train.take(held_out)
    return train_denoiser(settings, train, test, checkpoint, progress, device)


def _super_resolution(
    settings: Any, train: ImageSet, test: ImageSet, checkpoint: Path | None, progress: Progress | None, device: str
) -> tuple[Weights, dict[str, Any]]:
    from lustral.train.super_resolution import train_super_resolution

    return train_super_resolution(settings, train, test, checkpoint, progress, device)


def _crops(settings: SuperResolutionTraining | ArtifactRemovalTraining) -> tuple[DataSettings, DataSettings]:
    """Crops of photographs to learn from, and those of other photographs, if there are any, to judge by."""
    held_out: Source = "kodak" if "kodak" in settings.sources else "builtin"
    return (
        Photos(split="train", sources=settings.sources, kinds=(), side=settings.side, crops=settings.crops),
        Photos(split="test", sources=(held_out,), kinds=(), side=settings.side, crops=settings.crops),
    )


def _super_resolution_architecture(
    settings: SuperResolutionTraining, weights: Weights, train: ImageSet
) -> dict[str, JsonValue]:
    from lustral.train.super_resolution import architecture

    return architecture(settings)


def _artifact_removal(
    settings: Any, train: ImageSet, test: ImageSet, checkpoint: Path | None, progress: Progress | None, device: str
) -> tuple[Weights, dict[str, Any]]:
    from lustral.train.artifact_removal import train_artifact_removal

    return train_artifact_removal(settings, train, test, checkpoint, progress, device)


def _artifact_removal_data(settings: ArtifactRemovalTraining) -> tuple[DataSettings, DataSettings]:
    if settings.data == "cifar10":
        return Cifar10(split="train"), Cifar10(split="test")
    return _crops(settings)


def _artifact_removal_architecture(
    settings: ArtifactRemovalTraining, weights: Weights, train: ImageSet
) -> dict[str, JsonValue]:
    from lustral.train.artifact_removal import architecture

    return architecture(settings)


def _denoiser_data(settings: DenoiserTraining) -> tuple[DataSettings, DataSettings]:
    if settings.data == "cifar10":
        return Cifar10(split="train"), Cifar10(split="test")
    if settings.data == "scenes":
        return Scenes(split="train"), Scenes(split="test")
    if not settings.folder:
        raise SettingsError("data=folder needs the folder of the photographs: --set folder=PATH")
    whole = Folder.make(path=settings.folder)
    return whole, whole


def _judge_denoiser(settings: DenoiserTraining, weights: Weights) -> tuple[dict[str, float], str]:
    """What purification costs the classifier of the same images: clean accuracy before and after."""
    if settings.data == "folder" or settings.side != 32:
        return {}, ""
    from lustral.train.denoiser import purified_accuracy

    return purified_accuracy(settings, weights)


def _residual_architecture(network: str) -> Callable[[Any, Weights, ImageSet], dict[str, JsonValue]]:
    def describe(settings: Any, weights: Weights, train: ImageSet) -> dict[str, JsonValue]:
        from lustral.nets.residual import widths_of

        found: dict[str, JsonValue] = {"network": network, "widths": list(widths_of(weights))}
        if train.classes:
            found["classes"] = list(train.classes)
        return found

    return describe


def _denoiser_architecture(settings: DenoiserTraining, weights: Weights, train: ImageSet) -> dict[str, JsonValue]:
    names = ("widths", "blocks", "patch", "embedding", "side")
    fields: dict[str, JsonValue] = settings.model_dump(mode="json")
    return {"network": "preconditioned_denoiser", **{key: fields[key] for key in names}}


def _photos(settings: QualityTraining) -> tuple[DataSettings, DataSettings]:
    sources, kinds, side = settings.sources, settings.kinds, settings.side
    return (
        Photos(split="train", sources=sources, kinds=kinds, side=side, crops=settings.crops),
        Photos(split="test", sources=sources, kinds=kinds, side=side, crops=2),
    )


def _photo_licence(settings: QualityTraining | SuperResolutionTraining | ArtifactRemovalTraining) -> str:
    licences = {
        "builtin": _BUILTIN,
        "kodak": "Kodak suite, unrestricted use",
        "bsds": "BSDS500, non-commercial research and education",
    }
    return "; ".join(licences[source] for source in settings.sources)


def _transformer_quality_architecture(
    settings: QualityTraining, weights: Weights, train: ImageSet
) -> dict[str, JsonValue]:
    return {"network": "transformer_quality_network", "width": settings.widths[0], "blocks": settings.blocks}


def _judge_quality(settings: QualityTraining, weights: Weights) -> tuple[dict[str, float], str]:
    """Range of the scores on photographs, and agreement with people where the LIVE pictures are there."""
    from lustral.measures.correlation import plcc, srocc
    from lustral.train.quality import kodak_or_builtin, quality_network_fitting, quality_scores, score_range

    network = quality_network_fitting(settings, weights)
    mean, std = weights["mean"], weights["std"]
    name, photographs = kodak_or_builtin()
    low, high = score_range(network, photographs, mean, std)
    scores, data = {"range_low": low, "range_high": high}, f"score range on {name}"
    try:
        live = LiveSubset().load()
    except MissingData:
        return scores, data
    found = quality_scores(network, live.images, mean, std)
    # DMOS falls with quality, so the sign is turned.
    scores |= {"live_srocc": -srocc(found, live.truth), "live_plcc_logistic": plcc(found, live.truth, "logistic4")}
    return scores, f"{data}; judged on {live.name}, {len(live)} pictures, never trained on"


def _quality_job(
    settings: QualityTraining, weights: str, architecture: Callable[[Any, Weights, ImageSet], dict[str, JsonValue]]
) -> Job:
    return Job(
        settings=settings,
        data=_photos,
        function=_quality,
        judge=_judge_quality,
        architecture=architecture,
        data_licence=_photo_licence,
        weights=lambda _: weights,
    )


_SMALL_QUALITY: dict[str, Any] = {
    "epochs": 7,
    "optimizer": "adam",
    "weight_decay": 1e-3,
    "average": 0.99,
    "clip": 1.0,
    "sources": ("builtin", "bsds"),
    "crops": 1,
    "window": 96,
}

CIFAR10 = Job(
    settings=ClassifierTraining(),
    data=lambda _: (Cifar10(split="train"), Cifar10(split="test")),
    function=_classifier,
    judge=None,
    architecture=_residual_architecture("residual_classifier"),
    data_licence=lambda _: DATA_LICENCES["cifar10"],
    weights=lambda _: "cifar10_classifier",
)
CIFAR100 = Job(
    settings=ClassifierTraining(epochs=80, batch=128, learning_rate=0.2),
    data=lambda _: (Cifar100(split="train"), Cifar100(split="test")),
    function=_classifier,
    judge=None,
    architecture=_residual_architecture("residual_classifier"),
    data_licence=lambda _: DATA_LICENCES["cifar100"],
    weights=lambda _: "cifar100_classifier",
)
SCENES = Job(
    settings=ClassifierTraining(widths=(16, 32, 64), batch=64, learning_rate=0.2, average=0.99),
    data=lambda _: (Scenes(split="train"), Scenes(split="test")),
    function=_classifier,
    judge=None,
    architecture=_residual_architecture("residual_classifier"),
    data_licence=lambda _: _BUILTIN,
    weights=lambda _: "scenes_classifier",
)
PHOTO_QUALITY = _quality_job(QualityTraining(), "photo_quality", _residual_architecture("quality_network"))
PLAIN_QUALITY = _quality_job(
    QualityTraining(network="plain", widths=(16, 32, 48), learning_rate=3e-3, **_SMALL_QUALITY),
    "plain_quality",
    _residual_architecture("plain_quality_network"),
)
TRANSFORMER_QUALITY = _quality_job(
    QualityTraining(network="transformer", widths=(48,), learning_rate=2e-3, **_SMALL_QUALITY),
    "transformer_quality",
    _transformer_quality_architecture,
)
DENOISER = Job(
    settings=DenoiserTraining(),
    data=_denoiser_data,
    function=_denoiser,
    judge=_judge_denoiser,
    architecture=_denoiser_architecture,
    data_licence=lambda settings: DATA_LICENCES[settings.data],
    weights=lambda settings: f"{settings.data}_denoiser",
)
SUPER_RESOLUTION = Job(
    settings=SuperResolutionTraining(),
    data=_crops,
    function=_super_resolution,
    judge=None,
    architecture=_super_resolution_architecture,
    data_licence=_photo_licence,
    weights=lambda settings: f"{settings.network}_x{settings.scale}",
)
ARTIFACT_REMOVAL = Job(
    settings=ArtifactRemovalTraining(),
    data=_artifact_removal_data,
    function=_artifact_removal,
    judge=None,
    architecture=_artifact_removal_architecture,
    data_licence=lambda settings: DATA_LICENCES["cifar10"] if settings.data == "cifar10" else _photo_licence(settings),
    weights=lambda settings: f"artifact_removal_{settings.data}_q{settings.quality}",
)
