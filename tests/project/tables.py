"""Write the generated tables anew: ``python -m tests.project.tables``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->`` in the README or a page of docs/.
It is made from the dictionaries of methods, so a new method appears without anyone writing about it.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lustral.attacks import ATTACKS
from lustral.bench.indicators import INDICATORS, UPPER_BOUND
from lustral.catalogue import catalogue
from lustral.data import DATA
from lustral.purifiers import PURIFIERS
from lustral.report.columns import COLUMNS
from lustral.settings import Settings
from lustral.targets import TARGETS
from lustral.weights import list_weights

ROOT = Path(__file__).parents[2]
WORST = "worst of all"
BLOCK = re.compile(r"(?P<head><!-- table: (?P<name>[a-z0-9_ ]+) -->\n).*?(?P<tail><!-- end of table -->)", re.DOTALL)


def pages(root: Path = ROOT) -> list[Path]:
    """The files that may hold tables."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """The text with every table as it should be now."""
    return BLOCK.sub(lambda found: found["head"] + TABLES[found["name"]]() + found["tail"], text)


def markdown(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plain(text: object) -> str:
    """Docstring text as Markdown that cannot leave its cell."""
    return str(text).replace("``", "`").replace("|", "\\|").replace("\n", " ")


def value(given: Any) -> str:
    """A default as people type it.

    >>> value(8 / 255), value(0.8), value(("builtin", "kodak")), value(((20, "a"), (40, "b")))
    ('8/255', '0.8', 'builtin+kodak', '20:a+40:b')
    """
    if isinstance(given, float):
        levels = given * 255
        is_level = round(given, 4) != given and abs(levels - round(levels)) < 1e-9
        return f"{round(levels)}/255" if is_level else f"{given:g}"
    if isinstance(given, tuple):
        pieces = [":".join(map(value, piece)) if isinstance(piece, tuple) else value(piece) for piece in given]
        return "+".join(pieces) if len(pieces) < 4 else f"all {len(pieces)}"
    return str(given)


def settings(row: dict[str, Any]) -> str:
    """All settings of a method with their defaults."""
    return ", ".join(f"`{key}={value(default)}`" for key, default in row["settings"].items()) or "none"


def randomness(given: object) -> str:
    """A declaration as a word."""
    return {True: "yes", False: "no"}.get(given, str(given)) if isinstance(given, bool) else str(given)


def _purifier(row: dict[str, Any]) -> list[str]:
    return [
        f"`{row['name']}`",
        plain(row["summary"]),
        str(row["gradient"]),
        randomness(row["is_random"]),
        plain(row["source"]),
    ]


def _attack(row: dict[str, Any]) -> list[str]:
    return [f"`{row['name']}`", plain(row["summary"]), row["needs"], ", ".join(row["kinds"]), plain(row["source"])]


def _target(row: dict[str, Any]) -> list[str]:
    extra = f"`{row['needs']}`" if row["needs"] else ""
    return [f"`{row['name']}`", plain(row["summary"]), extra, plain(row["source"])]


def _data(row: dict[str, Any]) -> list[str]:
    return [f"`{row['name']}`", plain(row["summary"]), row["kind"], plain(row["origin"])]


LISTS: dict[str, Mapping[str, type[Settings]]] = {
    "purifiers": PURIFIERS,
    "attacks": ATTACKS,
    "targets": TARGETS,
    "data": DATA,
}
METHODS: dict[str, tuple[list[str], Callable[[dict[str, Any]], list[str]]]] = {
    "purifiers": (["Purifier", "What it does", "Gradient", "Random", "Source"], _purifier),
    "attacks": (["Attack", "What it does", "Needs", "Against", "Source"], _attack),
    "targets": (["Target", "What it is", "Extra", "Source"], _target),
    "data": (["Data set", "What it is", "Truth", "Origin"], _data),
}


def methods(kind: str) -> str:
    """One line per method of a kind."""
    heads, line = METHODS[kind]
    return markdown(heads, (line(row) for row in catalogue(kind)))


def defaults(kind: str) -> str:
    """Settings and defaults of every method of a kind."""
    return markdown(["Name", "Settings"], ([f"`{row['name']}`", settings(row)] for row in catalogue(kind)))


def reference(kind: str) -> str:
    """Docstrings of every method of a kind, for Sphinx."""
    classes = (f".. autoclass:: {cls.__module__}.{cls.__qualname__}\n" for cls in LISTS[kind].values())
    return f"```{{eval-rst}}\n{''.join(classes)}```\n"


def recipes() -> str:
    """Recipes that ship with the project."""
    return markdown(
        ["Recipe", "What it compares"], ([f"`{r['name']}`", plain(r["summary"])] for r in catalogue("recipes"))
    )


def weights() -> str:
    """Shipped networks with what they scored, how to make them again and whose they are."""

    def lines() -> Iterator[list[str]]:
        for name, card in list_weights().items():
            scores = ", ".join(f"{plain(key)} {score:.3f}" for key, score in card.scores.items())
            yield [f"`{name}`", scores, f"`{card.command}`", plain(card.data), card.licence]

    return markdown(["Weights", "Scores", "Made by", "Data", "Licence"], lines())


def columns() -> str:
    """Columns of the results table."""
    lines = ([plain(c.title), f"`{c.key}`", " and ".join(c.kinds), plain(c.help)] for c in COLUMNS)
    return markdown(["Column", "Key", "Targets", "Meaning"], lines)


def indicators() -> str:
    """The sixteen indicators."""
    lines = ([i, plain(text), "upper bound" if i in UPPER_BOUND else "shown"] for i, text in INDICATORS.items())
    return markdown(["", "What has to hold", "After a FAIL the number is"], lines)


def results(file: Path) -> str:
    """A published ``table.csv``: one line per defence, robust accuracy under every attack, the worst last."""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    attacks = sorted({row["attack"] for row in rows if row["attack"] != WORST}, key=[r["attack"] for r in rows].index)
    by_defence: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        by_defence.setdefault(row["defence"], {})[row["attack"]] = row

    def percent(row: dict[str, str], key: str) -> str:
        return f"{100 * float(row[key]):.1f}" if row[key] else ""

    def lines() -> Iterator[list[str]]:
        order = sorted(by_defence, key=lambda name: (by_defence[name][WORST]["verdict"] != "passes checks", -float(
            by_defence[name][WORST]["robust.average"]), name))  # fmt: skip
        for name in order:
            worst = by_defence[name][WORST]
            doubts = [mark for mark in worst["indicator_string"].split() if not mark.endswith("+")]
            yield [
                f"`{name}`",
                percent(worst, "clean.average"),
                *(percent(by_defence[name][attack], "robust.average") for attack in attacks),
                f"{percent(worst, 'robust.average')} [{percent(worst, 'robust.low')}, {percent(worst, 'robust.high')}]",
                percent(worst, "robust.worst"),
                percent(worst, "robust.vote"),
                plain(worst["verdict"]),
                " ".join(doubts) or "all pass",
            ]

    heads = ["Defence", "Clean", *attacks, "Worst attack per image [95 %]", "Worst of 10", "Vote", "Verdict", "Doubts"]
    return markdown(heads, lines())


def claims(file: Path) -> str:
    """A published ``claims.csv``: the paper's number, ours under its threat model, ours under the standard protocol."""

    def percent(row: dict[str, str], key: str, digits: int = 1) -> str:
        return f"{100 * float(row[key]):.{digits}f}" if row[key] else "-"

    def interval(row: dict[str, str], key: str) -> str:
        if not row[f"{key}.average"]:
            return "not run"
        return f"{percent(row, f'{key}.average')} [{percent(row, f'{key}.low')}, {percent(row, f'{key}.high')}]"

    def side(row: dict[str, str], key: str) -> str:
        robust = interval(row, f"{key}.robust")
        attack = f" ({plain(row[f'{key}.attack'])}, n = {row[f'{key}.n']})" if robust != "not run" else ""
        other = f"; against `{plain(row['against'])}` {signed(row, key)}" if row[f"{key}.difference.average"] else ""
        return robust + attack + other

    def signed(row: dict[str, str], key: str) -> str:
        average, low, high = (
            f"{100 * float(row[f'{key}.difference.{end}']):+.1f}" for end in ("average", "low", "high")
        )
        return f"{average} [{low}, {high}]"

    def lines() -> Iterator[list[str]]:
        with file.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                doubts = [mark for mark in row["indicator_string"].split() if not mark.endswith("+")]
                yield [
                    f"{plain(row['row'])}, {plain(row['table'])}: {plain(row['threat'])}",
                    percent(row, "printed.clean", 2),
                    percent(row, "printed.robust", 2),
                    f"`{plain(row['defence'])}`",
                    interval(row, "clean"),
                    side(row, "same"),
                    side(row, "standard"),
                    " ".join([plain(row["verdict"]), *doubts]),
                ]

    heads = ["Published row and its threat model", "Paper: clean", "Paper: robust", "Our defence", "Ours: clean"]
    return markdown([*heads, "Ours: same threat model", "Ours: standard protocol", "Verdict and doubts"], lines())


def costs(file: Path) -> str:
    """Defences from cheap to dear: network passes, accuracy, and the paired difference to the one compared with."""
    with file.open(newline="", encoding="utf-8") as stream:
        worst = [row for row in csv.DictReader(stream) if row["attack"] == WORST]
    with file.with_suffix(".claims.csv").open(newline="", encoding="utf-8") as stream:
        compared = {row["defence"]: row for row in csv.DictReader(stream)}

    def share(row: dict[str, str], key: str) -> str:
        average, low, high = (f"{100 * float(row[f'{key}.{end}']):.1f}" for end in ("average", "low", "high"))
        return f"{average} [{low}, {high}]"

    def difference(row: dict[str, str]) -> str:
        if not row["against"]:
            return "compared with"
        ends = (f"{100 * float(row[f'standard.difference.{end}']):+.1f}" for end in ("average", "low", "high"))
        return "{} [{}, {}]".format(*ends)

    def lines() -> Iterator[list[str]]:
        for row in sorted(worst, key=lambda row: float(row["passes"])):
            if row["defence"] in compared:
                passes = f"{float(row['passes']):.0f}"
                other = difference(compared[row["defence"]])
                yield [f"`{row['defence']}`", passes, share(row, "clean"), share(row, "robust"), other]

    heads = [
        "Sampler",
        "Passes",
        "Clean [95 %]",
        "Worst attack per image [95 %]",
        "Difference to 100 steps [95 %, paired]",
    ]
    return markdown(heads, lines())


def _published(suffix: str) -> Iterator[tuple[str, Path]]:
    """Name and file of every exported table beside the pages of results."""
    for file in sorted((ROOT / "docs" / "results").glob("*.csv")):
        name, dot, kind = file.stem.partition(".")
        if dot + kind == suffix:
            yield name, file


TABLES: dict[str, Callable[[], str]] = {
    **{kind: lambda kind=kind: methods(kind) for kind in METHODS},
    **{f"settings of {kind}": lambda kind=kind: defaults(kind) for kind in METHODS},
    **{f"reference of {kind}": lambda kind=kind: reference(kind) for kind in METHODS},
    "recipes": recipes,
    "weights": weights,
    "columns": columns,
    "indicators": indicators,
    **{f"results {name}": lambda file=file: results(file) for name, file in _published("")},
    **{f"claims {name}": lambda file=file: claims(file) for name, file in _published(".claims")},
    **{f"costs {name}": lambda file=file: costs(file) for name, file in _published("")},
}


def main() -> None:
    """Rewrite the pages whose tables differ."""
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            sys.stdout.write(f"wrote {page.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
