"""The networks for super-resolution by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.drln import DRLN
from lustral.nets.edsr import EDSR
from lustral.nets.mdsr import MDSR
from lustral.nets.rrdb import RRDBNet

__all__ = ["SUPER_RESOLUTION", "enlarge", "scales_of", "super_resolution_network"]

SUPER_RESOLUTION: dict[str, Callable[..., nn.Module]] = {"edsr": EDSR, "mdsr": MDSR, "rrdb": RRDBNet, "drln": DRLN}


def super_resolution_network(architecture: Mapping[str, Any]) -> nn.Module:
    """The untrained network that a weight card describes.

    Raises:
        ValueError: a card of some other network.
    """
    arguments = dict(architecture)
    name = arguments.pop("network", None)
    if name not in SUPER_RESOLUTION:
        known = ", ".join(SUPER_RESOLUTION)
        raise ValueError(f"expected a network for super-resolution ({known}), got weights of {name!r}")
    return SUPER_RESOLUTION[name](**arguments)


def scales_of(network: nn.Module) -> tuple[int, ...]:
    """The ratios that a network for super-resolution has been made for."""
    return network.scales if isinstance(network, MDSR) else (int(network.scale),)  # pyright: ignore[reportArgumentType] a number in all of them


def enlarge(network: nn.Module, x: Float[Tensor, "n 3 h w"], scale: int) -> Float[Tensor, "n 3 g v"]:
    """Enlarge images by one of the ratios of a network; one pass."""
    return network(x, scale) if isinstance(network, MDSR) else network(x)
