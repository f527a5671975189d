"""Reading the shape of a published network off its weights, and filling it with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from lustral.weights import WeightsError, load_into, load_weights

__all__ = ["Published", "block_count", "load_published", "require_names"]

Published = tuple[nn.Module, dict[str, Tensor]]
"""An untrained network and the weights that fit it."""


def require_names(weights: Mapping[str, Tensor], what: str, *names: str) -> None:
    """Check that the weights can be those of a network.

    Raises:
        ValueError: one of the names is not there.
    """
    missing = next((name for name in names if name not in weights), None)
    if missing is not None:
        raise ValueError(
            f"expected weights of {what} with {missing}, got tensors {', '.join(sorted(weights)[:3])}, ...; "
            "docs/targets.md shows how to make the file from the published checkpoint"
        )


def block_count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers the one group of ``pattern`` takes among the names."""
    return len({match[1] for match in (re.fullmatch(pattern, name) for name in weights) if match})


def load_published(
    read: Callable[[Mapping[str, Tensor]], Published], name_or_path: str, sha256: str | None = None
) -> nn.Module:
    """A network filled with published weights.

    Args:
        read: makes the network that the weights fit, and drops those that only its training needs.
        name_or_path: path of a safetensors file, or a registered name.
        sha256: what the file must hash to; None trusts the file that is there.

    Raises:
        WeightsError: the weights cannot be read or are of another network.
    """
    weights = load_weights(name_or_path, sha256)
    try:
        with torch.device("meta"):  # neither memory nor random numbers for weights that are replaced at once
            network, tensors = read(weights.tensors)
    except (IndexError, TypeError, ValueError) as problem:
        raise WeightsError(f"cannot use weights {weights.name}: {problem}") from None
    load_into(network, replace(weights, tensors=tensors))
    return network
