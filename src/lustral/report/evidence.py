"""Hands stored results to the indicators and writes their verdicts into the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from lustral.attacks import parse_access, parse_attack
from lustral.bench.checks import Check, checks, with_checks
from lustral.bench.evidence import GradientCheck
from lustral.bench.indicators import INDICATORS, AttackEvidence, Evidence, Verdict, is_upper_bound, judge
from lustral.purifiers import parse_purifier
from lustral.report.results import Aim, Result
from lustral.report.summary import Share
from lustral.settings import SettingsError

__all__ = ["VerdictRow", "evidence_of", "indicator_string", "main_label", "verdicts_of"]

MARKS = {"PASS": "+", "WARN": "~", "FAIL": "!", "NOT RUN": "?"}


class VerdictRow(TypedDict):
    """A verdict as JSON."""

    verdict: str
    value: float | None
    detail: str


def main_label(recipe: Mapping[str, Any], suite: str) -> str | None:
    """Label of the attack that the recipe marks for examination."""
    for entry in recipe.get("suite", ()):
        if entry["name"] == suite:
            return next((line["label"] for line in entry["attack"] if line.get("main")), None)
    return None


def verdicts_of(evidence: Evidence) -> tuple[dict[str, VerdictRow], bool]:
    """Verdicts by indicator, and whether they make the defence's numbers an upper bound."""
    verdicts: dict[str, Verdict] = {**dict.fromkeys(INDICATORS, Verdict("NOT RUN")), **judge(evidence)}
    rows = {
        name: VerdictRow(verdict=found.verdict, value=found.value, detail=found.detail)
        for name, found in verdicts.items()
    }
    return rows, is_upper_bound(verdicts)


def indicator_string(verdicts: Mapping[str, VerdictRow]) -> str:
    """The indicators that ran, as ``I2+ I4! I6~``: passed, failed, warned."""
    return " ".join(name + MARKS[row["verdict"]] for name, row in verdicts.items() if row["verdict"] != "NOT RUN")


def evidence_of(
    results: Sequence[Result],
    aim: Aim,
    main: str | None,
    control: Result | None,
    worst: tuple[int, Share] | None,
    check: GradientCheck | str | None = None,
) -> Evidence:
    """What the indicators need to know about one defence.

    Args:
        results: all attacks on it, main lines and checks.
        aim: what the attacker wants.
        main: label of the examined attack.
        control: the examined attack on the undefended target.
        worst: M and the share under the examined attack, for a random defence.
        check: what was measured of its gradient.
    """
    first = results[0]
    clean = first.clean
    ratio = first.traits.ratio
    return Evidence(
        kind=aim.kind,
        gradient=first.traits.gradient,
        images=clean.images,
        correct=clean.flags("correct") if "correct" in clean.columns else np.ones((len(clean), 1), dtype=bool),
        attacks=with_checks([_attack(result, aim) for result in results], _checks(results, main)),
        main=main,
        control=None if control is None else _attack(control, aim),
        worst_of=None if worst is None else (worst[0], 1 - worst[1]["average"], 1 - worst[1]["worst"]),
        range=aim.range,
        success=aim.success,
        sign=aim.sign,
        cost_ratio=ratio if np.isfinite(ratio) else None,
        is_random=first.traits.is_random,
        check=check,
    )


def _checks(results: Sequence[Result], main: str | None) -> list[Check]:
    """The extra attacks that the examined one asks for; none if its settings are of a version that is no more."""
    examined = next((result for result in results if result.role == "main" and result.label == main), None)
    if examined is None:
        return []
    try:
        attack, access = parse_attack(examined.attack), parse_access(examined.access)
        defence = parse_purifier(examined.defence)
    except SettingsError:  # settings of another version: the indicators then read NOT RUN
        return []
    return checks(attack, access, defence, {result.attack["name"] for result in results if result.role == "main"})


def _attack(result: Result, aim: Aim) -> AttackEvidence:
    samples = result.samples
    broken = samples.flags("broken")
    rate = broken.mean(axis=1)
    scores = samples.floats("purified_attacked")
    return AttackEvidence(
        role=result.role,
        label=result.label,
        access=result.access,
        images=samples.images,
        broken=broken,
        attack_rate=samples.floats("attack_rate") if "attack_rate" in samples.columns else rate,
        final_rate=samples.floats("final_rate") if "final_rate" in samples.columns else rate,
        rescued=_flags(samples.columns.get("rescued"), len(samples)),
        dead=np.stack([_flags(samples.columns.get(name), len(samples)) for name in ("dead_start", "dead_tenth")], 1),
        trace=np.stack([samples.floats(name) for name in ("trace_first", "trace_early", "trace_last")], 1),
        gradients=np.nan_to_num(samples.floats("gradients")).astype(np.int64),
        scores=scores.mean(axis=1) if aim.kind == "quality" and scores.ndim == 2 else None,
        facts=result.facts,
        attack=result.attack,
    )


def _flags(column: NDArray[Any] | None, n: int) -> NDArray[np.bool_]:
    return np.zeros(n, dtype=bool) if column is None else column.astype(bool)
