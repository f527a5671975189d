"""Published numbers beside ours: the paper's, ours under its threat model, ours under the standard protocol."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from lustral.measures import mcnemar, paired_interval
from lustral.report.columns import verdict_of
from lustral.report.evidence import VerdictRow
from lustral.report.exports import csv_cell
from lustral.report.results import WORST, Aim, Result, aim_of, worst_of_all
from lustral.report.samples import common
from lustral.report.summary import NO_SHARE, Share, attacked_share, clean_share
from lustral.report.table import Table
from lustral.report.text import access_text, defence_text
from lustral.settings import canonical

__all__ = ["CLAIM_COLUMNS", "Claim", "Difference", "build_claims", "claims_to_csv"]

_NAN = math.nan


class Difference(TypedDict):
    """Robust share less that of the other defence on the same images, its paired 95 % interval and McNemar's p."""

    average: float
    low: float
    high: float
    p: float
    n: int


class Side(TypedDict):
    """Our number under one threat model: images, share that holds, and how it differs from the other defence's."""

    attack: str
    access: str
    n: int
    robust: Share
    difference: Difference


class Printed(TypedDict):
    """What the paper prints, as shares in [0, 1]."""

    clean: float
    robust: float


class Claim(TypedDict):
    """One published row with ours beside it; see ``lustral.bench.published`` for what the recipe says."""

    paper: str
    table: str
    row: str
    threat: str
    suite: str
    defence: str
    defence_settings: dict[str, Any]
    against: str
    printed: Printed
    clean: Share
    same: Side
    standard: Side
    indicators: dict[str, VerdictRow]
    indicator_string: str
    verdict: str
    upper_bound: bool


CLAIM_COLUMNS: tuple[str, ...] = (
    *("paper", "table", "row", "threat", "suite", "defence", "printed.clean", "printed.robust"),
    *("clean.average", "clean.low", "clean.high"),
    *(
        f"{side}.{name}"
        for side in ("same", "standard")
        for name in (
            "attack",
            "access",
            "n",
            *(f"robust.{part}" for part in ("average", "low", "high", "worst", "vote")),
        )
    ),
    *("verdict", "indicator_string", "against"),
    *(f"{side}.difference.{name}" for side in ("same", "standard") for name in ("average", "low", "high", "p", "n")),
    "defence_settings",
)
"""Columns of ``claims.csv``, in the order of the recipe; shares are in [0, 1]."""

NO_DIFFERENCE = Difference(average=_NAN, low=_NAN, high=_NAN, p=_NAN, n=0)


def build_claims(table: Table) -> list[Claim]:
    """The published rows of the recipe in its order; a run that lacks cells gives NaN where they would count.

    The recipe is read as it was stored: settings of a defence are those that its cells have.
    """
    return [_claim(entry, table) for entry in table.source.recipe.get("published", ())]


def _claim(entry: Mapping[str, Any], table: Table) -> Claim:
    defence, against = entry["defence"], entry.get("against")
    own = _results(table, entry["suite"], defence)
    other = _results(table, entry["suite"], against) if against else {}
    row = next((table.rows[number] for number, result in enumerate(table.results) if result in own.values()), None)
    counts = int(table.protocol.get("worst_of", 10)), int(table.protocol.get("votes", 10))
    standard = tuple(entry.get("standard") or _all_labels(table, entry["suite"]))
    first = next(iter(own.values()), None)
    aim = aim_of(first.settings["target"]) if first else None
    same = (entry["same"],)
    return Claim(
        paper=str(entry["paper"]),
        table=str(entry["table"]),
        row=str(entry["row"]),
        threat=str(entry["threat"]),
        suite=str(entry["suite"]),
        defence=defence_text(defence),
        defence_settings=dict(defence),
        against=defence_text(against) if against else "",
        printed=Printed(clean=_share_of(entry.get("clean")), robust=_share_of(entry.get("robust"))),
        clean=clean_share(first.clean, aim, *counts) if first and aim else NO_SHARE,
        same=_side(_under(own, same), _under(other, same), aim, counts),
        standard=_side(_under(own, standard), _under(other, standard), aim, counts),
        indicators=row["indicators"] if row else {},
        indicator_string=row["indicator_string"] if row else "",
        verdict=verdict_of(row) if row else "not run",
        upper_bound=row["upper_bound"] if row else False,
    )


def _share_of(percent: float | None) -> float:
    return _NAN if percent is None else percent / 100


def _all_labels(table: Table, suite: str) -> tuple[str, ...]:
    entries = table.source.recipe.get("suite", ())
    return tuple(line["label"] for entry in entries if entry["name"] == suite for line in entry["attack"])


def _results(table: Table, suite: str, defence: Mapping[str, Any]) -> dict[str, Result]:
    """Label -> result of one defence, the worst of all left out."""
    key = suite, canonical(defence)
    return {result.label: result for result in table.results if result.key == key and result.label != WORST}


def _under(results: Mapping[str, Result], labels: Sequence[str]) -> Result | None:
    """The result under some attacks, the worst of them per image.

    None if one of them is missing: the worst of fewer attacks would look better than it is.
    """
    if not labels or not all(label in results for label in labels):
        return None
    chosen = [results[label] for label in labels]
    return chosen[0] if len(chosen) == 1 else worst_of_all(chosen)


def _side(own: Result | None, other: Result | None, aim: Aim | None, counts: tuple[int, int]) -> Side:
    if own is None or aim is None:
        return Side(attack="", access="", n=0, robust=NO_SHARE, difference=NO_DIFFERENCE)
    worst = own.label == WORST
    return Side(
        attack="worst of " + ", ".join(own.attack["of"]) if worst else own.label,
        access="any" if worst else access_text(own.access),
        n=len(own.samples),
        robust=attacked_share(own.samples, aim, *counts),
        difference=NO_DIFFERENCE if other is None else _difference(own, other),
    )


def _difference(own: Result, other: Result) -> Difference:
    images = common((own.samples, other.samples))
    if not images:
        return NO_DIFFERENCE
    ours, theirs = (result.samples.take(images).flags("broken").mean(axis=1) for result in (own, other))
    low, high = paired_interval(theirs - ours)
    return Difference(
        average=float((theirs - ours).mean()),
        low=low,
        high=high,
        p=mcnemar(ours >= 0.5, theirs >= 0.5).p,
        n=len(images),
    )


def claims_to_csv(claims: Sequence[Claim]) -> str:
    """The canonical export: in the order of the recipe, without timing, byte-identical for equal results."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CLAIM_COLUMNS)
    writer.writerows([csv_cell(_value(claim, key)) for key in CLAIM_COLUMNS] for claim in claims)
    return stream.getvalue()


def _value(claim: Mapping[str, Any], key: str) -> Any:
    value: Any = claim
    for part in key.split("."):
        value = value[part]
    return value
