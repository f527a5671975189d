"""What each training of lustral consists of: its data, its function, and how its weights are judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lustral.data.base import DataSettings, ImageSet, MissingData
from lustral.data.cifar import Cifar10
from lustral.data.live import LiveSubset
from lustral.data.photos import Photos
from lustral.data.scenes import Scenes
from lustral.train.settings import ClassifierTraining, LoopSettings, Progress, QualityTraining

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CIFAR10", "PHOTO_QUALITY", "SCENES", "Job", "Weights"]

Weights = dict[str, "Tensor"]

_BUILTIN = "photographs bundled with scikit-image: public domain, CC0 or free use, see lustral.data.builtin"


class Train(Protocol):
    """A training function: settings and images in, averaged weights and a record of the run out."""

    def __call__(
        self, settings: Any, train: ImageSet, test: ImageSet, checkpoint: Path | None, progress: Progress | None
    ) -> tuple[Weights, dict[str, Any]]: ...


@dataclass(frozen=True)
class Job:
    """One entry of ``TRAININGS``.

    Attributes:
        settings: the settings it runs with unless they are overridden.
        data: settings -> the training set and the test set.
        function: trains.
        judge: weights -> scores on other data than the test set, with the data they came from.
        network: name of the architecture on the weight card.
        data_licence: settings -> licence of the training images.
        weights: name of the weights in the zoo.
    """

    settings: LoopSettings
    data: Callable[[Any], tuple[DataSettings, DataSettings]]
    function: Train
    judge: Callable[[Weights], tuple[dict[str, float], str]] | None
    network: str
    data_licence: Callable[[Any], str]
    weights: str


def _classifier(
    settings: Any, train: ImageSet, test: ImageSet, checkpoint: Path | None, progress: Progress | None
) -> tuple[Weights, dict[str, Any]]:
    from lustral.train.classifier import train_classifier

    return train_classifier(settings, train, test, checkpoint, progress)


def _quality(
    settings: Any, train: ImageSet, test: ImageSet, checkpoint: Path | None, progress: Progress | None
) -> tuple[Weights, dict[str, Any]]:
    from lustral.train.quality import train_quality

    return train_quality(settings, train, test, checkpoint, progress)


def _photos(settings: QualityTraining) -> tuple[DataSettings, DataSettings]:
    sources, kinds, side = settings.sources, settings.kinds, settings.side
    return (
        Photos(split="train", sources=sources, kinds=kinds, side=side, crops=settings.crops),
        Photos(split="test", sources=sources, kinds=kinds, side=side, crops=2),
    )


def _photo_licence(settings: QualityTraining) -> str:
    licences = {
        "builtin": _BUILTIN,
        "kodak": "Kodak suite, unrestricted use",
        "bsds": "BSDS500, non-commercial research and education",
    }
    return "; ".join(licences[source] for source in settings.sources)


def _judge_quality(weights: Weights) -> tuple[dict[str, float], str]:
    """Range of the scores on photographs, and agreement with people where the LIVE pictures are there."""
    from lustral.measures.correlation import plcc, srocc
    from lustral.nets.quality import QualityNetwork
    from lustral.nets.residual import widths_of
    from lustral.train.quality import kodak_or_builtin, quality_scores, score_range

    network = QualityNetwork(widths_of(weights))
    network.load_state_dict({key: value for key, value in weights.items() if key not in ("mean", "std")})
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


CIFAR10 = Job(
    settings=ClassifierTraining(),
    data=lambda _: (Cifar10(split="train"), Cifar10(split="test")),
    function=_classifier,
    judge=None,
    network="residual_classifier",
    data_licence=lambda _: "CIFAR-10, no formal licence, cite Krizhevsky 2009",
    weights="cifar10_classifier",
)
SCENES = Job(
    settings=ClassifierTraining(widths=(16, 32, 64), batch=64, learning_rate=0.2, average=0.99),
    data=lambda _: (Scenes(split="train"), Scenes(split="test")),
    function=_classifier,
    judge=None,
    network="residual_classifier",
    data_licence=lambda _: _BUILTIN,
    weights="scenes_classifier",
)
PHOTO_QUALITY = Job(
    settings=QualityTraining(),
    data=_photos,
    function=_quality,
    judge=_judge_quality,
    network="quality_network",
    data_licence=_photo_licence,
    weights="photo_quality",
)
