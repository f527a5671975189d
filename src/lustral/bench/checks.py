"""The extra attacks by which an attack is examined. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from lustral.attacks import ATTACKS, Access, AttackSettings
from lustral.attacks.budgets import UNBOUNDED
from lustral.bench.evidence import AttackEvidence
from lustral.purifiers import PurifierSettings

__all__ = ["Check", "checks", "with_checks"]

LENGTHS = ("steps", "queries", "draws")
FEWEST = 20
GRADIENTS = ("exact", "surrogate", "known_noise", "bpda")


class Check(NamedTuple):
    """An extra attack that an indicator asks for."""

    role: str
    attack: AttackSettings
    access: Access


def checks(attack: AttackSettings, access: Access, defence: PurifierSettings, known: Collection[str]) -> list[Check]:
    """Extra attacks that the plan makes, on the first images of a suite, to examine ``attack``.

    Cost in units of the main attack on the same images, a step of which is about three forward passes: I4 2,
    I8 1 + 1, I9 1 (at least 20 steps), I11 1 for BPDA (less, as it does not go back through the purifier) and
    ``2 / steps`` for FGSM, I10 and I12 about 2/3 each (``2 * steps`` forward passes); for random defences also
    I5 2 + ``1 / eot`` and I7 ``1 / eot``. In all about 7 for a deterministic and 10 for a random defence.
    Carlini et al. ask for 1,000 and more points of random noise: put such an attack into the recipe.

    Args:
        attack: the main attack of the suite.
        access: its threat model against this defence.
        defence: what it attacks.
        known: names of attacks that the suite runs anyway.
    """
    return [
        *_longer(attack, access),
        *_sizes(attack, access),
        *_other_attackers(attack, access, defence, known),
        *(_other_draws(attack, access) if defence.is_random and access.is_adaptive else ()),
    ]


def _sizes(attack: AttackSettings, access: Access) -> Iterator[Check]:
    strength = getattr(attack, attack.strength)
    if isinstance(strength, int | float) and strength < UNBOUNDED:
        yield Check("I8:half", _resized(attack, 0.5), access)
        yield Check("I8:double", _resized(attack, 2.0), access)
        if isinstance(strength, float):  # a number of pixels has no end that images of every size share
            yield Check("I9:unbounded", _unbounded(attack), access)


def _resized(attack: AttackSettings, factor: float) -> AttackSettings:
    """The same attack of another strength; a step length that was given grows with it."""
    strength = getattr(attack, attack.strength)
    size = max(round(factor * strength), 1) if isinstance(strength, int) else factor * strength
    changes: dict[str, Any] = {attack.strength: size}
    step = getattr(attack, "step", None)
    if step is not None:
        changes["step"] = step * factor
    return attack.model_copy(update=changes)


def _unbounded(attack: AttackSettings) -> AttackSettings:
    """Any image of [0, 1] lies within Linf distance 1, whatever the norm of the attack.

    What no norm bounds may do 1 in its own unit: StAdv moves pixels by half a side. From steps of that length a step
    length that adapts needs a while to come down.
    """
    fields = type(attack).model_fields
    free: dict[str, Any] = {"step": None} if "step" in fields else {}
    if "steps" in fields:
        free["steps"] = max(FEWEST, getattr(attack, "steps", 0))
    return attack.model_copy(update={"norm": "linf", attack.strength: 1.0, **free})


def _with(access: Access, factor: int = 1, **changes: Any) -> Access:
    """Another threat model whose budget allows ``factor`` times the passes."""
    budget = None if access.budget is None else access.budget * factor
    return access.model_copy(update={"budget": budget, **changes})


def _longer(attack: AttackSettings, access: Access) -> Iterator[Check]:
    for name in LENGTHS:
        if name in type(attack).model_fields:
            longer = attack.model_copy(update={name: 2 * getattr(attack, name)})
            yield Check("I4:doubled", longer, _with(access, 2))
            return


def _other_attackers(
    attack: AttackSettings, access: Access, defence: PurifierSettings, known: Collection[str]
) -> Iterator[Check]:
    ball: dict[str, Any] = {"norm": attack.norm, "epsilon": attack.epsilon}
    scores = _with(access, knowledge="scores", surrogate=None)
    steps = int(getattr(attack, "steps", 0))
    has_ball = attack.epsilon < UNBOUNDED
    if attack.needs == "gradients" and access.knowledge != "scores" and has_ball:
        yield Check("I11:fgsm", ATTACKS["fgsm"].make(**ball), access)
    if attack.needs == "gradients" and access.knowledge in GRADIENTS:
        if defence.name != "identity" and access.knowledge != "bpda":
            yield Check("I11:bpda", attack, _with(access, knowledge="bpda", surrogate=None))
        if "square" not in known and has_ball:
            queries = 2 * max(50, steps)
            yield Check("I10:square", ATTACKS["square"].make(queries=queries, **ball), scores)
    if "random_noise" not in known and access.is_adaptive and has_ball:
        yield Check("I12:noise", ATTACKS["random_noise"].make(draws=2 * max(FEWEST, steps), **ball), scores)


def _other_draws(attack: AttackSettings, access: Access) -> Iterator[Check]:
    if access.knowledge != "known_noise":
        yield Check("I5:eot", attack, _with(access, 2, eot=2 * access.eot))
        if access.eot > 1:
            yield Check("I5:single", attack, _with(access, eot=1))
    if access.knowledge == "exact":
        yield Check("I7:known", attack, _with(access, knowledge="known_noise", eot=1))


def with_checks(attacks: Sequence[AttackEvidence], wanted: Sequence[Check]) -> tuple[AttackEvidence, ...]:
    """The same evidence, in which an attack that equals a check also stands for it.

    A plan makes a cell once and under its first name, so a check may be found among the main lines of the recipe,
    where it often covers more images, or under the role of another check.
    """
    found = list(attacks)
    for check in wanted:
        settings = (check.attack.to_json(), check.access.to_json())
        equal = [attack for attack in attacks if (attack.attack, attack.access) == settings]
        if equal:
            fullest = max(equal, key=lambda attack: (len(attack.images), attack.role == check.role))
            found = [attack for attack in found if attack.role != check.role]
            found.append(replace(fullest, role=check.role))
    return tuple(found)
