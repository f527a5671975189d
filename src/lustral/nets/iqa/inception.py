"""Inception-ResNet-v2 up to its features, under the parameter names of Cadene's port."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["WIDTH", "inception_resnet_stages"]

WIDTH = 32
"""Channels of the first convolution of the published network."""

Kernel = int | tuple[int, int]


class _Branches(nn.Module):
    """Branches side by side, their channels one after the other."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d g v"]:
        return torch.cat([branch(x) for branch in self.children()], 1)


class _ResidualBranches(nn.Module):
    """A residual block whose branches are mixed by a 1 x 1 convolution and scaled down."""

    def __init__(self, scale: float, inputs: int, mixed: int, *branches: nn.Module, last: bool = False) -> None:
        super().__init__()
        self.count = len(branches)
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)
        self.conv2d = nn.Conv2d(mixed, inputs, 1)
        self.scale = scale
        self.last = last

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        mixed = torch.cat([self.get_submodule(f"branch{number}")(x) for number in range(self.count)], 1)
        x = x + self.scale * self.conv2d(mixed)
        return x if self.last else functional.relu(x)


class _Builder:
    """Makes the parts of a network whose first convolution has ``width`` channels instead of 32."""

    def __init__(self, width: int) -> None:
        self.width = width

    def channels(self, published: int) -> int:
        return published * self.width // WIDTH

    def unit(self, inputs: int, outputs: int, kernel: Kernel = 1, stride: int = 1, same: bool = False) -> nn.Module:
        """Convolution, normalisation and ReLU; ``same`` pads so that the size stays."""
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if same else (0, 0)
        inputs, outputs = inputs if inputs == 3 else self.channels(inputs), self.channels(outputs)
        return nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False),
                bn=nn.BatchNorm2d(outputs, eps=1e-3),
                relu=nn.ReLU(inplace=True),
            )
        )

    def chain(self, inputs: int, *steps: tuple[int, Kernel], reduce: bool = False) -> nn.Sequential:
        """Units one after the other; ``reduce`` gives the last one stride 2 and no padding."""
        units: list[nn.Module] = []
        for number, (outputs, kernel) in enumerate(steps):
            halves = reduce and number == len(steps) - 1
            units.append(self.unit(inputs, outputs, kernel, 2 if halves else 1, not halves))
            inputs = outputs
        return nn.Sequential(*units)

    def block35(self) -> nn.Module:
        branches = self.unit(320, 32), self.chain(320, (32, 1), (32, 3)), self.chain(320, (32, 1), (48, 3), (64, 3))
        return _ResidualBranches(0.17, self.channels(320), self.channels(128), *branches)

    def block17(self) -> nn.Module:
        branches = self.unit(1088, 192), self.chain(1088, (128, 1), (160, (1, 7)), (192, (7, 1)))
        return _ResidualBranches(0.10, self.channels(1088), self.channels(384), *branches)

    def block8(self, last: bool = False) -> nn.Module:
        branches = self.unit(2080, 192), self.chain(2080, (192, 1), (224, (1, 3)), (256, (3, 1)))
        scale = 1.0 if last else 0.20
        return _ResidualBranches(scale, self.channels(2080), self.channels(448), *branches, last=last)


def inception_resnet_stages(width: int = WIDTH, repeats: Sequence[int] = (10, 20, 9)) -> list[nn.Module]:
    """The fifteen parts before pooling, in the published order; images of 299 x 299 become features of 8 x 8.

    Args:
        width: channels of the first convolution, even; all others are in proportion, at the end 48 times as many.
        repeats: residual blocks of the three resolutions.

    Source: Szegedy et al., arXiv:1602.07261. Differs: like the published weights, those of TensorFlow's code, it has a
        plain stem and the residual scales 0.17, 0.10 and 0.20.
    """
    if width < 2 or width % 2:
        raise ValueError(f"expected an even number of channels in the first convolution, got {width}")
    make = _Builder(width)
    averaged = nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), make.unit(192, 64))
    mixed5b = _Branches(
        make.unit(192, 96), make.chain(192, (48, 1), (64, 5)), make.chain(192, (64, 1), (96, 3), (96, 3)), averaged
    )
    mixed6a = _Branches(
        make.unit(320, 384, 3, 2), make.chain(320, (256, 1), (256, 3), (384, 3), reduce=True), nn.MaxPool2d(3, 2)
    )
    mixed7a = _Branches(
        make.chain(1088, (256, 1), (384, 3), reduce=True),
        make.chain(1088, (256, 1), (288, 3), reduce=True),
        make.chain(1088, (256, 1), (288, 3), (320, 3), reduce=True),
        nn.MaxPool2d(3, 2),
    )
    return [
        make.unit(3, 32, 3, 2),
        make.unit(32, 32, 3),
        make.unit(32, 64, 3, same=True),
        nn.MaxPool2d(3, 2),
        make.unit(64, 80),
        make.unit(80, 192, 3),
        nn.MaxPool2d(3, 2),
        mixed5b,
        nn.Sequential(*(make.block35() for _ in range(repeats[0]))),
        mixed6a,
        nn.Sequential(*(make.block17() for _ in range(repeats[1]))),
        mixed7a,
        nn.Sequential(*(make.block8() for _ in range(repeats[2]))),
        make.block8(last=True),
        make.unit(2080, 1536),
    ]
