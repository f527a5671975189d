"""Chunks put together: one result per suite, defence and attack, with everything known about its images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lustral.bench.evidence import GradientCheck
from lustral.data import DATA
from lustral.purifiers import PURIFIERS, parse_purifier
from lustral.report.samples import Samples, common, gather, join, pick
from lustral.report.source import Source, StoredCell
from lustral.settings import SettingsError, canonical
from lustral.targets import TARGETS, parse_target

__all__ = [
    "WORST",
    "Aim",
    "Result",
    "Traits",
    "agreement_sign",
    "aim_of",
    "collect",
    "gradient_check",
    "plain_settings",
    "worst_of_all",
]

WORST = "worst of all"
"""Label of the row in which every image meets the attack that breaks it most often."""


@dataclass(frozen=True)
class Traits:
    """What a defence declares, and what it costs per image.

    Attributes:
        gradient: "exact", "bpda" or "none"; "unknown" where neither the cells nor this version say.
        is_random: whether two purifications differ.
        passes: network passes.
        milliseconds: wall time of one purification; NaN if it was not measured.
        ratio: wall time of purifier and target over that of the bare target.
    """

    gradient: str
    is_random: bool
    passes: float
    milliseconds: float
    ratio: float


@dataclass(frozen=True)
class Aim:
    """What is attacked: kind of target, score range, and what counts as success."""

    kind: str
    range: tuple[float, float]
    success: float
    sign: int


@dataclass(frozen=True, eq=False)
class Result:
    """One attack on one defence of one suite.

    Attributes:
        settings: those of one of its cells; data, target and seed are the same in all.
        maker: for the role "transfer", the defence that the attacked images were made on.
        facts: facts of its scoring or adaptive cells, joined.
        samples: per-image columns of clean, attack and scoring cells side by side.
        clean: columns of all clean images of the defence, also of those that this attack did not see.
        cells: ids of everything it was made from, sorted.
    """

    suite: str
    role: str
    label: str
    defence: dict[str, Any]
    attack: dict[str, Any]
    access: dict[str, Any]
    settings: dict[str, Any]
    facts: dict[str, Any]
    samples: Samples
    clean: Samples
    traits: Traits
    cells: tuple[str, ...]
    order: int = 0
    parts: tuple[Result, ...] = field(default=(), repr=False)
    maker: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Suite and defence."""
        return self.suite, canonical(self.defence)


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the code versions that only belong to a cell's id."""
    return {name: value for name, value in settings.items() if name != "versions"}


def aim_of(target: Mapping[str, Any]) -> Aim:
    """Read what the attacker of a target wants from the target's settings."""
    settings = parse_target(plain_settings(target))
    scale = settings.range if settings.kind == "quality" else (0.0, 1.0)
    return Aim(settings.kind, scale, settings.success, settings.sign)


def agreement_sign(settings: Mapping[str, Any]) -> int:
    """+1 where good scores of the target and of the data set go the same way, -1 where they go opposite ways.

    Args:
        settings: of a cell, with its ``data`` and ``target``.
    """
    data = plain_settings(settings["data"])
    while isinstance(inner := data.get("data"), Mapping):  # a set that changes another
        data = dict(inner)  # pyright: ignore[reportUnknownArgumentType]
    kinds = DATA.get(str(data.get("name"))), TARGETS.get(str(settings["target"].get("name")))
    return 1 if len({getattr(kind, "higher_is_better", True) for kind in kinds}) == 1 else -1


def collect(source: Source) -> list[Result]:
    """Join the cells of a folder into results, in the order of the recipe."""
    groups: dict[tuple[str, str, str, str], list[StoredCell]] = defaultdict(list)
    for cell in source.places:
        if cell.kind in ("score", "adaptive"):
            defence = canonical(plain_settings(cell.settings["defence"]))
            groups[cell.suite, defence, cell.role, cell.label].append(cell)
    order = _recipe_order(source.recipe)
    results = [_result(group, source, order) for group in groups.values()]
    return sorted(results, key=lambda result: (*_place(result, order), result.role, result.label, result.key))


def gradient_check(source: Source, result: Result) -> GradientCheck | str | None:
    """What the gradient cell of the same target, images and defence measured; its settings tell, not its suite."""
    wanted = _system(result.settings)
    cells = [cell for cell in source.cells.values() if cell.kind == "gradient" and _system(cell.settings) == wanted]
    if not cells:
        return None
    skipped = cells[0].facts.get("gradient_skipped")
    if skipped is not None:
        return str(skipped)
    samples = gather(cells[:1])
    return GradientCheck(
        error=samples.floats("gradient_error"),
        difference=samples.floats("gradient_difference"),
        cosine=samples.floats("gradient_cosine"),
        zero=samples.flags("gradient_zero"),
    )


def _system(settings: Mapping[str, Any]) -> str:
    return canonical({name: settings.get(name) for name in ("data", "target", "target_weights", "defence", "seed")})


def _recipe_order(recipe: Mapping[str, Any]) -> dict[tuple[str, str, str], int]:
    """Position of every (suite, what, name) of the recipe."""
    places: dict[tuple[str, str, str], int] = {}
    for number, suite in enumerate(recipe.get("suite", ())):
        places["", "suite", suite["name"]] = number
        for position, defence in enumerate(suite.get("defences", ())):
            places[suite["name"], "defence", canonical(defence)] = position
        for position, line in enumerate(suite.get("attack", ())):
            places[suite["name"], "attack", line["label"]] = position
    return places


def _place(result: Result, order: Mapping[tuple[str, str, str], int]) -> tuple[int, int, int]:
    last = len(order) + 1
    defence = order.get((result.suite, "defence", canonical(result.defence)), last)
    control = -1 if result.defence.get("name") == "identity" else defence
    suite = order.get(("", "suite", result.suite), last)
    return suite, control, order.get((result.suite, "attack", result.label), last)


def _result(group: Sequence[StoredCell], source: Source, order: Mapping[tuple[str, str, str], int]) -> Result:
    needed = {name: source.cells[name] for cell in group for name in cell.needs if name in source.cells}
    clean = [cell for _, cell in sorted(needed.items()) if cell.kind == "clean"]
    attack = [cell for _, cell in sorted(needed.items()) if cell.kind in ("attack", "adaptive")]
    first = group[0]
    clean_samples = gather(clean) if clean else None
    samples = join(gather(group), gather(attack) if attack else None, clean_samples)
    return Result(
        suite=first.suite,
        role=first.role,
        label=first.label,
        defence=plain_settings(first.settings["defence"]),
        attack=plain_settings(first.settings["attack"]),
        access=plain_settings(first.settings["access"]),
        settings=first.settings,
        facts=_joined_facts(group),
        samples=samples,
        clean=clean_samples or Samples((), {}),
        traits=_traits(first.settings["defence"], clean),
        cells=tuple(sorted({cell.id for cell in group} | needed.keys())),
        order=order.get((first.suite, "attack", first.label), len(order)),
        maker=plain_settings(first.settings["maker"]) if "maker" in first.settings else None,
    )


def _joined_facts(cells: Sequence[StoredCell]) -> dict[str, Any]:
    """Facts of all chunks; where they differ all values are kept, so that none hides another."""
    values: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        for name, value in cell.facts.items():
            values[name].add(value if isinstance(value, str) else canonical(value))
    return {name: " / ".join(sorted(found)) for name, found in values.items()}


def _traits(defence: Mapping[str, Any], clean: Sequence[StoredCell]) -> Traits:
    facts: dict[str, Any] = clean[0].facts if clean else {}
    if "is_random" not in facts:
        facts = {**_declared(defence), **facts}
    timings = [cell.facts["timing"] for cell in clean if "timing" in cell.facts]
    purify = _mean([timing["purify_milliseconds"] for timing in timings])
    bare = _mean([timing["target_milliseconds"] for timing in timings])
    return Traits(
        gradient=str(facts.get("gradient", "unknown")),
        is_random=bool(facts.get("is_random", True)),
        passes=float(facts.get("passes", float("nan"))),
        milliseconds=purify,
        ratio=(purify + bare) / bare if bare > 0 else float("nan"),
    )


def _declared(defence: Mapping[str, Any]) -> dict[str, Any]:
    if defence.get("name") not in PURIFIERS:
        return {}
    try:
        settings = parse_purifier(plain_settings(defence))
    except SettingsError:  # an older version's settings: the cells stand, only its declarations are lost
        return {}
    return {"gradient": settings.gradient, "is_random": settings.is_random, "passes": settings.passes}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def worst_of_all(results: Sequence[Result]) -> Result:
    """Give every image the attack that breaks the largest share of its fresh draws; ties go to the first.

    The choice looks at the draws that are then counted, which for random defences favours the attacker a
    little. Images that an attack did not see are left out.

    Args:
        results: the main attacks on one defence of one suite, at least one.
    """
    first = results[0]
    images = common(result.samples for result in results)
    parts = [result.samples.take(images) for result in results]
    rates = np.stack([part.flags("broken").mean(axis=1) for part in parts])
    return Result(
        suite=first.suite,
        role="main",
        label=WORST,
        defence=first.defence,
        attack={"name": "worst", "of": [result.label for result in results]},
        access={"name": "access", "knowledge": "any"},
        settings=first.settings,
        facts={},
        samples=pick(parts, rates.argmax(axis=0)),
        clean=first.clean,
        traits=first.traits,
        cells=tuple(sorted({cell for result in results for cell in result.cells})),
        order=1 << 30,
        parts=tuple(results),
    )
