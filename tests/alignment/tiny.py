"""A quality network of a few weights, and pictures of 16 pixels."""

import hashlib
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from lustral.images import write_image
from lustral.targets import TargetSettings
from lustral.targets.module import Target


class Tiny(TargetSettings):
    """A convolution, a squashing and a mean."""

    name: ClassVar[str] = "tiny"
    source: ClassVar[str] = "nowhere"
    weights: int = 0

    @property
    def kind(self):
        return "quality"

    def weights_digest(self):
        return hashlib.sha256(bytes([self.weights])).hexdigest()

    def build(self, device="cpu"):
        generator = torch.Generator().manual_seed(self.weights)
        convolution = nn.Conv2d(3, 4, 3, padding=1)
        with torch.no_grad():
            for weight in convolution.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) / 3)
        network = nn.Sequential(convolution, nn.Tanh(), nn.Flatten(), Mean())
        return Target(self, network).to(device)


class Mean(nn.Module):
    def forward(self, x):
        return x.square().mean(1)


def write_pictures(folder, count=4, seed=0, side=16):
    """Grey enough for a ball of 16 levels, and not flat."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for row in range(count):
        write_image(folder / f"{seed}-{row}.png", random.integers(60, 196, (side, side, 3), dtype=np.uint8))
    return f"folder:path={folder}"
