"""From a name or a file to a network for super-resolution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.published import published_residual_network
from lustral.nets.restorers import enlarge, scales_of, super_resolution_network
from lustral.weights import LoadedWeights, WeightsError, load_into, load_weights

__all__ = ["Enlarger", "load_super_resolution", "spandrel_model"]


class Enlarger(nn.Module):
    """A network for super-resolution at one ratio.

    Args:
        network: images in [0, 1] -> images ``scale`` times as large.
        scale: ratio.
        multiple: sides are padded to multiples of this (reflected, then repeated) and cut back.
        smallest: and at least to this.
        square: and to the longer one.

    Shape: images (n, 3, h, w) in [0, 1] -> (n, 3, scale * h, scale * w), not clamped.
    """

    def __init__(
        self, network: nn.Module, scale: int, multiple: int = 1, smallest: int = 1, square: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.multiple = multiple
        self.smallest = smallest
        self.square = square

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 g v"]:
        height, width = x.shape[2:]
        down, right = self._padding(height, width)
        near_down, near_right = min(down, height - 1), min(right, width - 1)  # reflection reaches no further
        padded = functional.pad(x, (0, near_right, 0, near_down), mode="reflect") if near_down or near_right else x
        if (near_down, near_right) != (down, right):
            padded = functional.pad(padded, (0, right - near_right, 0, down - near_down), mode="replicate")
        return enlarge(self.network, padded, self.scale)[:, :, : self.scale * height, : self.scale * width]

    def _padding(self, height: int, width: int) -> tuple[int, int]:
        sides = [max(side, self.smallest) for side in (height, width)]
        sides = [side + -side % self.multiple for side in sides]
        high, wide = (max(sides), max(sides)) if self.square else sides
        return high - height, wide - width


def load_super_resolution(name_or_path: str, scale: int, device: str = "cpu") -> Enlarger:
    """A network for super-resolution in evaluation mode.

    Args:
        name_or_path: name of registered weights, or path of a safetensors file: one that ``lustral train`` wrote,
            published weights of EDSR or MDSR, or of any architecture that spandrel knows (extra ``restore``).
        scale: ratio that is wanted.
        device: where it lives.

    Raises:
        WeightsError: the weights cannot be read, fit no known network, or were not made for this ratio.
        ImportError: spandrel is needed and not there.
    """
    weights = load_weights(name_or_path)
    network = _own(weights)
    found = Enlarger(network, scale) if network is not None else _from_spandrel(weights)
    scales = scales_of(network) if network is not None else (found.scale,)
    if scale not in scales:
        possible = " or ".join(map(str, scales))
        raise WeightsError(f"weights {weights.name} enlarge by {possible}, got scale={scale}; use other weights")
    return found.eval().requires_grad_(False).to(device)


def _own(weights: LoadedWeights) -> nn.Module | None:
    """A network of lustral with these weights, if they are for one."""
    architecture: Any = weights.facts.get("architecture")
    try:
        with torch.device("meta"):  # neither memory nor random numbers for weights that are replaced at once
            if architecture:
                network, tensors = super_resolution_network(architecture), weights.tensors
            elif (published := published_residual_network(weights.tensors)) is not None:
                network, tensors = published
            else:
                return None
    except (TypeError, ValueError) as problem:
        raise WeightsError(f"cannot use weights {weights.name}: {problem}") from None
    load_into(network, replace(weights, tensors=tensors))
    return network


def _from_spandrel(weights: LoadedWeights) -> Enlarger:
    """The bare network that spandrel builds: its own call runs in inference mode, which has no gradient."""
    found = spandrel_model(weights)
    if found.purpose != "SR" or (found.input_channels, found.output_channels) != (3, 3):
        raise WeightsError(
            f"weights {weights.name} are {found.architecture.name} for {found.purpose} of {found.input_channels} "
            "channels; expected super-resolution of 3 channels"
        )
    needs = found.size_requirements
    return Enlarger(found.model, found.scale, needs.multiple_of, needs.minimum, needs.square)


def spandrel_model(weights: LoadedWeights) -> Any:
    """What spandrel makes of published weights: an object with the network and what it is for.

    Raises:
        ImportError: spandrel is not there.
        WeightsError: it does not know the architecture.
    """
    try:
        import spandrel
    except (ImportError, RuntimeError) as problem:  # RuntimeError: torchvision built for another torch
        reason = " ".join(str(problem).split())[:200]
        raise ImportError(f'spandrel cannot be imported ({reason}); pip install "lustral[restore]"') from problem
    try:
        with torch.random.fork_rng(devices=[]):
            return spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(dict(weights.tensors)))
    except spandrel.UnsupportedModelError:
        raise WeightsError(f"weights {weights.name} fit no architecture that lustral or spandrel knows") from None
