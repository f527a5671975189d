"""The networks that restore images by name: for super-resolution, and those that keep the size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.artifact_removal import ArtifactRemover
from lustral.nets.color_filter import FCN
from lustral.nets.compressing import Compressing
from lustral.nets.drln import DRLN
from lustral.nets.edsr import EDSR
from lustral.nets.guided_denoiser import DUNET
from lustral.nets.local_implicit import LocalImplicit
from lustral.nets.masked_autoencoder import MaskedAutoencoder
from lustral.nets.mdsr import MDSR
from lustral.nets.mprnet import MPRNet
from lustral.nets.rrdb import RRDBNet

__all__ = [
    "RESTORATION",
    "SUPER_RESOLUTION",
    "enlarge",
    "restoration_network",
    "scales_of",
    "super_resolution_network",
]

SUPER_RESOLUTION: dict[str, Callable[..., nn.Module]] = {"edsr": EDSR, "mdsr": MDSR, "rrdb": RRDBNet, "drln": DRLN}
RESTORATION: dict[str, Callable[..., nn.Module]] = {
    "artifact_removal": ArtifactRemover,
    "disco": LocalImplicit,
    "fcn": FCN,
    "comdefend": Compressing,
    "hgd": DUNET,
    "mprnet": MPRNet,
    "maep": MaskedAutoencoder,
}


def super_resolution_network(architecture: Mapping[str, Any]) -> nn.Module:
    """The untrained network that a weight card describes.

    Raises:
        ValueError: a card of some other network.
    """
    return _made("super-resolution", SUPER_RESOLUTION, architecture)


def restoration_network(architecture: Mapping[str, Any]) -> nn.Module:
    """The untrained network, images -> images of the same size, that a weight card describes.

    Raises:
        ValueError: a card of some other network.
    """
    return _made("restoration", RESTORATION, architecture)


def _made(purpose: str, known: Mapping[str, Callable[..., nn.Module]], architecture: Mapping[str, Any]) -> nn.Module:
    arguments = dict(architecture)
    name = arguments.pop("network", None)
    if name not in known:
        raise ValueError(f"expected a network for {purpose} ({', '.join(known)}), got weights of {name!r}")
    return known[name](**arguments)


def scales_of(network: nn.Module) -> tuple[int, ...]:
    """The ratios that a network for super-resolution has been made for."""
    return network.scales if isinstance(network, MDSR) else (int(network.scale),)  # pyright: ignore[reportArgumentType] a number in all of them


def enlarge(network: nn.Module, x: Float[Tensor, "n 3 h w"], scale: int) -> Float[Tensor, "n 3 g v"]:
    """Enlarge images by one of the ratios of a network; one pass."""
    return network(x, scale) if isinstance(network, MDSR) else network(x)
