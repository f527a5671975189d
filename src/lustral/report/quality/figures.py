"""The figures of paper 000: trade-offs with their fronts, and dots for attackers, data sets and targets."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lustral.measures import pareto_front
from lustral.report.figures import BLUE, ORANGE, base_layout
from lustral.report.labels import Points, label_points, short_names
from lustral.report.quality.aggregate import Mean, Measured, average
from lustral.report.quality.facets import MODES, Mode, defence_name
from lustral.report.quality.scores import SCORES
from lustral.report.quality.tables import COMMON
from lustral.report.text import plain

__all__ = ["DOTS", "SCATTERS", "Dots", "Scatter", "dots_figure", "scatter_figure"]

_COLOURS = (BLUE, ORANGE, "#2e9e6b", "#a05fc4", "#c44f6a", "#6b7a8f", "#b39b23", "#1f9fa8", "#8a5a3b")
_SIZE = 11.0
_ROW = 30  # pixels of a line of dots
_POINTS = {"type": "scatter", "cliponaxis": False, "hovertemplate": "%{hovertext}<extra></extra>"}
_LINES = {"type": "scatter", "mode": "lines", "hoverinfo": "skip"}

Doubles = NDArray[np.float64]


class Scatter(NamedTuple):
    """Two scores of every preset against each other, with a front or the line where both are equal."""

    key: str
    title: str
    x: str
    y: str
    front: bool


class Dots(NamedTuple):
    """One score of every defence, a dot for each attacker, data set or target."""

    key: str
    title: str
    score: str
    series: str


SCATTERS = (
    Scatter("psnr", "D(D) against PSNR (figures 3a, 8)", "d_defended", "psnr", True),
    Scatter("ssim", "D(D) against SSIM (figure 8)", "d_defended", "ssim", True),
    Scatter("srocc_attacked", "D(D) against SROCC adv (figure 9)", "d_defended", "srocc_attacked", True),
    Scatter("srocc_clean", "D(D) against SROCC clear (figure 9)", "d_defended", "srocc_clean", True),
    Scatter("d", "D against D(D) (figure 10)", "d", "d_defended", False),
    Scatter("r", "R against R(D) (figure 10)", "r", "r_defended", False),
)

DOTS = (
    Dots("srocc_attacked mode", "SROCC adv by attacker (figure 1)", "srocc_attacked", "mode"),
    Dots("d_defended mode", "D(D) by attacker (figure 1)", "d_defended", "mode"),
    Dots("d_defended dataset", "D(D) by data set (figure 3b)", "d_defended", "dataset"),
    Dots("srocc_attacked dataset", "SROCC adv by data set (figure 3b)", "srocc_attacked", "dataset"),
    Dots("r target", "R by target (figure 4a)", "r", "target"),
    Dots("srocc_clean target", "SROCC clear by target (figure 4b)", "srocc_clean", "target"),
)


def scatter_figure(
    scatter: Scatter, groups: Mapping[str, Sequence[Measured]], marked: frozenset[str], settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Figure for the script of plotly; None without two points.

    Args:
        scatter: what is drawn.
        groups: rows of one mode by preset.
        marked: presets that are filled.
        settings: settings of every preset.
    """
    points = {preset: (average(group, scatter.x), average(group, scatter.y)) for preset, group in groups.items()}
    known = [name for name, pair in points.items() if all(math.isfinite(one.value) for one in pair)]
    if len(known) < 2:
        return None
    x, y = (np.array([points[name][axis].value for name in known]) for axis in (0, 1))
    goals = tuple(SCORES[key].better == "up" for key in (scatter.x, scatter.y))
    front = pareto_front(np.stack([x, y], axis=1), goals)
    low, high = float(y.min()), float(y.max())
    heights = (100 * (y - low) / (high - low) if high > low else np.full(len(y), 50.0)).tolist()
    labelled = Points(_names([settings[name] for name in known]), x.tolist(), heights)
    order = sorted(range(len(known)), key=lambda i: (known[i] not in marked, not front[i], -heights[i]))
    texts = [_hover(scatter, points[name], settings[name]) for name in known]
    traces = [_front(x[front], y[front]) if scatter.front else _equal(x, y)]
    for title, symbol, is_filled in (("chosen preset", "circle", True), ("other presets", "circle-open", False)):
        own = [i for i, name in enumerate(known) if (name in marked) is is_filled]
        if own:
            labels = label_points(labelled, order, own, [_SIZE] * len(known))
            marker = {"size": _SIZE, "symbol": symbol, "color": BLUE, "line": {"width": 1.5}}
            places = {"x": x[own].tolist(), "y": y[own].tolist(), "mode": "markers+text"}
            hover = {"hovertext": [texts[i] for i in own]}
            traces.append({**_POINTS, **places, **labels, **hover, "name": title, "marker": marker})
    layout = _layout(_axis(scatter.x), _axis(scatter.y))
    layout["xaxis"]["range"], layout["yaxis"]["range"] = _range(float(x.min()), float(x.max())), _range(low, high)
    return {"data": traces, "layout": layout}


def _layout(x: str, y: str) -> dict[str, Any]:
    """That of other figures; its template is a word that only plotly's Python knows."""
    return {name: value for name, value in base_layout(x, y).items() if name != "template"}


def _axis(key: str) -> str:
    score = SCORES[key]
    unit = {"psnr": " (dB)", "d": " (% of range)", "d_defended": " (% of range)"}.get(key, "")
    return f"{score.title}{unit}, {'higher' if score.better == 'up' else 'lower'} is better"


def _range(low: float, high: float) -> list[float]:
    margin = 0.12 * (high - low) or 0.1 * abs(high) or 0.1
    return [low - margin, high + margin]


def _front(x: Doubles, y: Doubles) -> dict[str, Any]:
    """Steps below which, for lower x and higher y being better, some preset beats everything."""
    order = np.lexsort((y, x))
    line = {"shape": "hv", "dash": "dot", "width": 1.5, "color": ORANGE}
    return {**_LINES, "x": x[order].tolist(), "y": y[order].tolist(), "name": "Pareto front", "line": line}


def _equal(x: Doubles, y: Doubles) -> dict[str, Any]:
    ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
    line = {"dash": "dot", "width": 1.5, "color": ORANGE}
    return {**_LINES, "x": ends, "y": ends, "name": "equal", "line": line}


def _hover(scatter: Scatter, pair: Sequence[Mean], settings: Mapping[str, Any]) -> str:
    lines = [f"<b>{html.escape(plain(defence_name(settings)), quote=False)}</b>"]
    for key, mean in zip((scatter.x, scatter.y), pair, strict=True):
        lines.append(f"{SCORES[key].title} {_with_interval(mean, SCORES[key].digits)}")
    return "<br>".join([*lines, f"{pair[0].cells} cells, {pair[0].images} values"])


def _with_interval(mean: Mean, digits: int) -> str:
    return f"{mean.value:.{digits}f} [{mean.low:.{digits}f}, {mean.high:.{digits}f}]"


def dots_figure(
    dots: Dots, measured: Sequence[Measured], presets: Sequence[str], settings: Mapping[str, Any], mode: Mode | None
) -> dict[str, Any] | None:
    """Figure for the script of plotly with a line per preset, in the order of the first series; None without dots.

    Args:
        dots: what is drawn.
        measured: rows.
        presets: settings of the defences as canonical JSON.
        settings: settings of every preset.
        mode: attacks that count; None where the series are the modes.
    """
    series = _series(dots.series)
    own = [one for one in measured if one.facets.preset in presets and mode in (None, COMMON, one.facets.mode)]
    names = list(dict.fromkeys(series(one) for one in own))
    names = [name for name in MODES.values() if name in names] if dots.series == "mode" else names
    if not names or (dots.series != "mode" and len(names) < 2):
        return None
    means = {
        (preset, name): average([one for one in own if one.facets.preset == preset and series(one) == name], dots.score)
        for preset in presets
        for name in names
    }
    shown = [preset for preset in presets if any(means[preset, name].cells for name in names)]
    if not shown:
        return None
    sign = 1 if SCORES[dots.score].better == "up" else -1
    shown.sort(key=lambda preset: next(sign * means[preset, name].value for name in names if means[preset, name].cells))
    labels = _lines([settings[preset] for preset in shown], shown)
    traces: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        found = {labels[preset]: means[preset, name] for preset in shown if means[preset, name].cells}
        colour = _COLOURS[number % len(_COLOURS)]
        traces.append(_line_of_dots(found, html.escape(plain(name), quote=False), colour, SCORES[dots.score].digits))
    layout = _layout(_axis(dots.score), "")
    lines = {"type": "category", "categoryarray": [labels[preset] for preset in shown], "automargin": True}
    layout["yaxis"] |= {**lines, "title": {"text": ""}, "range": [-0.7, len(shown) - 0.3]}
    return {"data": traces, "layout": {**layout, "height": 110 + _ROW * len(shown)}}


def _line_of_dots(means: Mapping[str, Mean], name: str, colour: str, digits: int) -> dict[str, Any]:
    own = list(means.values())
    bars = {"array": [mean.high - mean.value for mean in own], "arrayminus": [mean.value - mean.low for mean in own]}
    texts = [f"{label}<br>{_with_interval(mean, digits)}<br>{mean.cells} cells" for label, mean in means.items()]
    return {
        **_POINTS,
        "mode": "markers",
        "name": name,
        "x": [mean.value for mean in own],
        "y": list(means),
        "error_x": {**bars, "thickness": 1.2, "width": 3, "color": f"{colour}88"},
        "hovertext": texts,
        "marker": {"size": 9, "color": colour},
    }


def _names(defences: Sequence[Mapping[str, Any]]) -> list[str]:
    control = [settings.get("name") == "identity" for settings in defences]
    pairs = zip(control, defences, short_names(defences), strict=True)
    return [defence_name(settings) if bare else name for bare, settings, name in pairs]


def _lines(defences: Sequence[Mapping[str, Any]], presets: Sequence[str]) -> dict[str, str]:
    """A label for every preset, all different: equal ones would share a line."""
    labels: dict[str, str] = {}
    for preset, name in zip(presets, _names(defences), strict=True):
        taken = list(labels.values())
        labels[preset] = next(text for text in (name, *(f"{name} ({i})" for i in range(2, 999))) if text not in taken)
    return labels


def _series(name: str) -> Callable[[Measured], str]:
    readers: dict[str, Callable[[Measured], str]] = {
        "mode": lambda one: MODES[one.facets.mode],
        "dataset": lambda one: one.facets.dataset,
        "target": lambda one: one.facets.target,
    }
    return readers[name]
