"""As much of pyiqa as the target needs: it records how it was called and reduces scores as pyiqa does."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import torch
from torch import nn

CALLS: list[dict[str, Any]] = []


class TinyNetwork(nn.Module):
    """Scores (n, 1), as pyiqa's networks give them."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).tanh().mean((2, 3)))


class FakeMetric(nn.Module):
    def __init__(self, as_loss: bool, loss_reduction: str) -> None:
        super().__init__()
        self.net = TinyNetwork()
        self.as_loss, self.loss_reduction = as_loss, loss_reduction

    def forward(self, target: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(self.as_loss):
            scores = self.net(target)
        return scores.mean() if self.as_loss and self.loss_reduction == "mean" else scores


def create_metric(
    metric_name: str, as_loss: bool = False, device: str | None = None, loss_reduction: str = "mean", **options: object
) -> FakeMetric:
    called = {"metric": metric_name, "as_loss": as_loss, "device": device, "loss_reduction": loss_reduction}
    CALLS.append(called | options)
    return FakeMetric(as_loss, loss_reduction)


def install_fake_pyiqa() -> Any:
    """Make ``import pyiqa`` give this; the real one is far too heavy for tests."""
    module: Any = ModuleType("pyiqa")
    module.create_metric, module.TinyNetwork = create_metric, TinyNetwork
    sys.modules["pyiqa"] = module
    CALLS.clear()
    return module
