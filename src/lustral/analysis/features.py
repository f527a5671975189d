"""Feature maps of a network at chosen layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from lustral.settings import SettingsError
from lustral.targets.module import Target
from lustral.tensors import Images

__all__ = ["choose_layers", "default_layers", "feature_maps"]


def feature_maps(target: Target, layers: Sequence[str], x: Images) -> tuple[dict[str, Tensor], Tensor]:
    """Outputs of ``layers`` for images (n, 3, h, w), and the output of the target.

    A layer that runs several times gives its last output. Cost: one forward pass.
    """
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                found[name] = output.detach().clone()  # the next layer may work in place

        return keep

    modules = dict(target.network.named_modules())
    with ExitStack() as stack, torch.no_grad():
        for name in layers:
            stack.callback(modules[name].register_forward_hook(hook(name)).remove)
        output = target(x)
    return found, output


def default_layers(target: Target, x: Images) -> tuple[str, ...]:
    """Every stage: the network's children, sequences opened once, that have weights and give feature maps."""
    names: list[str] = []
    for name, child in target.network.named_children():
        inner = [f"{name}.{key}" for key, _ in child.named_children()] if isinstance(child, nn.Sequential) else []
        names += inner or [name]
    names = [name for name in names if next(target.network.get_submodule(name).parameters(), None) is not None]
    return _that_are_maps(target, names, x) or _that_are_maps(target, _named(target), x)


def choose_layers(target: Target, wanted: Sequence[str], x: Images) -> tuple[str, ...]:
    """The layers asked for, or the default ones if none is.

    Args:
        target: whose ``network.named_modules`` are the layers.
        wanted: names.
        x: an image (1, 3, h, w) to try them on.

    Raises:
        SettingsError: a name is unknown or its output is no tensor with one row per image; the known are listed.
    """
    if not wanted:
        return default_layers(target, x)
    known = _named(target)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SettingsError(
            f"unknown layer {unknown[0]!r} of {target.settings.name}; stages: {', '.join(default_layers(target, x))}; "
            f"all layers: {', '.join(known)}"
        )
    given, _ = feature_maps(target, wanted, x)
    useless = [name for name in wanted if name not in given or len(given[name]) != len(x)]
    if useless:
        raise SettingsError(f"layer {useless[0]!r} of {target.settings.name} gives no features of every image")
    return tuple(dict.fromkeys(wanted))


def _named(target: Target) -> list[str]:
    return [name for name, _ in target.network.named_modules() if name]


def _that_are_maps(target: Target, names: Sequence[str], x: Images) -> tuple[str, ...]:
    given, _ = feature_maps(target, names, x)
    return tuple(name for name in names if name in given and given[name].ndim == 4 and given[name][0, 0].numel() > 1)
