"""What an oracle answers, and how it refuses."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from lustral.tensors import Images

__all__ = ["Answer", "BudgetSpent", "Forbidden", "Selection", "Slope", "Verdict"]

PerImage = Float[Tensor, " m"]
Flags = Bool[Tensor, " m"]


class Forbidden(PermissionError):
    """The attack asked for something that its threat model does not grant."""


class BudgetSpent(RuntimeError):
    """The next question would exceed the budget of passes; the best point so far stands."""


class Answer(NamedTuple):
    """What the oracle says about a batch.

    Attributes:
        loss: objective per image (m,), averaged over draws, higher is better for the attacker.
        broken: whether more than half of the draws are broken (m,).
    """

    loss: PerImage
    broken: Flags


class Slope(NamedTuple):
    """An answer with the gradient of ``loss`` with respect to each image, same shape as the images."""

    loss: PerImage
    broken: Flags
    gradient: Images


class Verdict(NamedTuple):
    """What many draws say about images.

    Attributes:
        rate: share of draws that each image breaks (m,).
        margin: mean distance beyond success (m,), positive where most of it is broken.
    """

    rate: PerImage
    margin: PerImage


class Selection(NamedTuple):
    """The candidates chosen over fresh draws.

    Attributes:
        x: the chosen 8-bit images (n, 3, h, w), as floats.
        unrounded: the same images before rounding to 8 bits.
        rate: share of fresh draws that each breaks (n,).
        final_rate: the same for the attack's last iterate (n,).
        rescued: images broken in most draws by a point on the path but not by the last iterate (n,).
    """

    x: Images
    unrounded: Images
    rate: PerImage
    final_rate: PerImage
    rescued: Flags
