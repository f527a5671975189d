"""The Pareto figure: robust against clean, cost as the size of the marker."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import plotly.graph_objects as graph

from lustral.measures import pareto_front
from lustral.report.columns import PASSES, verdict_of
from lustral.report.labels import Points, label_points, short_names
from lustral.report.results import WORST
from lustral.report.table import Row
from lustral.report.text import plain

__all__ = [
    "BLUE", "ORANGE", "VIEWS", "Axis", "View", "base_layout", "clean_axis", "hover_text", "pareto_figure", "view_rows",
]  # fmt: skip

View = Literal["worst", "adaptive", "blind"]

VIEWS: dict[View, str] = {
    "worst": "Worst of all attacks",
    "adaptive": "Attacker who knows the defence",
    "blind": "Attacker blind to the defence",
}

BLUE, ORANGE = "#2f7ed8", "#d9822b"
_SMALLEST, _LARGEST = 9.0, 30.0


class Axis(NamedTuple):
    """The measure of what a purifier does to clean images; ``scale`` is what the figure multiplies it by."""

    key: str
    title: str
    scale: float
    short: str

    def of(self, row: Mapping[str, Any]) -> float:
        """Its value for a row of the table."""
        for part in self.key.split("."):
            row = row[part]
        return float(row)  # pyright: ignore[reportArgumentType] the last part is a number


def view_rows(rows: Sequence[Row], view: View) -> list[Row]:
    """One row per defence: the worst of all, or the one with the lowest robust share among blind or other attacks."""
    chosen: dict[str, Row] = {}
    for row in rows:
        knowledge = row["access_settings"].get("knowledge")
        wanted = {"worst": row["attack"] == WORST, "blind": knowledge == "blind"}
        if wanted.get(view, row["attack"] != WORST and knowledge != "blind") and row["n"]:
            key = json.dumps(row["defence_settings"], sort_keys=True)
            if key not in chosen or row["robust"]["average"] < chosen[key]["robust"]["average"]:
                chosen[key] = row
    return list(chosen.values())


def pareto_figure(rows: Sequence[Row], places: Sequence[int]) -> dict[str, Any]:
    """Plotly figure as JSON, for rows of one suite with one row per defence.

    Args:
        rows: what ``view_rows`` gives.
        places: number of each row's defence on the page; clicks report it.
    """
    axis = clean_axis(rows)
    x = np.array([axis.of(row) * axis.scale for row in rows])
    y = np.array([100 * row["robust"]["average"] for row in rows])
    passes = np.array([not row["upper_bound"] for row in rows], dtype=bool)
    front = pareto_front(np.stack([np.where(passes, x, np.nan), y], axis=1), (True, True))
    order = sorted(np.flatnonzero(front).tolist(), key=lambda i: (-y[i], i))
    points = Points(short_names([row["defence_settings"] for row in rows]), x.tolist(), y.tolist())
    figure = graph.Figure()
    _add_front(figure, x[front], y[front])
    sizes = _sizes([row["cost"]["milliseconds"] for row in rows])
    checked = np.array([verdict_of(row) == PASSES for row in rows], dtype=bool)
    for name, mask, symbol, colour in (
        ("passes its checks", passes & checked, "circle", BLUE),
        ("not checked", passes & ~checked, "circle-open", BLUE),
        ("upper bound, not robustness", ~passes, "diamond-open", ORANGE),
    ):
        chosen = np.flatnonzero(mask).tolist()
        _add_markers(figure, name, [rows[i] for i in chosen], x[mask], y[mask], axis)
        marker = {"size": [sizes[i] for i in chosen], "symbol": symbol, "color": colour, "line": {"width": 1.5}}
        own = label_points(points, order, chosen, sizes)
        figure.data[-1].update(marker=marker, customdata=[places[i] for i in chosen], **own)
    quality = bool(rows) and rows[0]["kind"] == "quality"
    figure.update_layout(base_layout(axis.title, "Images whose score holds (%)" if quality else "Robust accuracy (%)"))
    return json.loads(figure.to_json() or "{}")


def clean_axis(rows: Sequence[Row]) -> Axis:
    """The axis that all rows have a value for."""
    if rows and rows[0]["kind"] == "quality":
        if all(math.isfinite(row["srocc_clean"]) for row in rows):
            return Axis("srocc_clean", "SROCC with the scores of the data set, clean images", 1.0, "SROCC")
        return Axis("ssim_clean", "SSIM of purified clean images", 1.0, "SSIM")
    return Axis("clean.average", "Clean accuracy (%)", 100.0, "accuracy")


def _sizes(milliseconds: Sequence[float]) -> list[float]:
    known = [value for value in milliseconds if math.isfinite(value)]
    most = max(known, default=0.0)
    if most <= 0:
        return [_SMALLEST + 3] * len(milliseconds)
    return [
        _SMALLEST + (_LARGEST - _SMALLEST) * math.sqrt(value / most) if math.isfinite(value) else _SMALLEST
        for value in milliseconds
    ]


def _add_front(figure: graph.Figure, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> None:
    order = np.lexsort((y, x))
    line = {"shape": "vh", "dash": "dot", "width": 1.5, "color": BLUE}
    figure.add_scatter(
        x=x[order].tolist(), y=y[order].tolist(), mode="lines", name="Pareto front", line=line, hoverinfo="skip"
    )


def _add_markers(
    figure: graph.Figure,
    name: str,
    rows: Sequence[Row],
    x: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any],
    axis: Axis,
) -> None:
    above = [100 * (row["robust"]["high"] - row["robust"]["average"]) for row in rows]
    below = [100 * (row["robust"]["average"] - row["robust"]["low"]) for row in rows]
    figure.add_scatter(
        x=x.tolist(),
        y=y.tolist(),
        mode="markers+text",
        name=name,
        error_y={"array": above, "arrayminus": below, "thickness": 0.8, "width": 0, "color": "rgba(128,128,128,.55)"},
        hovertext=[hover_text(row, axis) for row in rows],
        hovertemplate="%{hovertext}<extra></extra>",
        cliponaxis=False,
    )


def hover_text(row: Row, axis: Axis) -> str:
    """What a point says of its defence, as the few HTML elements that plotly knows."""
    robust, cost = row["robust"], row["cost"]["milliseconds"]
    lines = [
        f"<b>{html.escape(plain(row['defence']), quote=False)}</b>",
        f"attack: {html.escape(plain(row['attack']), quote=False)}",
        f"robust {100 * robust['average']:.1f} % [{100 * robust['low']:.1f}, {100 * robust['high']:.1f}]",
        f"{axis.title}: {axis.of(row) * axis.scale:.3g}",
        f"{row['cost']['passes']:.0f} network passes" if math.isfinite(row["cost"]["passes"]) else "passes not known",
        f"{cost:.2f} ms per image" if math.isfinite(cost) else "cost not measured",
        html.escape(row["indicator_string"], quote=False) or "no indicators",
    ]
    return "<br>".join(lines + ["upper bound, not robustness"] * row["upper_bound"])


def base_layout(x: str, y: str) -> dict[str, Any]:
    """Layout with the titles of both axes; y is in per cent."""
    grid = {"gridcolor": "rgba(128,128,128,.22)", "zeroline": False, "ticks": "outside", "ticklen": 4}
    return {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 58, "r": 18, "t": 12, "b": 52},
        "xaxis": {"title": {"text": x, "font": {"size": 13}}, **grid},
        "yaxis": {"title": {"text": y, "font": {"size": 13}}, "range": [-4, 104], **grid},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
    }
