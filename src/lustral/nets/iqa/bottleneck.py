"""The bottleneck residual networks (ResNet-50, ResNeXt-101) under the parameter names of torchvision."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.iqa.reading import block_count, require_names

__all__ = ["RESNET50", "RESNEXT101", "Bottleneck", "BottleneckShape", "bottleneck_stages", "shape_of"]


@dataclass(frozen=True)
class BottleneckShape:
    """What tells one of these networks from another.

    Attributes:
        stem: channels of the first convolution; stage i = 0 ... 3 ends with 4 * 2**i times as many.
        inner: channels between the 1 x 1 convolutions of the first stage; they double with every stage.
        groups: of the 3 x 3 convolutions.
        depths: blocks per stage.
    """

    stem: int = 64
    inner: int = 64
    groups: int = 1
    depths: tuple[int, ...] = (3, 4, 6, 3)


RESNET50 = BottleneckShape()
RESNEXT101 = BottleneckShape(inner=256, groups=32, depths=(3, 4, 23, 3))
"""ResNeXt-101 of 32 groups of 8 channels."""


class Bottleneck(nn.Module):
    """Residual block of a 1 x 1, a 3 x 3 (with the stride) and a 1 x 1 convolution.

    Shape: (n, inputs, h, w) -> (n, outputs, h / stride, w / stride).

    Source: He et al., arXiv:1512.03385, figure 5; Xie et al., arXiv:1611.05431, figure 3c. Differs: the stride is in
        the 3 x 3 convolution, as in torchvision.
    """

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        project = nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential(*project) if inputs != outputs or stride > 1 else nn.Identity()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d g v"]:
        inner = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        inner = functional.relu(self.bn2(self.conv2(inner)), inplace=True)
        return functional.relu(self.bn3(self.conv3(inner)) + self.downsample(x), inplace=True)


def bottleneck_stages(shape: BottleneckShape) -> dict[str, nn.Module]:
    """The eight parts before pooling, by torchvision's names and in its order; together 32 pixels become one."""
    stages: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, shape.stem, 7, 2, 3, bias=False),
        "bn1": nn.BatchNorm2d(shape.stem),
        "relu": nn.ReLU(inplace=True),
        "maxpool": nn.MaxPool2d(3, 2, 1),
    }
    inputs = shape.stem
    for stage, depth in enumerate(shape.depths):
        inner, outputs = shape.inner * 2**stage, 4 * shape.stem * 2**stage
        blocks: list[nn.Module] = []
        for block in range(depth):
            blocks.append(Bottleneck(inputs, inner, outputs, 2 if stage and not block else 1, shape.groups))
            inputs = outputs
        stages[f"layer{stage + 1}"] = nn.Sequential(*blocks)
    return stages


def shape_of(weights: Mapping[str, Tensor], what: str, stem: str, stages: Sequence[str]) -> BottleneckShape:
    """The shape that weights were saved from.

    Args:
        weights: by name.
        what: the network, for the error.
        stem: name of the first convolution, such as "backbone.conv1".
        stages: names of the four stages, such as "backbone.layer1".

    Raises:
        ValueError: the weights are of some other network.
    """
    first, second = f"{stages[0]}.0.conv1.weight", f"{stages[0]}.0.conv2.weight"
    require_names(weights, what, f"{stem}.weight", first, second)
    inner = len(weights[first])
    depths = tuple(block_count(weights, rf"{re.escape(stage)}\.(\d+)\.conv1\.weight") for stage in stages)
    return BottleneckShape(len(weights[f"{stem}.weight"]), inner, inner // weights[second].shape[1], depths)
