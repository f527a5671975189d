"""The convolutional layers of AlexNet and VGG16, with the names that torchvision gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from lustral.weights import LoadedWeights, WeightsError, load_weights

__all__ = ["BACKBONES", "WIDTHS", "Backbone", "Stages", "alexnet", "backbone_of", "load_together", "vgg16"]

Backbone = Literal["alexnet", "vgg16"]
Pool = Callable[[], nn.Module]

WIDTHS: dict[Backbone, tuple[int, ...]] = {"alexnet": (64, 192, 384, 256, 256), "vgg16": (64, 128, 256, 512, 512)}
"""Channels at the ends of the five stages of the published networks."""

_PLACES: dict[Backbone, tuple[int, ...]] = {
    "alexnet": (0, 3, 6, 8, 10),
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
}  # of the convolutions among the layers
_ENDS: dict[Backbone, tuple[int, ...]] = {"alexnet": (2, 5, 8, 10, 12), "vgg16": (4, 9, 16, 23, 30)}
_DEPTHS = (2, 2, 3, 3, 3)  # convolutions per stage of VGG16


class Stages(nn.ModuleList):
    """Layers in a row.

    Args:
        layers: in order.
        ends: numbers of layers after which a stage is complete.

    Shape: images (n, 3, h, w) -> features (n, c, g, v) at the end of every stage.
    """

    def __init__(self, layers: Sequence[nn.Module], ends: Sequence[int]) -> None:
        super().__init__(layers)
        self.ends = tuple(ends)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
        found: list[Tensor] = []
        for number, layer in enumerate(self, 1):
            x = layer(x)
            if number in self.ends:
                found.append(x)
        return found


def alexnet(widths: Sequence[int]) -> Stages:
    """The features of AlexNet up to its last ReLU; every convolution ends a stage.

    Source: Krizhevsky, arXiv:1404.5997, in the form of torchvision.
    """
    one, two, three, four, five = widths
    layers = [
        *(nn.Conv2d(3, one, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(one, two, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
    ]
    for inputs, outputs in pairwise((two, three, four, five)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
    return Stages(layers, _ENDS["alexnet"])


def _halve() -> nn.Module:
    return nn.MaxPool2d(2, 2)


def vgg16(widths: Sequence[int], pool: Pool = _halve) -> Stages:
    """The features of VGG16 up to its last ReLU; a stage ends before each pooling.

    Args:
        widths: channels of the five stages.
        pool: makes what stands between two stages.

    Source: Simonyan and Zisserman, arXiv:1409.1556, configuration D.
    """
    layers: list[nn.Module] = []
    inputs = 3
    for depth, width in zip(_DEPTHS, widths, strict=True):
        layers += [pool()] if layers else []
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = width
    return Stages(layers, _ENDS["vgg16"])


BACKBONES: dict[Backbone, Callable[[Sequence[int]], Stages]] = {"alexnet": alexnet, "vgg16": vgg16}


def load_together(files: Sequence[str]) -> LoadedWeights:
    """Tensors of several files, at least one, as if they were in one; layers that classify are left out.

    Raises:
        WeightsError: a file cannot be read.
    """
    found = [load_weights(file) for file in files]
    tensors = {
        name: tensor for part in found for name, tensor in part.tensors.items() if not name.startswith("classifier.")
    }
    return replace(found[0], name=" and ".join(part.name for part in found), tensors=tensors)


def backbone_of(weights: LoadedWeights) -> tuple[Backbone, tuple[int, ...]]:
    """Which network the tensors called ``features`` belong to, and the channels of its stages.

    Raises:
        WeightsError: none that is known here.
    """
    found = {
        int(match[1]): len(tensor)
        for name, tensor in weights.tensors.items()
        if (match := re.fullmatch(r"features\.(\d{1,3})\.weight", name)) and tensor.ndim == 4
    }
    for name, places in _PLACES.items():
        if found.keys() == set(places):
            return name, tuple(found[end - 2] for end in _ENDS[name])
    some = ", ".join(sorted(name[:40] for name in weights.tensors)[:5])
    raise WeightsError(
        f"weights {weights.name} hold neither AlexNet nor VGG16 as torchvision names their layers: expected tensors "
        f"such as features.0.weight, got {some or 'none'}; add the converted file of torchvision"
    )
