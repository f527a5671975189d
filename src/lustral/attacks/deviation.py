"""How far the states of a diffusion purifier are from the diffused image, as a term of an attacker's objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lustral.seeds import Noise
from lustral.steps import watching
from lustral.tensors import Images

__all__ = ["Deviation"]


@dataclass(frozen=True)
class Deviation:
    """``weight`` times the mean squared distance between reverse and diffused states.

    Args:
        weight: factor of the term.
        every: of this many reverse states one is used.
    """

    weight: float
    every: int = 1

    def follow(self, purify: Callable[[Images, Noise], Images], x: Images, noise: Noise) -> tuple[Images, Tensor]:
        """Purified images and the term per image (n,); the diffused states count as constants.

        Raises:
            ValueError: the purifier changes images without showing states.
        """
        states = _States(len(x), self.every)
        with watching(states):
            purified = purify(x, noise)
        if states.distances:
            return purified, self.weight * torch.stack(states.distances).mean(0)
        if torch.equal(purified, x):
            return purified, x.new_zeros(len(x))  # a control that does nothing has nothing to deviate from
        raise ValueError(
            "the purifier shows no diffused image followed by reverse states, which deviated reconstruction needs; "
            f"attack it with apgd, or lower every={self.every} if it takes fewer strides"
        )


class _States:
    """Watches one purification and measures the reverse states that follow a diffused image."""

    def __init__(self, count: int, every: int) -> None:
        self.count, self.every = count, every
        self.distances: list[Tensor] = []
        self.diffused: tuple[Tensor, Tensor] | None = None
        self.seen = 0

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        if event == "diffused":
            self.diffused, self.seen = (facts["x"].detach(), facts["e"].detach()), 0
        if event != "state" or self.diffused is None:
            return
        self.seen += 1
        if self.seen % self.every:
            return
        (clean, e), state = self.diffused, facts["x"]
        schedule, t = facts["schedule"], facts["t"]
        if state.shape != clean.shape or len(state) != self.count:
            raise ValueError(
                f"deviated reconstruction needs one reverse state per image, got {tuple(state.shape)} for "
                f"{self.count} images diffused as {tuple(clean.shape)}; attack this purifier with apgd"
            )
        diffused = schedule.scales[t] * (clean + schedule.sigmas[t] * e)
        self.distances.append((state - diffused).square().flatten(1).mean(1))
