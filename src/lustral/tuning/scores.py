"""What candidates are worth on the cells that are finished. No torch here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lustral.bench.plan import Cell
from lustral.bench.recipe import Recipe
from lustral.bench.store import Store
from lustral.report.results import Result, agreement_sign, aim_of, collect, plain_settings, worst_of_all
from lustral.report.source import read_source
from lustral.report.summary import attacked_share, clean_share, quality_scores
from lustral.settings import SettingsError, canonical

__all__ = ["Estimate", "Score", "clean_measure", "read_scores", "unfinished"]


class Estimate(NamedTuple):
    """A number, with its 95 % interval where it is a share of images of one suite."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Score:
    """One purifier on some images.

    Attributes:
        clean: accuracy, SROCC or SSIM of purified clean images, see ``clean_measure``.
        robust: share of images that hold under the attack that breaks them most often; see
            ``lustral.report.results.worst_of_all``.
        passes: network passes per image.
        images: how many images of all suites.
    """

    clean: Estimate
    robust: Estimate
    passes: int
    images: int

    @property
    def point(self) -> tuple[float, float, float]:
        """Clean, robust and passes."""
        return self.clean.value, self.robust.value, self.passes


def clean_measure(recipe: Recipe) -> str:
    """What clean means for a recipe: "accuracy" of classifiers, "SROCC" with the scores of the data, else "SSIM".

    Raises:
        SettingsError: its suites mean different things, which have no mean.
    """
    names = {suite.name: _measure(suite.target.kind, suite.data.kind) for suite in recipe.suite}
    if len(set(names.values())) > 1:
        listed = ", ".join(f"{suite}: {name}" for suite, name in names.items())
        raise SettingsError(
            f"a search needs suites of one measure, {recipe.name} has several ({listed}); tune them alone"
        )
    return next(iter(names.values()))


def _measure(target: str, data: str) -> str:
    if target == "classifier":
        return "accuracy"
    return "SROCC" if data == "quality" else "SSIM"


def defence_key(cell: Cell) -> str:
    """The defence of a cell as canonical JSON; empty for attacks that see none."""
    return canonical(plain_settings(cell.settings["defence"])) if "defence" in cell.settings else ""


def unfinished(folder: Path, cells: Iterable[Cell]) -> dict[str, str]:
    """Defences that lack a cell, as canonical JSON, with the reason."""
    store = Store(folder)
    done, failures = store.done(), store.failures()
    reasons: dict[str, str] = {}
    for cell in cells:
        if cell.id not in done and (key := defence_key(cell)):
            failed = next((failures[name] for name in (cell.id, *cell.needs) if name in failures), {})
            reasons.setdefault(key, str(failed.get("error", "a cell is missing")))
    return reasons


def read_scores(folder: Path, cells: Sequence[Cell], recipe: Recipe, lacking: Collection[str]) -> dict[str, Score]:
    """Scores by defence as canonical JSON; clean and robust are means over suites, each of which counts the same.

    Args:
        folder: of results.
        cells: of the plan, as every suite speaks of them.
        recipe: what was planned.
        lacking: defences to leave out, see ``unfinished``.
    """
    whole = [cell for cell in cells if defence_key(cell) not in lacking]
    if not any(map(defence_key, whole)):
        return {}
    found: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in collect(read_source(folder, whole)):
        found[canonical(result.defence)][result.suite].append(result)
    measure = clean_measure(recipe)
    return {key: _score(suites, recipe, measure) for key, suites in found.items()}


def _score(suites: Mapping[str, Sequence[Result]], recipe: Recipe, measure: str) -> Score:
    worst = [worst_of_all(results) for results in suites.values()]
    counts = recipe.protocol.worst_of, recipe.protocol.votes
    robust = [_share(attacked_share(row.samples, aim_of(row.settings["target"]), *counts)) for row in worst]
    return Score(
        clean=_mean([_clean(row, measure, counts) for row in worst]),
        robust=_mean(robust),
        passes=int(worst[0].traits.passes),
        images=sum(len(row.samples) for row in worst),
    )


def _clean(row: Result, measure: str, counts: tuple[int, int]) -> Estimate:
    aim = aim_of(row.settings["target"])
    if measure == "accuracy":
        return _share(clean_share(row.samples, aim, *counts))
    if measure == "SROCC":
        return Estimate(quality_scores(row.samples, aim, sign=agreement_sign(row.settings))["srocc_clean"])
    return Estimate(row.samples.mean("ssim_clean"))


def _share(share: Any) -> Estimate:
    return Estimate(share["average"], share["low"], share["high"])


def _mean(parts: Sequence[Estimate]) -> Estimate:
    return parts[0] if len(parts) == 1 else Estimate(float(np.mean([part.value for part in parts])))
