"""The benchmark's table: one row per suite, defence and attack, and one for the worst attack of each image."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from lustral.bench.cell import CellLike
from lustral.report.evidence import VerdictRow, evidence_of, indicator_string, main_label, verdicts_of
from lustral.report.ranking import Place, rank
from lustral.report.results import (
    WORST,
    Result,
    agreement_sign,
    aim_of,
    collect,
    gradient_check,
    plain_settings,
    worst_of_all,
)
from lustral.report.samples import Samples
from lustral.report.source import Source, read_source
from lustral.report.summary import Quality, Share, attacked_share, clean_share, quality_scores
from lustral.report.text import access_text, data_text, defence_text, target_text

__all__ = ["Cost", "Row", "Table", "build_table"]

_WORST_OF, _VOTES = 10, 10  # the protocol's defaults, for a folder without a recipe


class Cost(TypedDict):
    """Network passes, wall time of one purification per image, and (purifier + target) over target."""

    passes: float
    milliseconds: float
    ratio: float


class Means(TypedDict):
    """Means over images: what purifier and attack did to the picture, and what the attack spent."""

    psnr_clean: float
    ssim_clean: float
    psnr_attack: float
    ssim_attack: float
    psnr_attacked: float
    ssim_attacked: float
    linf: float
    l2: float
    queries: float
    gradients: float


class Row(Quality, Means):
    """One line of the table; see ``lustral.report.columns`` for what the columns mean."""

    suite: str
    data: str
    target: str
    kind: str
    defence: str
    defence_settings: dict[str, Any]
    gradient: str
    is_random: bool
    passes: float
    attack: str
    attack_settings: dict[str, Any]
    access: str
    access_settings: dict[str, Any]
    n: int
    seed: int
    main: bool
    adaptive: bool
    order: int | None
    order_last: int | None
    tests: int
    clean: Share
    robust: Share
    cost: Cost
    indicators: dict[str, VerdictRow]
    indicator_string: str
    upper_bound: bool
    cells: list[str]
    command: str


@dataclass(frozen=True)
class Table:
    """Rows in the order of the recipe, with what a report says about the run as a whole.

    Attributes:
        rows: one per suite, defence and attack.
        source: the cells behind them.
        protocol: numbers of the two-phase protocol.
        results: what each row was made from, in the order of the rows.
        transfers: attacked images made on one defence before another; no rows of the table.
    """

    rows: tuple[Row, ...]
    source: Source
    protocol: dict[str, Any] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    transfers: tuple[Result, ...] = ()


def build_table(folder: Path, plan: Iterable[CellLike] | None = None) -> Table:
    """Read the finished cells of a store folder and work out every row.

    Args:
        folder: what ``lustral run`` wrote into; an unfinished run gives the rows it can.
        plan: the cells the report is about; see ``read_source``.

    Raises:
        StoreError: no finished cells, or damaged ones.
    """
    source = read_source(folder, plan)
    protocol = dict(source.recipe.get("protocol", {}))
    defences: dict[tuple[str, str], list[Result]] = defaultdict(list)
    everything = collect(source)
    for result in everything:
        if result.maker is None:
            defences[result.key].append(result)
    controls = {key[0]: parts for key, parts in defences.items() if parts[0].defence.get("name") == "identity"}
    pairs: list[tuple[Row, Result]] = []
    for (suite, _), results in defences.items():
        pairs += _defence_rows(results, source, protocol, controls.get(suite, []))
    _set_order(pairs)
    transfers = tuple(result for result in everything if result.maker is not None)
    return Table(tuple(row for row, _ in pairs), source, protocol, tuple(result for _, result in pairs), transfers)


def _defence_rows(
    results: Sequence[Result], source: Source, protocol: Mapping[str, Any], control: Sequence[Result]
) -> list[tuple[Row, Result]]:
    mains = [result for result in results if result.role == "main"]
    if not mains:
        return []
    label = main_label(source.recipe, mains[0].suite)
    shown = [*mains, worst_of_all(mains)]
    rows = [_row(result, source, protocol, result.label == label and result is not shown[-1]) for result in shown]
    examined = next((row for row in rows if row["main"]), None)
    under_control = next((result for result in control if result.role == "main" and result.label == label), None)
    aim = aim_of(mains[0].settings["target"])
    random = mains[0].traits.is_random and examined is not None
    worst = (int(protocol.get("worst_of", _WORST_OF)), examined["robust"]) if random and examined else None
    check = gradient_check(source, mains[0])
    verdicts, upper_bound = verdicts_of(evidence_of(results, aim, label, under_control, worst, check))
    judged = [result for result in mains if result.label == label] or mains
    adaptive = judged[0].defence["name"] == "identity" or any(part.access["knowledge"] != "blind" for part in judged)
    for row in rows:
        row["indicators"] = verdicts
        row["indicator_string"] = indicator_string(verdicts)
        row["upper_bound"] = upper_bound
        row["adaptive"] = adaptive
    return list(zip(rows, shown, strict=True))


def _row(result: Result, source: Source, protocol: Mapping[str, Any], is_main: bool) -> Row:
    samples, settings, traits = result.samples, result.settings, result.traits
    aim = aim_of(settings["target"])
    counts = int(protocol.get("worst_of", _WORST_OF)), int(protocol.get("votes", _VOTES))
    return Row(
        suite=result.suite,
        data=data_text(plain_settings(settings["data"])),
        target=target_text(plain_settings(settings["target"])),
        kind=aim.kind,
        defence=defence_text(result.defence),
        defence_settings=result.defence,
        gradient=traits.gradient,
        is_random=traits.is_random,
        passes=traits.passes,
        attack=result.label,
        attack_settings=result.attack,
        access="any" if result.label == WORST else access_text(result.access),
        access_settings=result.access,
        n=len(samples),
        seed=int(settings["seed"]),
        main=is_main,
        adaptive=False,
        order=None,
        order_last=None,
        tests=0,
        clean=clean_share(samples, aim, *counts),
        robust=attacked_share(samples, aim, *counts),
        **quality_scores(samples, aim, traits.is_random, agreement_sign(settings)),
        **_means(samples),
        cost=Cost(passes=traits.passes, milliseconds=traits.milliseconds, ratio=traits.ratio),
        indicators={},
        indicator_string="",
        upper_bound=False,
        cells=list(result.cells),
        command=_command(source.recipe),
    )


def _means(samples: Samples) -> Means:
    return Means(
        psnr_clean=samples.mean("psnr_clean"),
        ssim_clean=samples.mean("ssim_clean"),
        psnr_attack=samples.mean("psnr_attack"),
        ssim_attack=samples.mean("ssim_attack"),
        psnr_attacked=samples.mean("psnr_attacked"),
        ssim_attacked=samples.mean("ssim_attacked"),
        linf=samples.mean("linf"),
        l2=samples.mean("l2"),
        queries=samples.mean("queries"),
        gradients=samples.mean("gradients"),
    )


def _command(recipe: Mapping[str, Any]) -> str:
    if "command" in recipe:
        return str(recipe["command"])
    return f"lustral run {shlex.quote('recipes/' + str(recipe['name']) + '.toml')}" if "name" in recipe else ""


def _set_order(pairs: Sequence[tuple[Row, Result]]) -> None:
    """Fill in places: per suite and attack, among defences whose number is not a mere upper bound."""
    boards: dict[tuple[str, str, str], list[tuple[Row, Result]]] = defaultdict(list)
    for row, result in pairs:
        if not row["upper_bound"] and row["n"]:
            boards[row["suite"], row["attack"], row["kind"]].append((row, result))
    for board in boards.values():
        places: list[Place] = rank(
            [result.samples for _, result in board], [row["robust"]["average"] for row, _ in board]
        )
        for (row, _), place in zip(board, places, strict=True):
            row["order"], row["order_last"], row["tests"] = place
