"""The weights of a target: their identity without loading them, and the normalisation stored with them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from lustral.files import read_regular
from lustral.weights import MAX_BYTES, LoadedWeights, WeightsError, weight_card

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["checkpoint_digest", "is_zoo_name", "split_statistics"]


def is_zoo_name(weights: str) -> bool:
    """Whether the text names registered weights; one with a folder separator or a suffix is a path."""
    return re.search(r"[/\\.]", weights) is None


def checkpoint_digest(weights: str, sha256: str | None = None) -> str:
    """sha256 of registered weights (from the registry) or of a file (``sha256`` if stated, else computed).

    Raises:
        WeightsError: unknown name or unreadable file.
    """
    if is_zoo_name(weights):
        return weight_card(weights).sha256
    return sha256.lower() if sha256 else hashlib.sha256(read_regular(weights, MAX_BYTES, WeightsError)).hexdigest()


def split_statistics(weights: LoadedWeights) -> tuple[LoadedWeights, Tensor, Tensor]:
    """Separate the weights of the network from ``mean`` and ``std`` (3,), as ``lustral train`` saves them.

    Raises:
        WeightsError: the two are not there.
    """
    rest = dict(weights.tensors)
    mean, std = rest.pop("mean", None), rest.pop("std", None)
    if mean is None or std is None or mean.shape != (3,) or std.shape != (3,):
        raise WeightsError(
            f"weights {weights.name}: expected tensors mean and std of shape (3,) next to the network, "
            f"got {', '.join(sorted(weights.tensors)[:3])}, ...; use weights that lustral train made"
        )
    return replace(weights, tensors=rest), mean, std
