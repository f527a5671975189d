"""The weights of a target: their identity without loading them, and the normalisation stored with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lustral.weights import LoadedWeights, WeightsError, checkpoint_digest, is_zoo_name

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["checkpoint_digest", "is_zoo_name", "split_statistics"]


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
