"""What the tables of paper 000 group by: every row of a quality target with its facets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from lustral.attacks import parse_attack
from lustral.bench.strengths import LEVELS
from lustral.purifiers import parse_purifier
from lustral.report.results import WORST, Result, agreement_sign, plain_settings
from lustral.report.table import Row, Table
from lustral.report.text import data_text, defence_text, target_text
from lustral.settings import SettingsError, canonical

__all__ = ["MODES", "TYPES", "Entry", "Facets", "Mode", "defence_name", "entries_of", "method_name", "mode_of"]

Mode = Literal["blind", "paper", "standard"]

MODES: dict[Mode, str] = {
    "blind": "non-adaptive",
    "paper": "adaptive (one draw)",
    "standard": "adaptive (standard protocol)",
}
"""How much an attacker knows: nothing; the defence, as paper 000 attacks it, with one draw of its randomness per
gradient; the defence with averages over draws, surrogate gradients or its noise."""

TYPES = ("restricted white-box", "unrestricted white-box", "black-box", "stored")

_LEVEL = re.compile(rf", ({'|'.join(LEVELS)})$")


@dataclass(frozen=True)
class Facets:
    """What a row is about.

    Attributes:
        defence: short text of its settings.
        preset: its settings as canonical JSON, by which rows of one defence are told.
        method: its name without settings; see ``method_name``.
        attack: name of the attack's method.
        label: name of the attack in the recipe; with ``suite`` it names a cell of the paper's means.
        level: "weak", "medium", "strong" or empty.
    """

    suite: str
    dataset: str
    target: str
    defence: str
    preset: str
    method: str
    family: str
    is_random: bool
    gradient: str
    attack: str
    label: str
    level: str
    type: str
    mode: Mode

    @property
    def cell(self) -> tuple[str, str]:
        """Suite and attack: one attack at one strength on one target and data set."""
        return self.suite, self.label


@dataclass(frozen=True, eq=False)
class Entry:
    """A row with a score for every image.

    Attributes:
        sign: factor that makes a good metric's correlation with the data set positive: -1 where only one of the two
            says that lower is better.
    """

    facets: Facets
    result: Result
    sign: int = 1


def entries_of(table: Table) -> list[Entry]:
    """The rows of quality targets under one attack each, in the order of the table.

    Left out are rows without images, and white-box or black-box attacks of one draw on defences without a gradient,
    where paper 000 has dashes.
    """
    lines = {
        (suite["name"], line["label"]): line
        for suite in table.source.recipe.get("suite", ())
        for line in suite.get("attack", ())
    }
    found: list[Entry] = []
    for row, result in zip(table.rows, table.results, strict=True):
        if row["kind"] != "quality" or row["attack"] == WORST or not len(result.samples):
            continue
        facets = _facets(row, result, lines.get((result.suite, result.label), {}))
        if facets.mode != "paper" or facets.gradient != "none":
            found.append(Entry(facets, result, agreement_sign(result.settings)))
    return found


def _facets(row: Row, result: Result, line: Mapping[str, Any]) -> Facets:
    strength, level = line.get("strength"), _LEVEL.search(result.label)
    return Facets(
        suite=result.suite,
        dataset=data_text(plain_settings(result.settings["data"])),
        target=target_text(plain_settings(result.settings["target"])),
        defence=defence_text(result.defence),
        preset=canonical(result.defence),
        method=method_name(result.defence),
        family=_family(canonical(result.defence)),
        is_random=row["is_random"],
        gradient=row["gradient"],
        attack=str(result.attack.get("name", "?")),
        label=result.label,
        level=str(strength["level"]) if strength else level[1] if level else "",
        type=_attack_type(canonical(result.attack)),
        mode=mode_of(line.get("access") or result.access),
    )


def mode_of(access: Mapping[str, Any]) -> Mode:
    """How an attack counts, by what the recipe says: for a defence without randomness the cells keep one draw only."""
    knowledge = access.get("knowledge")
    if knowledge == "blind":
        return "blind"
    return "paper" if knowledge in ("exact", "scores") and access.get("eot", 1) == 1 else "standard"


def defence_name(settings: Mapping[str, Any]) -> str:
    """What readers call a defence."""
    return "without defence" if settings.get("name") == "identity" else defence_text(settings)


def method_name(defence: Mapping[str, Any]) -> str:
    """Name of a defence without its settings; of a composition with the names of its parts.

    >>> method_name({"name": "chain", "parts": [{"name": "jpeg", "quality": 75}, {"name": "flip"}]})
    'jpeg | flip'
    >>> method_name({"name": "repeat", "times": 3, "part": {"name": "jpeg", "quality": 75}})
    'repeat(jpeg)'
    >>> method_name({"name": "random_choice", "parts": [{"name": "jpeg", "quality": 75}, {"name": "flip"}]})
    'random_choice(jpeg, flip)'
    """
    match defence:
        case {"name": "chain", "parts": [*parts]}:
            return " | ".join(method_name(part) for part in parts)
        case {"name": "random_choice" as name, "parts": [*parts]}:
            return f"{name}({', '.join(method_name(part) for part in parts)})"
        case {"name": "repeat" as name, "part": part}:
            return f"{name}({method_name(part)})"
        case _:
            return str(defence.get("name", "?"))


@cache
def _family(defence: str) -> str:
    try:
        return parse_purifier(json.loads(defence)).family
    except SettingsError:  # an older version's settings: the numbers stand
        return "other"


@cache
def _attack_type(attack: str) -> str:
    """Type of an attack by what it asks of the target.

    Source: paper 000, table 17. Differs: "restricted" are white-box attacks that a norm bounds by less than the range
        of the pixels; perturbations learned beforehand count as white-box, because gradients made them.
    """
    try:
        settings = parse_attack(json.loads(attack))
    except SettingsError:
        return "stored"
    if settings.needs == "nothing":
        return "stored"
    if settings.needs == "scores" and not settings.weights_used():
        return "black-box"
    bounded = settings.strength == "epsilon" and settings.epsilon < 1
    return "restricted white-box" if bounded else "unrestricted white-box"
