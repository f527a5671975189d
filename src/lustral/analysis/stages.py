"""The images after every stage of a purifier, as they are in one real purification."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lustral.purifiers.module import Purifier
from lustral.seeds import Noise
from lustral.steps import watching
from lustral.tensors import Images

__all__ = ["Shot", "is_state", "purify_in_stages"]

_BRANCHES = ("random_choice",)  # different images go different ways, so that its parts are no stages


class Shot(NamedTuple):
    """Images (n, 3, h, w) in [0, 1] after a stage, such as "2 diffpure", or within it, "2 diffpure t=50"."""

    name: str
    images: Images


def is_state(name: str) -> bool:
    """Whether a name is that of a state within a stage."""
    return " t=" in name


class _Recorder:
    """Hears when parts begin and end and what their samplers show, and keeps the images."""

    def __init__(self, every: int | None) -> None:
        self.shots: list[Shot] = []
        self._every = every
        self._stage = ""
        self._entered = 0
        self._states = 0
        self._shape: torch.Size | None = None

    def enter(self, part: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(part, Purifier)
        self._entered += 1
        self._stage = f"{self._entered} {part.settings.name}"
        self._states = 0
        self._shape = inputs[0].shape

    def leave(self, part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self._keep(self._stage, output)

    def watch(self, event: str, facts: dict[str, Any]) -> None:
        if event != "state" or self._every is None:
            return
        self._states += 1
        if self._states % self._every == 0 and facts["t"] > 0:  # at 0 the stage is over
            state = (facts["x"] / facts["schedule"].scales[facts["t"]] + 1) / 2
            self._keep(f"{self._stage} t={facts['t']}", state.clamp(0, 1))

    def _keep(self, name: str, images: Tensor) -> None:
        if images.shape != self._shape:  # a purifier that works tile by tile shows tiles
            return
        times = sum(shot.name.partition(" (")[0] == name for shot in self.shots)
        self.shots.append(Shot(f"{name} ({times + 1})" if times else name, images.detach().clone()))


def purify_in_stages(purifier: Purifier, x: Images, noise: Noise, every: int | None = None) -> list[Shot]:
    """Purify ``x`` and keep what leaves each part of a composition, in the order in which they run.

    A purifier without parts is one stage. Where a composition does more than its parts the last shot is "result".

    Args:
        purifier: any; parts are found among its modules, also those of parts of parts.
        x: images (n, 3, h, w) in [0, 1].
        noise: of this purification; the last shot is ``purifier(x, noise)``.
        every: also show every so many states of an iterative part, rescaled by their schedule and clamped; they
            still hold the noise of their time step.

    Cost: one purification.
    """
    recorder = _Recorder(every)
    with ExitStack() as stack, torch.no_grad():
        for part in dict.fromkeys(_parts(purifier)):
            stack.callback(part.register_forward_pre_hook(recorder.enter).remove)
            stack.callback(part.register_forward_hook(recorder.leave).remove)
        stack.enter_context(watching(recorder.watch))
        result = purifier(x, noise)
    shots = recorder.shots
    if not shots or not torch.equal(shots[-1].images, result):
        shots.append(Shot("result", result))
    return shots


def _parts(purifier: Purifier) -> Iterator[Purifier]:
    """The parts that have no parts; the purifier itself if it is not composed."""
    inner = [] if purifier.settings.name in _BRANCHES else list(_nearest(purifier))
    if not inner:
        yield purifier
    for part in inner:
        yield from _parts(part)


def _nearest(module: nn.Module) -> Iterator[Purifier]:
    for child in module.children():
        if isinstance(child, Purifier):
            yield child
        else:
            yield from _nearest(child)
