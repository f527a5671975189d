"""Settings of the trainings, which can be listed and read without torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from lustral.data.distortions import DISTORTIONS
from lustral.data.photos import Source
from lustral.settings import Settings

__all__ = ["ClassifierTraining", "LoopSettings", "Progress", "QualityTraining"]

Progress = Callable[[dict[str, Any]], None]
"""Called after every epoch with what the epoch gave: its number, loss, score and seconds."""


VISIBLE = tuple(kind for kind in DISTORTIONS if kind not in ("brighten", "darken", "contrast", "saturation"))


def _split_plus(value: object) -> object:
    """Let people write ``widths=16+32+64``."""
    return tuple(value.split("+")) if isinstance(value, str) else value


Widths = Annotated[tuple[int, ...], BeforeValidator(_split_plus), Field(min_length=1)]


class LoopSettings(Settings):
    """What every training loop is told.

    Args:
        widths: channels per stage of the network.
        epochs: passes over the training images.
        batch: images per step.
        learning_rate: peak of a linear warm-up over a fifth of the steps and a linear decay to zero.
        momentum: Nesterov momentum of SGD.
        weight_decay: on weights, not on biases or normalisation.
        mirror: random left-right mirroring.
        average: decay per step of the weight average that is kept.
        seed: everything random in the run follows from it.
    """

    widths: Widths = (16, 32, 64)
    epochs: int = Field(default=40, ge=1)
    batch: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=0.2, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    mirror: bool = True
    average: float = Field(default=0.99, ge=0, lt=1)
    seed: int = 0


class ClassifierTraining(LoopSettings):
    """How a residual classifier is trained; the defaults are those for CIFAR-10.

    Args:
        smoothing: label smoothing.
        shift: random shift of up to this many pixels with reflected borders.
    """

    name: ClassVar[str] = "classifier"
    widths: Widths = (48, 96, 192)
    batch: int = Field(default=256, ge=2)
    learning_rate: float = Field(default=0.4, gt=0)
    average: float = Field(default=0.998, ge=0, lt=1)
    smoothing: float = Field(default=0.1, ge=0, lt=1)
    shift: int = Field(default=4, ge=0)


class QualityTraining(LoopSettings):
    """How the no-reference quality network is trained on graded distortions of photographs.

    Args:
        sources: photographs that are spoilt, see ``lustral.data.photos.Photos``; the score range and the
            LIVE correlation on the weight card use other pictures, which are never trained on.
        kinds: distortions, see ``lustral.data.distortions.DISTORTIONS``; by default all but the four that no
            one can see without the reference, because a photograph may well be bright, dark, flat or pale.
        crops: crops per photograph.
        side: side of the crops in pixels; the truth is that of a whole crop.
        window: side of the random part of a crop that one training step sees.
    """

    name: ClassVar[str] = "quality"
    widths: Widths = (16, 32, 64)
    epochs: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    average: float = Field(default=0.995, ge=0, lt=1)
    sources: Annotated[tuple[Source, ...], BeforeValidator(_split_plus), Field(min_length=1)] = ("builtin",)
    kinds: Annotated[tuple[str, ...], BeforeValidator(_split_plus), Field(min_length=1)] = VISIBLE
    crops: int = Field(default=20, ge=1)
    side: int = Field(default=96, ge=44)
    window: int = Field(default=64, ge=32)
