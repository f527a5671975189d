"""The module that ``PurifierSettings.build`` returns: one place that checks shapes and range."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from lustral.purifiers.base import PurifierSettings
from lustral.seeds import Noise
from lustral.tensors import Images

__all__ = ["Purifier"]


class Purifier(nn.Module):
    """A built purifier.

    Args:
        settings: what it was built from.
        function: the purification itself, ``(x, noise) -> x``.
        networks: networks that ``function`` uses, so that ``.to``, ``.parameters`` and hashes see them;
            they are put in evaluation mode with frozen parameters.

    Shape: images (n, 3, h, w) in [0, 1] -> the same shape, dtype and device, clamped to [0, 1].
        The input is never modified. ``forward`` is differentiable as ``settings.gradient`` declares.
    """

    def __init__(
        self, settings: PurifierSettings, function: Callable[[Images, Noise], Images], *networks: nn.Module
    ) -> None:
        super().__init__()
        self.settings = settings
        self.function = function
        self.networks = nn.ModuleList(networks).eval().requires_grad_(False)

    def forward(self, x: Images, noise: Noise) -> Images:
        y = self.function(x, noise)
        if y.shape != x.shape or y.dtype != x.dtype:
            raise ValueError(
                f"{self.settings.name} must keep shape and dtype, got {tuple(x.shape)} {x.dtype} and "
                f"returned {tuple(y.shape)} {y.dtype}"
            )
        return y.clamp(0, 1)
