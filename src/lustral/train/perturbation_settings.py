"""How perturbations are learnt that need no look at the target later; read without torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from lustral.settings import Number
from lustral.targets import parse_target
from lustral.train.settings import LoopSettings

__all__ = ["GeneratorTraining", "PerturbationTraining", "UniversalTraining"]

Photographs = Literal["builtin", "bsds"]


def _split_plus(value: object) -> object:
    """Let people write ``sources=builtin+bsds``."""
    return tuple(value.split("+")) if isinstance(value, str) else value


Split = BeforeValidator(_split_plus)


class PerturbationTraining(LoopSettings):
    """What the trainings of UAP and FACPA have in common.

    Args:
        target: the quality target whose score shall move, as in recipes; it moves in the target's direction, up by
            default.
        bound: largest value of the perturbation in training, in units of the [0, 1] range. Attacks bring their own.
        sources: photographs, see ``lustral.data.photos.Photos``. Those of Kodak are not among them: they judge.
        crops: crops per photograph.
        side: side of the crops in pixels.
        learning_rate: of Adam, the same in all steps.
        warm_up: not used.
    """

    epochs: int = Field(default=5, ge=1)
    batch: int = Field(default=8, ge=2)
    optimizer: Literal["sgd", "adam"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0)
    average: float = Field(default=0.0, ge=0, lt=1)
    target: str = "photo_quality"
    sources: Annotated[tuple[Photographs, ...], Split, Field(min_length=1)] = ("bsds",)
    crops: int = Field(default=4, ge=1)
    side: int = Field(default=128, ge=44)
    bound: Number = Field(default=8 / 255, gt=0, le=1)

    @field_validator("target")
    @classmethod
    def _one_way(cls, target: str) -> str:
        found = parse_target(target)
        if found.kind != "quality":
            raise ValueError(f"expected a quality target, {found.name} is a {found.kind} target")
        if found.direction == "both":
            raise ValueError("one perturbation for all images moves scores one way; set direction=up or direction=down")
        return target

    @property
    def victim(self) -> str:
        """What the weights are named after: the target, and the direction if it is not up."""
        target = parse_target(self.target)
        return target.name if target.direction == "up" else f"{target.name}_{target.direction}"

    def rate(self, epoch: int, done: float) -> float:
        return self.learning_rate


class UniversalTraining(PerturbationTraining):
    """How a universal perturbation is learnt.

    Args:
        widths: not used.
        tile: side of the perturbation in pixels.
        learning_rate: as a share of ``bound``; the paper's is 0.01, which is 0.001 of its bound of 0.1.
    """

    name: ClassVar[str] = "uap"
    widths: Annotated[tuple[int, ...], Field(max_length=0)] = ()
    learning_rate: float = Field(default=0.01, gt=0)
    tile: int = Field(default=128, ge=1)
    bound: Number = Field(default=0.1, gt=0, le=1)


class GeneratorTraining(PerturbationTraining):
    """How a network that makes perturbations is taught.

    Args:
        widths: its channels after every halving of the resolution.
    """

    name: ClassVar[str] = "facpa"
    widths: Annotated[tuple[int, ...], Split, Field(min_length=1)] = (8, 16, 16, 24)
    learning_rate: float = Field(default=1e-3, gt=0)
    bound: Number = Field(default=10 / 255, gt=0, le=1)
