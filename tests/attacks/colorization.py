"""A tiny colorization network with random weights, and the file beside this one that holds it."""

from __future__ import annotations

from pathlib import Path

import torch

from lustral.nets.colorization import Colorization

FILE = Path(__file__).with_suffix(".safetensors")


def tiny() -> Colorization:
    """One channel where the published network has 64, and 5 classes of colour where it has 529."""
    network = Colorization(width=1, classes=5)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.ndim > 1:
                value.copy_(torch.randn(value.shape, generator=generator) / value[0].numel() ** 0.5)
            elif value.is_floating_point() and name.endswith("bias"):
                value.copy_(torch.randn(value.shape, generator=generator) / 10)
    return network.eval().half().float()  # the file holds half precision


if __name__ == "__main__":
    from safetensors.torch import save_file

    save_file({name: value.half() for name, value in tiny().state_dict().items()}, FILE)
