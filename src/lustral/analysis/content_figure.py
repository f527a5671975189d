"""The figure of a content analysis: distance by layer and stage, and the way to the clean image."""

from __future__ import annotations

import html
from typing import Any

import plotly.graph_objects as graph
from plotly.subplots import make_subplots

from lustral.analysis.content import ATTACKED, Content
from lustral.analysis.stages import is_state
from lustral.report.text import plain

__all__ = ["content_page"]

PALETTE = ("#d9822b", "#2f7ed8", "#3a9d5d", "#8a5cc2", "#c2455c", "#4aa7b5", "#8d7a4f", "#6b7280")
_SIDES = ("top right", "bottom right", "top left", "bottom left")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Content distance - lustral</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1200px; padding: 16px; }}
h1 {{ font-size: 1.4rem; }}
h2 {{ font-size: 1.1rem; }}
p {{ color: #555; max-width: 90ch; overflow-wrap: anywhere; }}
</style></head>
<body><h1>Content distance stage by stage</h1><p>{about}</p>
<h2>Distance to the clean image by layer, over that of the attacked image</h2>
<p>Below 1 a stage brings features back towards those of the clean image.
Bars are 95 % bootstrap intervals over images.</p>{bars}
<h2>The way through the purifier</h2>
<p>From the attacked image, stage by stage: distance at the first and the last layer, and {output} of the target.
The dashed line is the clean image.</p>{ways}
</body></html>
"""


def content_page(content: Content, summary: list[dict[str, Any]]) -> str:
    """Self-contained HTML page that loads nothing."""
    plan = content.plan
    about = (
        f"{len(content.images)} images of {plan.data.name}, target {plan.target.name}, layers of "
        f"{(plan.features or plan.target).name}, attack {plan.attack.name} ({plan.access.knowledge}), seed {plan.seed}."
    )
    bars, ways = _bars(content, summary), _ways(content, summary)
    config = {"displayModeBar": False, "responsive": True}
    return _PAGE.format(
        about=html.escape(plain(about, 600)),
        output=_output(content),
        bars=bars.to_html(full_html=False, include_plotlyjs=True, config=config),
        ways=ways.to_html(full_html=False, include_plotlyjs=False, config=config),
    )


def _output(content: Content) -> str:
    return "cross-entropy" if content.kind == "classifier" else "score"


def _short(text: str, longest: int = 60) -> str:
    return html.escape(plain(text, longest), quote=False)


def _bars(content: Content, summary: list[dict[str, Any]]) -> graph.Figure:
    texts = list(dict.fromkeys(entry["purifier"] for entry in summary))
    titles = [_short(text, 90) for text in texts]
    figure = make_subplots(rows=len(texts), cols=1, subplot_titles=titles, vertical_spacing=0.25 / len(texts))
    for row, text in enumerate(texts, 1):
        own = [entry for entry in summary if entry["purifier"] == text and entry["number"] > 0]
        stages = [entry for entry in own if not is_state(entry["stage"])]
        for number, entry in enumerate(stages):
            found = [entry["normalised"][layer] for layer in content.layers]
            figure.add_bar(
                x=list(content.layers),
                y=[one["average"] for one in found],
                error_y={
                    "array": [one["high"] - one["average"] for one in found],
                    "arrayminus": [one["average"] - one["low"] for one in found],
                    "thickness": 1,
                    "width": 2,
                },
                name=_short(entry["stage"]),
                marker_color=PALETTE[number % len(PALETTE)],
                legend="legend" if row == 1 else f"legend{row}",
                row=row,
                col=1,
            )
        top = figure.layout["yaxis" if row == 1 else f"yaxis{row}"].domain[1]
        legend = {"orientation": "h", "y": top, "yanchor": "bottom", "x": 1, "xanchor": "right"}
        figure.update_layout({"legend" if row == 1 else f"legend{row}": legend})
    figure.update_annotations(xanchor="left", x=0, yshift=22, font_size=13)
    figure.update_yaxes(title_text="normalised distance", rangemode="tozero")
    figure.update_layout(barmode="group", template="plotly_white", height=330 * len(texts), margin={"t": 70, "r": 10})
    return figure


def _is_unnamed(entry: dict[str, Any], purifier: int) -> bool:
    """States, and the attacked image of all purifiers but the first: blind attacks share it."""
    return is_state(entry["stage"]) or (purifier > 0 and entry["stage"] == ATTACKED)


def _ways(content: Content, summary: list[dict[str, Any]]) -> graph.Figure:
    ends = list(dict.fromkeys([content.layers[0], content.layers[-1]]))
    output = _output(content).replace("-", "_")
    figure = make_subplots(
        rows=1, cols=len(ends), subplot_titles=[html.escape(layer) for layer in ends], shared_yaxes=True
    )
    for column, layer in enumerate(ends, 1):
        for number, text in enumerate(dict.fromkeys(entry["purifier"] for entry in summary)):
            entries = [entry for entry in summary if entry["purifier"] == text]
            stages = [entry for entry in entries if entry["number"] > 0]
            figure.add_scatter(
                x=[entry["distance"][layer]["average"] for entry in stages],
                y=[entry[output]["average"] for entry in stages],
                mode="lines+markers+text",
                text=["" if _is_unnamed(entry, number) else _short(entry["stage"], 24) for entry in stages],
                hovertext=[_short(entry["stage"]) for entry in stages],
                textposition=[_SIDES[(number + index) % len(_SIDES)] for index in range(len(stages))],
                name=_short(text),
                legendgroup=str(number),
                showlegend=column == 1,
                marker={
                    "size": [5 if is_state(entry["stage"]) else 10 for entry in stages],
                    "symbol": ["x"] + ["circle"] * (len(stages) - 1),
                },
                line={"color": PALETTE[(number + 1) % len(PALETTE)]},
                row=1,
                col=column,
            )
        figure.add_hline(y=summary[0][output]["average"], line_dash="dash", line_color="#888", row=1, col=column)  # pyright: ignore[reportArgumentType] its stub knows text only
        farthest = max(entry["distance"][layer]["average"] for entry in summary)
        figure.update_xaxes(title_text="content distance", range=[0, 1.25 * farthest], row=1, col=column)
    figure.update_yaxes(title_text=_output(content), col=1)
    figure.update_layout(
        template="plotly_white", height=460, margin={"t": 40, "r": 10},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
    )  # fmt: skip
    return figure
