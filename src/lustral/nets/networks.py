"""From a name or a file to one kind of network, or to whatever network restores images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.loading import Enlarger, spandrel_model
from lustral.nets.mdsr import MDSR
from lustral.nets.published import published_residual_network
from lustral.nets.published_restorers import published_local_implicit, published_mprnet
from lustral.nets.restorers import SUPER_RESOLUTION, restoration_network, super_resolution_network
from lustral.weights import LoadedWeights, WeightsError, load_into, load_weights

__all__ = ["load_any_restorer", "load_network"]

Network = TypeVar("Network", bound=nn.Module)

_PUBLISHED = (published_residual_network, published_local_implicit, published_mprnet)


class _Called(nn.Module):
    """A network together with the way in which spandrel calls it: what it is told besides the image, what it returns.

    Args:
        network: in the arrangement of its authors.
        call: network, images -> images.
    """

    def __init__(self, network: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.call = call

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 g v"]:
        return self.call(self.network, x)


def load_network(name_or_path: str, kind: type[Network], device: str = "cpu") -> Network:
    """A network of one kind in evaluation mode.

    Args:
        name_or_path: name of registered weights, or path of a safetensors file that ``lustral train`` wrote or that
            holds published weights which tell their network by their names.
        kind: class of the network.
        device: where it lives.

    Raises:
        WeightsError: the weights cannot be read, or are of another network.
    """
    weights = load_weights(name_or_path)
    network = _own(weights)
    if not isinstance(network, kind):
        found = "an unknown network" if network is None else type(network).__name__
        raise WeightsError(f"weights {weights.name} are of {found}, expected {kind.__name__}; use other weights")
    return network.eval().requires_grad_(False).to(device)


def load_any_restorer(name_or_path: str, mixed_with: str = "", share: float = 1.0, device: str = "cpu") -> Enlarger:
    """A network that restores images at their own size or larger, in evaluation mode.

    Args:
        name_or_path: name of registered weights, or path of a safetensors file: one that ``lustral train`` wrote,
            published weights of EDSR, DISCO or MPRNet, or of any restoration or super-resolution network that
            spandrel knows (extra ``restore``).
        mixed_with: weights of the same network; every number becomes ``share`` of the first and the rest of these.
        share: 0 to 1.
        device: where it lives.

    Raises:
        WeightsError: the weights cannot be read, fit no known network, or not each other.
        ImportError: spandrel is needed and not there.
    """
    weights = load_weights(name_or_path)
    if mixed_with:
        weights = _mixture(weights, load_weights(mixed_with), share)
    network = _own(weights)
    found = _from_spandrel(weights) if network is None else Enlarger(network, _scale(network, weights.name))
    return found.eval().requires_grad_(False).to(device)


def _mixture(weights: LoadedWeights, others: LoadedWeights, share: float) -> LoadedWeights:
    shapes, expected = ({name: value.shape for name, value in one.tensors.items()} for one in (others, weights))
    if shapes != expected:
        raise WeightsError(f"weights {others.name} and {weights.name} are of different networks; mix those of one")
    tensors = {
        name: torch.lerp(others.tensors[name], value, share) if value.is_floating_point() else value
        for name, value in weights.tensors.items()
    }
    return replace(weights, tensors=tensors)


def _own(weights: LoadedWeights) -> nn.Module | None:
    """A network of lustral with these weights, if they are for one."""
    architecture: Any = weights.facts.get("architecture")
    try:
        with torch.device("meta"):  # neither memory nor random numbers for weights that are replaced at once
            if architecture:
                is_larger = architecture.get("network") in SUPER_RESOLUTION
                make = super_resolution_network if is_larger else restoration_network
                network, tensors = make(architecture), weights.tensors
            else:
                published = (read(weights.tensors) for read in _PUBLISHED)
                network, tensors = next(filter(None, published), (None, weights.tensors))
    except (TypeError, ValueError) as problem:
        raise WeightsError(f"cannot use weights {weights.name}: {problem}") from None
    if network is not None:
        load_into(network, replace(weights, tensors=tensors))
    return network


def _scale(network: nn.Module, name: str) -> int:
    if isinstance(network, MDSR):
        raise WeightsError(f"weights {name} enlarge by {network.scales}, whichever is wanted; use super_resolve")
    return int(getattr(network, "scale", 1))


def _from_spandrel(weights: LoadedWeights) -> Enlarger:
    """The network without spandrel's own call, which runs in inference mode and has no gradient."""
    found = spandrel_model(weights)
    if found.purpose not in ("SR", "Restoration") or (found.input_channels, found.output_channels) != (3, 3):
        raise WeightsError(
            f"weights {weights.name} are {found.architecture.name} for {found.purpose} of {found.input_channels} "
            "channels; expected super-resolution or restoration of 3 channels"
        )
    needs = found.size_requirements
    network = _Called(found.model, vars(found)["_call_fn"])
    return Enlarger(network, found.scale, needs.multiple_of, max(1, needs.minimum), needs.square)
