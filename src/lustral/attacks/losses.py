"""Objectives of attacks on classifiers: logits and labels in, one number per image out, higher is worse for it."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from jaxtyping import Float, Int64
from torch import Tensor

__all__ = ["CLASSIFIER_LOSSES", "TARGETED_LOSSES", "cross_entropy", "difference", "dlr", "margin", "targeted_dlr"]

Logits = Float[Tensor, "n k"]
Labels = Int64[Tensor, " n"]
PerImage = Float[Tensor, " n"]


def cross_entropy(z: Logits, y: Labels) -> PerImage:
    """Cross-entropy of the label."""
    return functional.cross_entropy(z, y, reduction="none")


def margin(z: Logits, y: Labels) -> PerImage:
    """Largest wrong logit minus the right one: positive once the image is misclassified."""
    right = z.gather(1, y[:, None]).squeeze(1)
    wrong = z.scatter(1, y[:, None], -torch.inf).amax(1)
    return wrong - right


def dlr(z: Logits, y: Labels) -> PerImage:
    """Difference of logits ratio, unchanged when logits are shifted or scaled.

    Raises:
        ValueError: fewer than three classes.

    Source: Croce and Hein, arXiv:2003.01690, equation 6.
    """
    if z.shape[1] < 3:
        raise ValueError(f"the DLR loss needs at least 3 classes, got {z.shape[1]}; use ce or margin")
    top = z.topk(3, dim=1).values
    return margin(z, y) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_dlr(z: Logits, y: Labels, wanted: Labels) -> PerImage:
    """DLR towards a wanted class.

    Raises:
        ValueError: fewer than four classes.

    Source: Croce and Hein, arXiv:2003.01690, equation 7.
    """
    if z.shape[1] < 4:
        raise ValueError(f"the targeted DLR loss needs at least 4 classes, got {z.shape[1]}; use margin")
    top = z.topk(4, dim=1).values
    right, aim = z.gather(1, y[:, None]).squeeze(1), z.gather(1, wanted[:, None]).squeeze(1)
    return (aim - right) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


def difference(z: Logits, y: Labels, wanted: Int64[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Logit of a wanted class (n,), or of each of several (n, c), minus the right one: zero on their boundary."""
    return (z.gather(1, wanted.view(len(z), -1)) - z.gather(1, y[:, None])).view_as(wanted)


CLASSIFIER_LOSSES = {"ce": cross_entropy, "margin": margin, "dlr": dlr}
TARGETED_LOSSES = {"dlr": targeted_dlr, "difference": difference}
