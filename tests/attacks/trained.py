"""Perturbations that raise the score of the contract's small target, for tests to write where they work."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from lustral.nets.perturbations import PerturbationGenerator, UniversalPerturbation
from lustral.train.loop import make_seeded
from tests.attacks.problems import noise, score_goal, setup
from tests.contracts.attacks import Target

TILE, GENERATOR = "tile.safetensors", "generator.safetensors"
WIDTHS = (4, 6)


@functools.cache
def tile() -> dict[str, Tensor]:
    """What is saved of a tile of 3 x 5 pixels."""
    return _learnt(UniversalPerturbation(3, 5)).to_saved()


@functools.cache
def generator() -> dict[str, Tensor]:
    """What is saved of a generator that halves the resolution twice."""
    return _learnt(make_seeded(lambda: PerturbationGenerator(WIDTHS), 0)).to_saved()


def brightness(x):
    """A score that every one of them moves."""
    return x.mean((1, 2, 3))


def attacked(settings, x):
    """Result and oracle of an attack on ``brightness``."""
    oracle = setup(settings, brightness, x, goal=score_goal(brightness, x))
    return settings.run(oracle, x, noise(len(x))), oracle


def _learnt(network):
    x = torch.rand(8, 3, 9, 10, generator=torch.Generator().manual_seed(0))
    adam = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(20):
        adam.zero_grad()
        (-Target("quality")((x + 0.05 * network(x)).clamp(0, 1)).mean()).backward()
        adam.step()
        if isinstance(network, UniversalPerturbation):
            network.project_()
    return network
