"""The figure of cost against quality: what robust and clean accuracy cost in network passes and in time."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as graph
from numpy.typing import NDArray

from lustral.measures import pareto_front
from lustral.report.figures import BLUE, ORANGE, base_layout, clean_axis, hover_text
from lustral.report.labels import Points, label_points, short_names
from lustral.report.table import Row

__all__ = ["MEASURES", "Measure", "cost_figure", "default_measure"]

Measure = Literal["passes", "milliseconds"]
MEASURES: dict[Measure, str] = {
    "passes": "Network passes per image",
    "milliseconds": "Milliseconds per image, in this run",
}

_GREY = "#7d8796"
_SIZE = 10
_NO_PASS, _LEAST_MILLISECONDS = 0.5, 0.01  # where what costs nothing stands on a logarithmic axis

Doubles = NDArray[np.float64]


def default_measure(rows: Sequence[Row]) -> Measure:
    """Passes, the same on every machine, unless no defence has a network."""
    return "passes" if any(row["cost"]["passes"] > 0 for row in rows) else "milliseconds"


def cost_figure(rows: Sequence[Row], places: Sequence[int], measure: Measure) -> dict[str, Any]:
    """Plotly figure as JSON, for rows of one suite with one row per defence.

    Every defence is a robust point and, joined by a line, a clean one; two fronts say what more accuracy costs.

    Args:
        rows: what ``view_rows`` gives.
        places: number of each row's defence on the page; clicks report it.
        measure: the axis of cost.
    """
    pairs = [(row, place) for row, place in zip(rows, places, strict=True) if math.isfinite(row["cost"][measure])]
    rows, places = [row for row, _ in pairs], [place for _, place in pairs]
    axis = clean_axis(rows)
    least = _NO_PASS if measure == "passes" else _LEAST_MILLISECONDS
    cost = np.array([max(row["cost"][measure], least) for row in rows])
    robust = np.array([100 * row["robust"]["average"] for row in rows])
    clean = np.array([100 * axis.of(row) for row in rows])
    sound = np.array([not row["upper_bound"] for row in rows], dtype=bool)
    figure = graph.Figure()
    x = [value for one in cost.tolist() for value in (one, one, None)]
    y = [value for pair in zip(robust.tolist(), clean.tolist(), strict=True) for value in (*pair, None)]
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": _GREY, "width": 1}, opacity=0.5, hoverinfo="skip", showlegend=False
    )
    _add_front(figure, "front of clean", cost, clean, _GREY)
    front = _add_front(figure, "front of robust", cost, np.where(sound, robust, np.nan), BLUE)
    texts = [hover_text(row, axis) for row in rows]
    figure.add_scatter(
        x=cost.tolist(), y=clean.tolist(), mode="markers", name=f"clean ({axis.short})", customdata=list(places),
        marker={"size": 8, "symbol": "circle-open", "color": _GREY, "line": {"width": 1.5}},
        hovertext=texts, hovertemplate="%{hovertext}<extra></extra>", cliponaxis=False,
    )  # fmt: skip
    points = Points(short_names([row["defence_settings"] for row in rows]), np.log(cost).tolist(), robust.tolist())
    order = sorted(range(len(rows)), key=lambda i: (not front[i], -robust[i], i))
    for name, mask, symbol, colour in (
        ("robust", sound, "circle", BLUE),
        ("robust, upper bound only", ~sound, "diamond-open", ORANGE),
    ):
        chosen = np.flatnonzero(mask).tolist()
        figure.add_scatter(
            x=cost[mask].tolist(), y=robust[mask].tolist(), mode="markers+text", name=name,
            **label_points(points, order, chosen, [_SIZE] * len(rows)),
            customdata=[places[i] for i in chosen], hovertext=[texts[i] for i in chosen],
            hovertemplate="%{hovertext}<extra></extra>", cliponaxis=False, textfont={"size": 11},
            marker={"size": _SIZE, "symbol": symbol, "color": colour, "line": {"width": 1.5}},
            error_y=_bars([rows[i] for i in chosen]),
        )  # fmt: skip
    figure.update_layout(_layout(cost, measure, rows[0]["kind"] if rows else "classifier", axis.short))
    return json.loads(figure.to_json() or "{}")


def _bars(rows: Sequence[Row]) -> dict[str, Any]:
    above = [100 * (row["robust"]["high"] - row["robust"]["average"]) for row in rows]
    below = [100 * (row["robust"]["average"] - row["robust"]["low"]) for row in rows]
    return {"array": above, "arrayminus": below, "thickness": 0.8, "width": 3, "color": "rgba(128,128,128,.7)"}


def _add_front(figure: graph.Figure, name: str, cost: Doubles, quality: Doubles, colour: str) -> NDArray[np.bool_]:
    """Draw what no cheaper defence reaches; returns which points those are."""
    front = pareto_front(np.stack([cost, quality], axis=1), (False, True))
    order = np.flatnonzero(front)[np.lexsort((quality[front], cost[front]))]
    ends = [float(cost.max())] if len(cost) else []  # dearer defences reach no less
    figure.add_scatter(
        x=[*cost[order].tolist(), *ends], y=[*quality[order].tolist(), *(quality[order[-1:]].tolist() if ends else [])],
        mode="lines", name=name, hoverinfo="skip",
        line={"shape": "hv", "dash": "dot", "width": 1.5, "color": colour},
    )  # fmt: skip
    return front


def _layout(cost: Doubles, measure: Measure, kind: str, clean: str) -> dict[str, Any]:
    title = "Accuracy (%)" if kind == "classifier" else f"Images whose score holds (%), {clean} x 100"
    layout = base_layout(MEASURES[measure], title)
    low, high = (float(cost.min()), float(cost.max())) if len(cost) else (1.0, 1.0)
    room = 0.06 * max(math.log10(high / low), 0.3)
    layout["xaxis"] |= {
        "type": "log",
        "range": [math.log10(low) - room, math.log10(high) + room],
        **_ticks(low, high, measure),
    }
    return layout


def _ticks(low: float, high: float, measure: Measure) -> dict[str, Any]:
    """1, 2, 5, 10 ... over a short range, powers of ten over a long one; what costs nothing has its own tick."""
    steps = (1, 2, 5) if high / low < 60 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [step * 10.0**power for power in powers for step in steps]
    least, name = (_NO_PASS, "0") if measure == "passes" else (_LEAST_MILLISECONDS, f"&lt;= {_LEAST_MILLISECONDS:g}")
    values = [value for value in values if 0.95 * low <= value <= 1.05 * high and value > 1.05 * least]
    texts = [html.escape(f"{value:g}") for value in values]
    if low <= least:
        values, texts = [least, *values], [name, *texts]
    return {"tickvals": values, "ticktext": texts, "tickangle": 0}
