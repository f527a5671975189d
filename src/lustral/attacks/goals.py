"""What the attacker wants from the outputs of a target, for classifiers and for quality metrics alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lustral.attacks.losses import CLASSIFIER_LOSSES, TARGETED_LOSSES, margin

__all__ = ["Goal", "Misclassify", "MoveScore", "rivals"]


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

    def select(self, rows: Tensor) -> Goal:
        """The same for some images of the chunk, which are numbered from 0."""
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
        name = name or ("ce" if wanted is None else "dlr")
        known = CLASSIFIER_LOSSES if wanted is None else TARGETED_LOSSES
        if name not in known:
            kind = "classifier" if wanted is None else "targeted"
            raise ValueError(f"unknown {kind} loss {name!r}; known: {', '.join(known)}")
        return (
            CLASSIFIER_LOSSES[name](outputs, labels)
            if wanted is None
            else TARGETED_LOSSES[name](outputs, labels, wanted)
        )

    def margin(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return margin(outputs, self.labels[rows])

    def broken(self, outputs: Tensor, rows: Tensor) -> Tensor:
        return outputs.argmax(1) != self.labels[rows]

    def select(self, rows: Tensor) -> Misclassify:
        return replace(self, labels=self.labels[rows])


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

    def select(self, rows: Tensor) -> MoveScore:
        return replace(self, reference=self.reference[rows])


def rivals(goal: Goal, logits: Tensor, count: int | None = None) -> Tensor:
    """The most likely wrong classes (n, count) by logits (n, k), most likely first; all of them by default.

    Raises:
        ValueError: the goal has no classes.
    """
    if not isinstance(goal, Misclassify):
        raise ValueError("wrong classes need a classifier; use the loss 'natural' for a quality metric")
    wrong = logits.scatter(1, goal.labels[:, None], -torch.inf)
    most = logits.shape[1] - 1
    return wrong.topk(most if count is None else min(count, most), dim=1).indices
