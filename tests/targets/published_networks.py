"""The published quality networks with few channels."""

from __future__ import annotations

from torch import nn

from lustral.nets.iqa.bottleneck import BottleneckShape
from lustral.nets.iqa.fpr import FPRNetwork
from lustral.nets.iqa.koncept import KonCeptNetwork
from lustral.nets.iqa.linearity import LinearityNetwork
from lustral.nets.iqa.spaq import SPAQNetwork

SHAPE = BottleneckShape(4, 8, 2, (2, 1, 1, 2))


def tiny_published(name: str) -> nn.Module:
    if name == "koncept512":
        return KonCeptNetwork(2, (2, 1, 1))
    if name == "spaq":
        return SPAQNetwork(SHAPE)
    return LinearityNetwork(SHAPE, (8, 6, 4)) if name == "linearity" else FPRNetwork(4)
