"""A search as one HTML page with the figure of its candidates, under the same content policy as the report."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from typing import Any

import jinja2
import plotly.graph_objects as graph
from markupsafe import Markup

from lustral.report.figures import BLUE, ORANGE, base_layout
from lustral.report.page import content_policy, embedded, library_styles, package_file, plotly_library
from lustral.report.text import plain
from lustral.tuning.files import estimate_text, front_table, rule_text
from lustral.tuning.search import Outcome, Tuning

__all__ = ["tuning_figure", "tuning_page"]

_PACKAGE = "lustral.tuning"
_SMALLEST, _LARGEST = 11.0, 30.0
_GREY = "#7d8796"


def tuning_page(tuning: Tuning) -> str:
    """Self-contained page that loads nothing and runs nothing but plotly and its own few lines."""
    search = tuning.search
    style, script, library = package_file("page.css"), package_file("tuning.js", _PACKAGE), plotly_library()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    heads, rows = front_table(tuning)
    about = (
        f"{len(tuning.outcomes)} candidates of {search.purifier} with {', '.join(search.space)}; recipe "
        f"{search.recipe.name}, {search.method} search, seed {search.seed}"
    )
    return environment.from_string(package_file("tuning.html.j2", _PACKAGE)).render(
        title=plain(f"Tuning {search.purifier}"),
        about=plain(about, 600),
        notes=[plain(note, 400) for note in tuning.notes],
        heads=heads,
        rows=rows,
        rule=rule_text(tuning),
        policy=content_policy([library, script], [style]),
        library=Markup(library),
        library_styles=library_styles(library),
        script=Markup(script),
        style=Markup(style),
        data=Markup(embedded(tuning_figure(tuning))),
    )


def tuning_figure(tuning: Tuning) -> dict[str, Any]:
    """Plotly figure as JSON: candidates that saw all images, and the targets without a purifier."""
    finished = [outcome for outcome in tuning.outcomes if outcome.state == "finished"]
    figure = graph.Figure()
    dearest = max((outcome.scores[-1].passes for outcome in finished), default=0)
    for name, symbol, shown in (
        ("on the front", "circle", [outcome for outcome in finished if outcome.on_front and not outcome.recommended]),
        ("dominated", "circle-open", [outcome for outcome in finished if not outcome.on_front]),
        ("recommended", "star", [outcome for outcome in finished if outcome.recommended]),
    ):
        _add(figure, name, symbol, shown, dearest)
    if tuning.undefended is not None:
        clean, robust = tuning.undefended.clean.value, 100 * tuning.undefended.robust.value
        marker = {"symbol": "x", "size": 10, "color": _GREY}
        figure.add_scatter(x=[clean], y=[robust], mode="markers", name="undefended", marker=marker)
    figure.update_layout(base_layout(f"Clean {tuning.measure}", "Robust (%)"))
    return json.loads(figure.to_json() or "{}")


def _add(figure: graph.Figure, name: str, symbol: str, shown: Sequence[Outcome], dearest: int) -> None:
    scores = [outcome.scores[-1] for outcome in shown]
    sizes = [_SMALLEST + (_LARGEST - _SMALLEST) * math.sqrt(score.passes / max(dearest, 1)) for score in scores]
    figure.add_scatter(
        x=[score.clean.value for score in scores],
        y=[100 * score.robust.value for score in scores],
        mode="markers",
        name=name,
        marker={"symbol": symbol, "size": sizes, "color": ORANGE if symbol == "star" else BLUE, "line": {"width": 1.5}},
        hovertext=[_hover(outcome) for outcome in shown],
        hovertemplate="%{hovertext}<extra></extra>",
        cliponaxis=False,
    )


def _hover(outcome: Outcome) -> str:
    score = outcome.scores[-1]
    lines = [
        f"<b>{outcome.candidate.number}: {html.escape(plain(outcome.candidate.text), quote=False)}</b>",
        f"clean {estimate_text(score.clean)}",
        f"robust {estimate_text(score.robust)}",
        f"{score.passes} network passes, {score.images} images",
    ]
    return "<br>".join(lines)
