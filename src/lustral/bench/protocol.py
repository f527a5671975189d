"""The two phases of every number: attack with one set of draws, then score with draws that no attack has seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lustral.attacks import Access, AttackSettings
from lustral.attacks.goals import Goal
from lustral.attacks.oracle import BudgetSpent, Oracle, Selection
from lustral.seeds import Noise
from lustral.tensors import Images

__all__ = ["Attacked", "Draws", "answers", "attack_images", "draw_outputs", "score_noise", "verdicts"]

Model = Callable[[Images], Tensor]
Purify = Callable[[Images, Noise], Images]


class Draws(NamedTuple):
    """Outputs of a defended target over draws.

    Attributes:
        outputs: logits (n, draws, k) or scores (n, draws).
        first: images after the first purification.
        seconds: time spent purifying.
    """

    outputs: Tensor
    first: Images
    seconds: float


class Attacked(NamedTuple):
    """What an attack left: the chosen images and the oracle that counted and remembered."""

    selection: Selection
    oracle: Oracle


def score_noise(seed: int, ids: Sequence[str], *, attacked: bool) -> Noise:
    """Randomness of the scoring phase; clean and attacked images get different draws."""
    return Noise(seed, "score/attacked" if attacked else "score/clean", ids)


def answers(kind: str, outputs: Tensor) -> Tensor:
    """What a target says in one number per image: the predicted class, or the score; (m, k) or (m,) -> (m,)."""
    return outputs.argmax(1).double() if kind == "classifier" else outputs.double()


@torch.no_grad()
def draw_outputs(target: Model, purify: Purify, x: Images, noise: Noise, draws: int) -> Draws:
    """Purify ``x`` (n, 3, h, w) with ``draws`` different draws and look at it with the target each time.

    Cost: ``draws`` purifications and forward passes per image, in batches of n.
    """
    outputs: list[Tensor] = []
    firsts: list[Images] = []
    seconds = 0.0
    for draw in range(draws):
        started = time.perf_counter()
        purified = purify(x, noise.draws(draw, 1))
        seconds += time.perf_counter() - started
        outputs.append(target(purified))
        firsts = firsts or [purified]
    return Draws(torch.stack(outputs, 1), firsts[0], seconds)


def verdicts(goal: Goal, outputs: Tensor) -> Tensor:
    """Which draws (n, draws) of outputs (n, draws, ...) are broken."""
    n, draws = outputs.shape[:2]
    rows = torch.arange(n, device=outputs.device).repeat_interleave(draws)
    return goal.broken(outputs.flatten(0, 1), rows).unflatten(0, (n, draws))


def attack_images(
    attack: AttackSettings,
    access: Access,
    target: Model,
    goal: Goal,
    x: Images,
    *,
    seed: int,
    ids: Sequence[str],
    purifier: Purify | None = None,
    surrogate: Purify | None = None,
    selection_draws: int = 20,
) -> Attacked:
    """Run ``attack`` within its threat model and choose the best 8-bit image per row.

    Args:
        attack: what is done.
        access: what may be known.
        target: what is attacked.
        goal: to what end.
        x: clean 8-bit images (n, 3, h, w).
        seed: of the run; attack, its random starts and its selection use draws of their own.
        ids: one key per image.
        purifier: the deployed purifier; None is the undefended target.
        surrogate: the purifier that knowledge "surrogate" differentiates.
        selection_draws: judgements per candidate.
    """
    known = access.knowledge == "known_noise"
    noise = score_noise(seed, ids, attacked=True) if known else Noise(seed, "attack", ids)
    oracle = Oracle(target, goal, x, noise, access, purifier=purifier, surrogate=surrogate, ball=attack.ball())
    try:
        final = attack.run(oracle, x, Noise(seed, "start", ids))
    except BudgetSpent:
        final = oracle.best  # what the path found stands
    made_before = attack.needs == "nothing"  # choosing among its images and the clean ones would change the set
    selection = oracle.select(final, Noise(seed, "selection", ids), selection_draws, only_final=made_before)
    return Attacked(selection, oracle)
