"""Tiny LPIPS and DISTS networks with random weights, and files that hold them as published ones do."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lustral.nets.distance import Distance
from lustral.nets.dists import DISTS
from lustral.nets.lpips import LPIPS

WIDTHS = (4, 5, 6, 5, 4)


def fill(network: Distance, seed: int = 0) -> Distance:
    """Random weights in double precision; those of channels are positive, as published ones are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            drawn = torch.randn(value.shape, generator=generator)
            spread = value[0].numel() ** 0.5 if name.startswith("features") and value.ndim > 1 else 1.0
            value.copy_(drawn / spread if name.startswith("features") else drawn.abs() + 0.1)
    return network.double().eval().requires_grad_(False)


def tiny(name: str) -> Distance:
    """LPIPS "alexnet", LPIPS "vgg16" or "dists" with a few channels."""
    return fill(DISTS(WIDTHS) if name == "dists" else LPIPS(name, WIDTHS))


def two_files(network: Distance, folder: Path) -> tuple[str, str]:
    """The heads, and the backbone with a layer that classifies, in single precision as they are published."""
    state: dict[str, Tensor] = {name: value.float() for name, value in network.state_dict().items()}
    heads, backbone = folder / "heads.safetensors", folder / "backbone.safetensors"
    save_file({name: value for name, value in state.items() if not name.startswith("features")}, heads)
    rest = {name: value for name, value in state.items() if name.startswith("features")}
    save_file(rest | {"classifier.6.weight": torch.zeros(7, 3)}, backbone)
    return str(heads), str(backbone)
