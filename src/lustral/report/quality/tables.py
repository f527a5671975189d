"""The tables of paper 000 as this run can fill them: averaged scores of every defence or family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lustral.bench.strengths import LEVELS
from lustral.report.quality.aggregate import NO_MEAN, Mean, Measured, average
from lustral.report.quality.facets import MODES, TYPES, Facets, Mode
from lustral.report.quality.scores import SCORES

__all__ = [
    "COMMON",
    "EVERYTHING",
    "PaperTable",
    "Part",
    "TableColumn",
    "build_tables",
    "fullest_mode",
    "parts_of",
    "present_modes",
]

EVERYTHING = "everything"
COMMON = "common"
RANDOM = "with randomness"

Measures = Sequence[Measured]


class Part(NamedTuple):
    """Some suites of the run: all, those of one data set, or those of one target."""

    kind: str
    name: str

    def holds(self, facets: Facets) -> bool:
        """Whether a row belongs to it."""
        return {"everything": True, "data set": facets.dataset == self.name, "target": facets.target == self.name}[
            self.kind
        ]


class TableColumn(NamedTuple):
    """A score of the rows that meet a condition.

    Attributes:
        section: what the condition is, such as a strength; empty if there is none.
        score: key of ``SCORES``.
        mode: a mode, or ``COMMON`` for scores that do not depend on the attack.
    """

    section: str
    score: str
    mode: str


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Attributes:
        number: that of the paper.
        rows: names of the rows; settings of a defence as canonical JSON, or families.
        by_family: whether rows are families.
        spread: whether the paper prints the spread over data sets and targets.
        values: part -> row -> column.
    """

    number: str
    title: str
    caption: str
    columns: tuple[TableColumn, ...]
    rows: tuple[str, ...]
    by_family: bool
    spread: bool
    values: dict[Part, list[list[Mean]]]


@dataclass(frozen=True)
class _Plan:
    """How a table is made.

    Attributes:
        section: what a column's section is read from; None for no sections.
        parts: whether it is also made for each data set and target.
    """

    number: str
    title: str
    caption: str
    common: tuple[str, ...]
    scores: tuple[str, ...]
    section: Callable[[Facets], str] | None = None
    order: tuple[str, ...] = ()
    parts: bool = True
    by_family: bool = False
    spread: bool = False


_SPLIT = "Means over all cells: attacks, strengths, targets and data sets weigh the same, whatever their images."

_PLANS = (
    _Plan("3", "Overall", f"Table 3. {_SPLIT}", ("milliseconds", "srocc_clean"),
          ("srocc_attacked", "d_defended", "d_paired", "r", "psnr", "ssim", "mse", "linf")),
    _Plan("13", "With R(D)", "Table 13, which the paper averages over pairs of data sets: choose a data set above, or "
          "compare data sets in table 25.", ("srocc_clean", "milliseconds"),
          ("d_defended", "r_defended", "psnr", "srocc_attacked")),
    _Plan("14", "By strength", "Table 14. Levels are those that attacks were aligned to, or named by in the recipe.",
          (), ("d", "r", "srocc_attacked"), lambda facets: facets.level, LEVELS),
    _Plan("15", "Correlation by target", "Table 15, SROCC of every target on clean and attacked images.", (),
          ("srocc_clean", "srocc_attacked"), lambda facets: facets.target, parts=False),
    _Plan("16", "Robustness by target", "Table 16, D and R of every target.", (), ("d", "r"),
          lambda facets: facets.target, parts=False),
    _Plan("17", "By attack type", "Table 17. Restricted attacks are bounded by a norm.", (),
          ("r", "srocc_attacked", "psnr"), lambda facets: facets.type, TYPES),
    _Plan("24", "By family", "Table 24, defences grouped by what they do; every cell of every defence weighs the same, "
          "and all settings of a defence count. Defences with randomness stand in their family too.", ("srocc_clean",),
          ("d_defended", "d", "r_defended", "r", "srocc_attacked", "psnr"), by_family=True),
    _Plan("25", "By data set", "Table 25, means over the targets and attacks of each data set.", (),
          ("d", "r", "srocc_clean"), lambda facets: facets.dataset, parts=False),
    _Plan("26", "SROCC and PLCC", "Table 26, with the spread over data sets and targets behind every value.",
          ("srocc_clean", "plcc_clean"), ("srocc_attacked", "plcc_attacked"), spread=True),
)  # fmt: skip


def build_tables(measured: Measures) -> list[PaperTable]:
    """Every table that has a column, for the whole run and for each data set and target."""
    tables = [_table(plan, measured) for plan in _PLANS]
    return [table for table in tables if table.columns]


def parts_of(measured: Measures) -> list[Part]:
    """The whole run, then each data set and each target where there are several."""
    found = [Part(EVERYTHING, "")]
    for kind, names in (
        ("data set", dict.fromkeys(one.facets.dataset for one in measured)),
        ("target", dict.fromkeys(one.facets.target for one in measured)),
    ):
        found += [Part(kind, name) for name in names] if len(names) > 1 else []
    return found


def present_modes(measured: Measures) -> list[Mode]:
    """The modes that the run has, in their order."""
    found = {one.facets.mode for one in measured}
    return [mode for mode in MODES if mode in found]


def fullest_mode(measured: Measures) -> Mode | None:
    """The mode with the most defences, of equal ones that of the strongest attacker; None without rows."""
    presets = {mode: {one.facets.preset for one in measured if one.facets.mode == mode} for mode in MODES}
    modes = present_modes(measured)
    return max(reversed(modes), key=lambda mode: len(presets[mode])) if modes else None


def _table(plan: _Plan, measured: Measures) -> PaperTable:
    columns = tuple(_columns(plan, measured))
    names: list[str] = list(dict.fromkeys(_row_name(plan, one.facets) for one in measured))
    if plan.by_family and any(one.facets.is_random for one in measured):
        names.append(RANDOM)
    values: dict[Part, list[list[Mean]]] = {}
    for part in parts_of(measured) if plan.parts else [Part(EVERYTHING, "")]:
        own = [one for one in measured if part.holds(one.facets)]
        groups = [[one for one in own if _stands(plan, name, one.facets)] for name in names]
        values[part] = [[_value(plan, column, group) for column in columns] for group in groups]
    return PaperTable(plan.number, plan.title, plan.caption, columns, tuple(names), plan.by_family, plan.spread, values)


def _row_name(plan: _Plan, facets: Facets) -> str:
    return facets.family if plan.by_family else facets.preset


def _stands(plan: _Plan, name: str, facets: Facets) -> bool:
    return facets.is_random if plan.by_family and name == RANDOM else _row_name(plan, facets) == name


def _columns(plan: _Plan, measured: Measures) -> Iterator[TableColumn]:
    modes = present_modes(measured)
    for score in plan.common:
        yield TableColumn("", score, COMMON)
    section = plan.section
    if section is None:
        yield from (TableColumn("", score, mode) for score in plan.scores for mode in modes)
        return
    found = dict.fromkeys(section(one.facets) for one in measured)
    for name in [one for one in plan.order if one in found] if plan.order else found:
        own = present_modes([one for one in measured if section(one.facets) == name])
        for score in plan.scores:
            yield from (TableColumn(name, score, mode) for mode in ([COMMON] if SCORES[score].common else own))


def _value(plan: _Plan, column: TableColumn, group: Measures) -> Mean:
    section = plan.section
    own = [
        one
        for one in group
        if (column.mode in (COMMON, one.facets.mode)) and (section is None or section(one.facets) == column.section)
    ]
    return average(own, column.score) if own else NO_MEAN
