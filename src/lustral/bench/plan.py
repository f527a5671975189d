"""From a recipe to the list of cells, deterministic and without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Literal

from lustral.attacks import Access, AttackSettings
from lustral.bench.indicators import checks
from lustral.bench.recipe import AttackLine, Recipe, Suite
from lustral.bench.strengths import refuse_overlap
from lustral.data.base import ImageSet
from lustral.purifiers import PURIFIERS, PurifierSettings, parse_purifier
from lustral.settings import Settings, canonical, digest
from lustral.targets.checkpoint import checkpoint_digest

__all__ = ["Cell", "Kind", "Plan", "make_plan"]

Kind = Literal["clean", "attack", "score", "adaptive", "gradient"]

LAYOUT = 1
"""Raised when the columns of stored cells change meaning."""

GRADIENT_CHECK = 1
"""Raised when the gradient check measures something else."""


@dataclass(frozen=True)
class Cell:
    """One chunk of one kind of work, stored as one file.

    Attributes:
        id: hash of ``settings``; nothing else identifies a cell.
        kind: "clean" (purify clean images), "attack" (attack the bare target), "score" (put such images
            before a defence), "adaptive" (attack through the defence and score) or "gradient" (compare the
            gradient through the defence with differences).
        suite: name of the suite that first asked for it.
        settings: everything that the result depends on, as JSON.
        needs: ids of cells whose results it reads.
        role: "main", the indicator that asked for it, such as "I9:unbounded", or "transfer".
        label: name of the attack in tables; empty for clean cells.
    """

    id: str
    kind: Kind
    suite: str
    settings: dict[str, Any] = field(hash=False)
    needs: tuple[str, ...] = ()
    role: str = "main"
    label: str = ""


@dataclass(frozen=True)
class Plan:
    """All cells of a recipe, each after those it needs, grouped so that built models can be reused.

    Attributes:
        recipe: what was planned.
        cells: the work, every cell once.
        places: the cells as every suite speaks of them; what two suites share is made once and stands in both.
    """

    recipe: Recipe
    cells: tuple[Cell, ...]
    places: tuple[Cell, ...]


def _identity(settings: Settings) -> dict[str, Any]:
    """Settings with the code version of the method and of every part of a composition, and hashes of weights."""
    values = settings.to_json()
    versions = {settings.name: settings.version} | dict(_part_versions(values))
    hashes = {f"weights of {name}": checkpoint_digest(name) for name in _weights_of(settings)}
    return {**values, "versions": versions | hashes}


def _weights_of(settings: Settings) -> tuple[str, ...]:
    if isinstance(settings, PurifierSettings | AttackSettings):
        return settings.weights_used()
    if isinstance(settings, Access) and settings.surrogate:
        return parse_purifier(settings.surrogate).weights_used()
    return ()


def _part_versions(value: object) -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        name = value.get("name")  # pyright: ignore[reportUnknownVariableType]
        if isinstance(name, str) and name in PURIFIERS:
            yield name, PURIFIERS[name].version
        for inner in value.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _part_versions(inner)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list | tuple):
        for inner in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _part_versions(inner)  # pyright: ignore[reportUnknownArgumentType]


def make_plan(recipe: Recipe) -> Plan:
    """List the cells of a recipe; reads the data sets to fix their content in the ids."""
    places = tuple(cell for suite in recipe.suite for cell in _suite_cells(recipe, suite))
    cells: dict[str, Cell] = {}
    for cell in places:
        cells.setdefault(cell.id, cell)  # a check that equals a main cell is not made twice
    return Plan(recipe, tuple(cells.values()), places)


def _suite_cells(recipe: Recipe, suite: Suite) -> Iterator[Cell]:
    images = suite.data.load()
    refuse_overlap(suite.calibration, images, f"suite {suite.name!r}")
    starts = range(0, len(images), recipe.chunk)
    common = {start: _common(recipe, suite, images, start) for start in starts}
    blind = [line for line in suite.attack if not line.access.is_adaptive]
    attacks = {
        (line.label, start): _make(recipe, suite, "attack", common[start], line=line, start=start)
        for line in blind
        for start in starts
    }
    yield from attacks.values()
    made: dict[tuple[PurifierSettings, str, int], str] = {}
    clean: dict[tuple[PurifierSettings, int], str] = {}
    for defence in suite.all_defences:
        cleans = {start: _make(recipe, suite, "clean", common[start], defence=defence, start=start) for start in starts}
        clean |= {(defence, start): cell.id for start, cell in cleans.items()}
        yield from cleans.values()
        for line in blind:
            for start in starts:
                needs = (attacks[line.label, start].id, cleans[start].id)
                yield _make(recipe, suite, "score", common[start], defence=defence, line=line, needs=needs, start=start)
        if recipe.protocol.checks and any(map(_follows_gradient, suite.attack)):
            yield _gradient_cell(recipe, suite, images, defence)
        for role, line, limit in _adaptive_lines(recipe, suite, defence):
            for start in starts:
                if start < limit:
                    needs = (cleans[start].id,)
                    cell = _make(
                        recipe, suite, "adaptive", common[start], defence=defence, line=line, needs=needs, role=role,
                        start=start,
                    )  # fmt: skip
                    if role == "main":
                        made[defence, line.label, start] = cell.id
                    yield cell
    yield from _transfer_cells(recipe, suite, common, made, clean)


def _transfer_cells(
    recipe: Recipe,
    suite: Suite,
    common: Mapping[int, dict[str, Any]],
    made: Mapping[tuple[PurifierSettings, str, int], str],
    clean: Mapping[tuple[PurifierSettings, int], str],
) -> Iterator[Cell]:
    """Images made on each defence, scored behind each other."""
    for line in suite.attack:
        for maker, defence in permutations(suite.all_defences, 2) if line.transfer else ():
            for start in common:
                needs = (made[maker, line.label, start], clean[defence, start])
                yield _make(
                    recipe, suite, "score", common[start], defence=defence, line=line, needs=needs, role="transfer",
                    start=start, maker=maker,
                )  # fmt: skip


def _adaptive_lines(recipe: Recipe, suite: Suite, defence: PurifierSettings) -> Iterator[tuple[str, AttackLine, int]]:
    everything = 1 << 62
    for line in suite.attack:
        if line.access.is_adaptive:
            yield "main", line, everything
        if line.main and recipe.protocol.checks:
            known = {other.attack.name for other in suite.attack}
            for check in checks(line.attack, _effective(line.access, defence), defence, known):
                label = f"{line.label} [{check.role}]"
                extra = AttackLine(label=label, attack=check.attack, access=check.access)
                yield check.role, extra, recipe.protocol.check_images


def _follows_gradient(line: AttackLine) -> bool:
    """Whether this is the examined attack, and goes by the gradient of the deployed defence."""
    return line.main and line.attack.needs == "gradients" and line.access.knowledge in ("exact", "known_noise")


def _gradient_cell(recipe: Recipe, suite: Suite, images: ImageSet, defence: PurifierSettings) -> Cell:
    """The check of I1; its few images are a chunk of their own, whatever the chunk of the recipe."""
    count = min(recipe.protocol.gradient_images, len(images))
    common = _common(recipe.model_copy(update={"chunk": count}), suite, images, 0)
    settings = {
        "kind": "gradient",
        **common,
        "dtype": "float64",
        "check": GRADIENT_CHECK,
        "defence": _identity(defence),
    }
    return Cell(digest(settings), "gradient", suite.name, settings, role="I1:gradient")


def _is_paired(
    recipe: Recipe, suite: Suite, kind: Kind, defence: PurifierSettings | None, line: AttackLine | None, role: str
) -> bool:
    """Whether attacked images are also scored with the noise that the clean ones met."""
    if not (recipe.protocol.paired and suite.target.kind == "quality" and kind in ("score", "adaptive")):
        return False
    random = defence is not None and defence.is_random
    return random and role == "main" and line is not None and line.access.knowledge != "known_noise"


def _effective(access: Access, defence: PurifierSettings) -> Access:
    """A defence without randomness has one draw; averaging copies of it would only cost time."""
    return access if defence.is_random else access.model_copy(update={"eot": 1})


def _common(recipe: Recipe, suite: Suite, images: ImageSet, start: int) -> dict[str, Any]:
    part = images.take(range(start, min(start + recipe.chunk, len(images))))
    return {
        "layout": LAYOUT,
        "data": _identity(suite.data),
        "start": start,
        "stop": start + len(part),
        "images": list(part.ids),
        "data_digest": part.fingerprint(),
        "target": _identity(suite.target),
        "target_weights": suite.target.weights_digest(),
        **({"range": list(suite.target.range)} if suite.target.kind == "quality" else {}),
        "seed": recipe.seed,
        "chunk": recipe.chunk,
        "device": recipe.device,
        "dtype": "float32",
    }


def _make(
    recipe: Recipe,
    suite: Suite,
    kind: Kind,
    common: dict[str, Any],
    *,
    start: int,
    defence: PurifierSettings | None = None,
    line: AttackLine | None = None,
    needs: tuple[str, ...] = (),
    role: str = "main",
    maker: PurifierSettings | None = None,
) -> Cell:
    settings: dict[str, Any] = {"kind": kind, **common}
    if defence is not None:
        settings["defence"] = _identity(defence)
        settings["draws"] = recipe.protocol.draws if defence.is_random else 1
    if line is not None:
        settings["attack"] = _identity(line.attack)
        settings["access"] = _identity(_effective(line.access, defence) if defence is not None else line.access)
    if kind in ("attack", "adaptive"):
        random = defence is not None and defence.is_random
        settings["selection_draws"] = recipe.protocol.selection_draws if random else 1
    if _is_paired(recipe, suite, kind, defence, line, role):
        settings["paired"] = True
    if maker is not None:
        settings["maker"] = _identity(maker)
    if needs:
        settings["needs"] = list(needs)
    settings["pictures"] = max(0, min(recipe.pictures - start, recipe.chunk)) if role == "main" else 0
    label = "" if line is None else line.label
    if maker is not None:
        label = f"{label} [made on {canonical(maker.to_json())}]"
    return Cell(digest(settings), kind, suite.name, settings, needs, role, label)
