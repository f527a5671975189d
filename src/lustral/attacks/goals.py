"""What the attacker wants from the outputs of a target, for classifiers and for quality metrics alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lustral.attacks.losses import CLASSIFIER_LOSSES, margin, targeted_dlr

__all__ = ["Goal", "Misclassify", "MoveScore"]


@runtime_checkable
class Goal(Protocol):
    """Turns outputs into objectives. ``rows`` says to which images of the chunk the outputs belong."""

    @property
    def kind(self) -> str:
        """What it is meant for: "classifier" or "quality"."""
        ...

    def loss(self, outputs: Tensor, rows: Tensor, name: str | None, wanted: Tensor | None) -> Tensor:
        """Objective per image (m,), higher is better for the attacker.

        ``name`` None is the natural one; "margin" is what ``margin`` gives.
        """
        ...

    def margin(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Distance beyond success per image (m,): positive means broken. Ranks candidates."""
        ...

    def broken(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Whether each image counts as broken (m,)."""
        ...


@dataclass(frozen=True)
class Misclassify:
    """Any other class than the label.

    Args:
        labels: true classes (n,) of the chunk.
    """

    labels: Tensor
    kind: str = "classifier"

    def loss(self, outputs: Tensor, rows: Tensor, name: str | None, wanted: Tensor | None) -> Tensor:
        labels = self.labels[rows]
        if wanted is not None:
            return targeted_dlr(outputs, labels, wanted)
        if (name or "ce") not in CLASSIFIER_LOSSES:
            raise ValueError(f"unknown classifier loss {name!r}; known: {', '.join(CLASSIFIER_LOSSES)}")
        return CLASSIFIER_LOSSES[name or "ce"](outputs, labels)

    def margin(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return margin(outputs, self.labels[rows])

    def broken(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return outputs.argmax(1) != self.labels[rows]


@dataclass(frozen=True)
class MoveScore:
    """Move a quality score away from its value on the clean image.

    Args:
        reference: score of every clean image (n,) as the attacked system gives it.
        low, high: range of the metric; the objective is in units of ``high - low``.
        sign: +1 raises the score, -1 lowers it, 0 takes whichever way is farther.
        success: share of the range by which the score must move to count as broken.
    """

    reference: Tensor
    low: float
    high: float
    sign: int = 1
    success: float = 0.1
    kind: str = "quality"

    def loss(self, outputs: Tensor, rows: Tensor, name: str | None, wanted: Tensor | None) -> Tensor:
        if name not in (None, "score"):
            raise ValueError(f"a quality metric has only the loss 'score', got {name!r}; {name} needs a classifier")
        moved = (outputs - self.reference[rows]) / (self.high - self.low)
        if self.sign:
            return self.sign * moved
        # Exactly at the reference the two ways are equal and abs has no slope: start upwards.
        return torch.where(moved >= 0, moved, -moved)

    def margin(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return self.loss(outputs, rows, None, None) - self.success

    def broken(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return self.margin(outputs, rows) > 0
