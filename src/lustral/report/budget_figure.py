"""The figure of accuracy against perturbation budget: one attack at several strengths, one line per defence."""

from __future__ import annotations

import html
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import cycle, takewhile
from typing import Any, NamedTuple

import plotly.graph_objects as graph

from lustral.attacks.budgets import UNBOUNDED
from lustral.report.figures import base_layout, clean_axis, hover_text
from lustral.report.labels import short_names
from lustral.report.results import WORST
from lustral.report.summary import Share
from lustral.report.table import Row
from lustral.report.text import plain
from lustral.settings import canonical

__all__ = ["FEWEST", "BudgetFigure", "budget_figures"]

FEWEST = 3
"""Strengths that make a curve."""

_AXES = {
    "linf": ("Largest change of a value (levels of 255)", 255.0),
    "l2": ("Euclidean length of the change (values from 0 to 1)", 1.0),
}

_ATTACKERS = {
    "blind": "does not know the defence",
    "scores": "sees scores of the defended system",
    "bpda": "takes the purifier for the identity",
    "surrogate": "differentiates a surrogate",
    "exact": "differentiates the defence",
    "known_noise": "also knows the noise",
}

_GREY = "#7d8796"
_COLOURS = ("#2f7ed8", "#d9822b", "#2a9d6e", "#c8453b", "#8e5fc2", "#17a2b8", "#d667a4", "#8c6d46")
_SYMBOLS = ("circle", "square", "triangle-up", "cross", "star", "pentagon", "hexagon")  # 8 x 7 looks


class BudgetFigure(NamedTuple):
    """An attack and what its attacker knows, as plain text, and a plotly figure as JSON."""

    title: str
    figure: dict[str, Any]


class _Curve(NamedTuple):
    """One defence: budgets in units of the axis with the row behind each; the clean share if it stands at 0."""

    budgets: list[float]
    rows: list[Row]
    clean: Share | None


def budget_figures(rows: Sequence[Row], places: Sequence[int]) -> list[BudgetFigure]:
    """A figure for every attack that stands in a suite at ``FEWEST`` strengths or more.

    Two lines of a recipe are the same attack at two strengths if nothing but ``epsilon`` and the step length differs.
    At budget 0 a classifier has its clean accuracy.

    Args:
        rows: all rows of one suite, in the order of the recipe.
        places: number of each row's defence on the page; clicks report it.
    """
    number = {id(row): place for row, place in zip(rows, places, strict=True)}
    seen = [row for row in rows if row["n"]]
    return [_figure([row for row in seen if row["attack"] in labels], labels, number) for labels in _sweeps(seen)]


def _sweeps(rows: Sequence[Row]) -> list[list[str]]:
    """Labels of every attack that comes in enough strengths, weakest first."""
    asked: dict[str, Row] = {}
    for row in rows:
        if row["attack"] != WORST and _bounded(row):
            known = asked.get(row["attack"])
            if known is None or _draws(row) > _draws(known):  # defences without randomness are asked once
                asked[row["attack"]] = row
    groups: dict[str, list[str]] = defaultdict(list)
    for label, row in asked.items():
        groups[_method(row)].append(label)
    ordered = (sorted(labels, key=lambda label: _epsilon(asked[label])) for labels in groups.values())
    return [labels for labels in ordered if len({_epsilon(asked[label]) for label in labels}) >= FEWEST]


def _bounded(row: Row) -> bool:
    attack = row["attack_settings"]
    return attack.get("norm") in _AXES and 0 < float(attack.get("epsilon", 0)) < UNBOUNDED


def _epsilon(row: Row) -> float:
    return float(row["attack_settings"]["epsilon"])


def _draws(row: Row) -> int:
    return int(row["access_settings"].get("eot", 1))


def _method(row: Row) -> str:
    """What two strengths of one attack have in common."""
    attack = {name: value for name, value in row["attack_settings"].items() if name not in ("epsilon", "step")}
    return canonical([attack, row["access_settings"]])


def _figure(rows: Sequence[Row], labels: Sequence[str], number: dict[int, int]) -> BudgetFigure:
    norm = rows[0]["attack_settings"]["norm"]
    title, scale = _AXES[norm]
    curves = _curves(rows, scale)
    names = short_names([curve.rows[0]["defence_settings"] for curve in curves])
    figure, looks = graph.Figure(), zip(cycle(_COLOURS), cycle(_SYMBOLS), strict=False)
    for curve, name in zip(curves, names, strict=True):
        bare = curve.rows[0]["defence_settings"].get("name") == "identity"
        colour, symbol = (_GREY, "diamond") if bare else next(looks)
        shown = "no defence" if bare else name.replace("<br>", " ")
        trace = _trace(curve, shown, colour, symbol, [number[id(row)] for row in curve.rows])
        trace["line"]["dash"] = "dash" if bare else "solid"
        figure.add_scatter(**trace)
    quality = rows[0]["kind"] == "quality"
    layout = base_layout(title, "Images whose score holds (%)" if quality else "Robust accuracy (%)")
    words = _words(rows, labels)
    shown = "<b>{}</b><br>{}".format(*(html.escape(text, quote=False) for text in words))
    layout["title"] = {"text": shown, "font": {"size": 13}, "x": 0.01, "y": 0.98, "yanchor": "top"}
    layout["margin"] |= {"t": 52}
    layout["legend"] = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top", "font": {"size": 12}}
    ticks = sorted({budget for curve in curves for budget in (0.0, *curve.budgets)})
    layout["xaxis"] |= {"tickvals": ticks, "ticktext": [f"{tick:.3g}" for tick in ticks], "tickangle": 0}
    figure.update_layout(layout)
    return BudgetFigure(": ".join(words), json.loads(figure.to_json() or "{}"))


def _curves(rows: Sequence[Row], scale: float) -> list[_Curve]:
    """One curve per defence; of two rows with one budget the stronger attack counts."""
    defences: dict[str, dict[float, Row]] = defaultdict(dict)
    for row in sorted(rows, key=_epsilon):
        points = defences[canonical(row["defence_settings"])]
        budget = round(_epsilon(row) * scale, 9)
        if budget not in points or row["robust"]["average"] < points[budget]["robust"]["average"]:
            points[budget] = row
    return [
        _Curve(list(points), list(points.values()), first["clean"] if first["kind"] == "classifier" else None)
        for points in defences.values()
        for first in [next(iter(points.values()))]
    ]


def _trace(curve: _Curve, name: str, colour: str, symbol: str, places: Sequence[int]) -> dict[str, Any]:
    """Properties of the line of one defence; points that are upper bounds are hollow."""
    axis = clean_axis(curve.rows)
    shares = [row["robust"] for row in curve.rows]
    texts = [hover_text(row, axis) for row in curve.rows]
    symbols = [f"{symbol}-open" if row["upper_bound"] else symbol for row in curve.rows]
    budgets, numbers = curve.budgets, list(places)
    if curve.clean is not None:
        budgets, shares, symbols = [0.0, *budgets], [curve.clean, *shares], [symbol, *symbols]
        texts, numbers = [_clean_text(name, curve.clean), *texts], [places[0], *places]
    return {
        "x": budgets,
        "y": [100 * share["average"] for share in shares],
        "mode": "lines+markers",
        "name": name,
        "customdata": numbers,
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "symbol": symbols, "size": 8},
        "error_y": {
            "array": [100 * (share["high"] - share["average"]) for share in shares],
            "arrayminus": [100 * (share["average"] - share["low"]) for share in shares],
            "thickness": 0.9,
            "width": 3,
            "color": f"{colour}8c",  # bars of several lines stand in one place
        },
        "hovertext": texts,
        "hovertemplate": "%{hovertext}<extra></extra>",
        "cliponaxis": False,
    }


def _clean_text(name: str, clean: Share) -> str:
    """``name`` is already harmless."""
    average, low, high = (100 * clean[key] for key in ("average", "low", "high"))
    return f"<b>{name}</b><br>no attack<br>accuracy {average:.1f} % [{low:.1f}, {high:.1f}]"


def _words(rows: Sequence[Row], labels: Sequence[str]) -> tuple[str, str]:
    """What the labels have in common, and what the attacker knows."""
    same = takewhile(lambda words: len(set(words)) == 1, zip(*map(str.split, labels), strict=False))
    label = " ".join(words[0] for words in same).rstrip(" ,;:(")
    most = max(rows, key=_draws)
    knowledge = str(most["access_settings"].get("knowledge", "?"))
    draws = f", mean of {_draws(most)} draws" if _draws(most) > 1 else ""
    name = label or str(rows[0]["attack_settings"].get("name", "?"))
    return plain(name), plain(f"attacker {_ATTACKERS.get(knowledge, knowledge)}{draws}")
