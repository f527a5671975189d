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
from lustral.report.results import WORST
from lustral.report.table import Row
from lustral.report.text import plain

__all__ = ["VIEWS", "View", "pareto_figure", "view_rows"]

View = Literal["worst", "adaptive", "blind"]

VIEWS: dict[View, str] = {
    "worst": "Worst of all attacks",
    "adaptive": "Attacker who knows the defence",
    "blind": "Attacker blind to the defence",
}

_BLUE, _ORANGE = "#2f7ed8", "#d9822b"
_SMALLEST, _LARGEST = 9.0, 30.0


class _Axis(NamedTuple):
    key: str
    title: str
    scale: float


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
    axis = _clean_axis(rows)
    x = np.array([_value(row, axis.key) * axis.scale for row in rows])
    y = np.array([100 * row["robust"]["average"] for row in rows])
    passes = np.array([not row["upper_bound"] for row in rows], dtype=bool)
    front = pareto_front(np.stack([np.where(passes, x, np.nan), y], axis=1), (True, True))
    named = _uncrowded(x, y, front)
    figure = graph.Figure()
    _add_front(figure, x[front], y[front])
    sizes = _sizes([row["cost"]["milliseconds"] for row in rows])
    for name, mask, symbol, colour in (
        ("passes its checks", passes, "circle", _BLUE),
        ("upper bound, not robustness", ~passes, "diamond-open", _ORANGE),
    ):
        chosen = np.flatnonzero(mask).tolist()
        _add_markers(figure, name, [rows[i] for i in chosen], x[mask], y[mask], axis)
        labels = [html.escape(plain(rows[i]["defence"], 26), quote=False) if named[i] else "" for i in chosen]
        marker = {"size": [sizes[i] for i in chosen], "symbol": symbol, "color": colour, "line": {"width": 1.5}}
        sides = ["top left" if x[i] > (np.nanmin(x) + np.nanmax(x)) / 2 else "top right" for i in chosen]
        figure.data[-1].update(marker=marker, text=labels, textposition=sides, customdata=[places[i] for i in chosen])
    figure.update_layout(_layout(axis, rows[0]["kind"] if rows else "classifier"))
    return json.loads(figure.to_json() or "{}")


def _uncrowded(
    x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], front: np.ndarray[Any, Any]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Points of the front whose names can be printed without covering each other; the most robust go first."""
    named = np.zeros(len(x), dtype=bool)
    wide = 0.3 * max(float(np.nanmax(x) - np.nanmin(x)), 1e-9) if len(x) else 0.0
    for i in sorted(np.flatnonzero(front).tolist(), key=lambda i: (-y[i], i)):
        taken = np.flatnonzero(named)
        named[i] = not bool(((np.abs(x[taken] - x[i]) < wide) & (np.abs(y[taken] - y[i]) < 6)).any())
    return named


def _value(row: Mapping[str, Any], key: str) -> float:
    for part in key.split("."):
        row = row[part]
    return float(row)  # pyright: ignore[reportArgumentType] the last part is a number


def _clean_axis(rows: Sequence[Row]) -> _Axis:
    if rows and rows[0]["kind"] == "quality":
        if all(math.isfinite(row["srocc_clean"]) for row in rows):
            return _Axis("srocc_clean", "SROCC with the scores of the data set, clean images", 1.0)
        return _Axis("ssim_clean", "SSIM of purified clean images", 1.0)
    return _Axis("clean.average", "Clean accuracy (%)", 100.0)


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
    line = {"shape": "vh", "dash": "dot", "width": 1.5, "color": _BLUE}
    figure.add_scatter(
        x=x[order].tolist(), y=y[order].tolist(), mode="lines", name="Pareto front", line=line, hoverinfo="skip"
    )


def _add_markers(
    figure: graph.Figure,
    name: str,
    rows: Sequence[Row],
    x: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any],
    axis: _Axis,
) -> None:
    above = [100 * (row["robust"]["high"] - row["robust"]["average"]) for row in rows]
    below = [100 * (row["robust"]["average"] - row["robust"]["low"]) for row in rows]
    figure.add_scatter(
        x=x.tolist(),
        y=y.tolist(),
        mode="markers+text",
        name=name,
        error_y={"array": above, "arrayminus": below, "thickness": 0.8, "width": 0, "color": "rgba(128,128,128,.55)"},
        hovertext=[_hover(row, axis) for row in rows],
        hovertemplate="%{hovertext}<extra></extra>",
        cliponaxis=False,
    )


def _hover(row: Row, axis: _Axis) -> str:
    robust, cost = row["robust"], row["cost"]["milliseconds"]
    lines = [
        f"<b>{html.escape(plain(row['defence']), quote=False)}</b>",
        f"attack: {html.escape(plain(row['attack']), quote=False)}",
        f"robust {100 * robust['average']:.1f} % [{100 * robust['low']:.1f}, {100 * robust['high']:.1f}]",
        f"{axis.title}: {_value(row, axis.key) * axis.scale:.3g}",
        f"{cost:.2f} ms per image" if math.isfinite(cost) else "cost not measured",
        html.escape(row["indicator_string"], quote=False) or "no indicators",
    ]
    return "<br>".join(lines + ["upper bound, not robustness"] * row["upper_bound"])


def _layout(axis: _Axis, kind: str) -> dict[str, Any]:
    robust = "Robust accuracy (%)" if kind == "classifier" else "Images whose score holds (%)"
    grid = {"gridcolor": "rgba(128,128,128,.22)", "zeroline": False, "ticks": "outside", "ticklen": 4}
    return {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 58, "r": 18, "t": 12, "b": 52},
        "xaxis": {"title": {"text": axis.title, "font": {"size": 13}}, **grid},
        "yaxis": {"title": {"text": robust, "font": {"size": 13}}, "range": [-4, 104], **grid},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
    }
