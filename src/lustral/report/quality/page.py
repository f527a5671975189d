"""The page about quality targets: self-contained, under the same policy as the report beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from lustral.report.page import content_policy, embedded, library_styles, package_file, page_header, plotly_library
from lustral.report.quality.aggregate import Mean, Measured
from lustral.report.quality.content import Content
from lustral.report.quality.facets import MODES, defence_name
from lustral.report.quality.figures import DOTS, SCATTERS, dots_figure, scatter_figure
from lustral.report.quality.resampling import DRAWS
from lustral.report.quality.scores import SCORES
from lustral.report.quality.tables import PaperTable, Part, fullest_mode, present_modes
from lustral.report.quality.transfer import MEASURES
from lustral.report.quality.wilcoxon import ALPHA, CORRECTIONS, PairTests, matrix_of
from lustral.report.table import Table
from lustral.report.text import no_nan, plain

__all__ = ["make_quality_page"]

_PACKAGE = "lustral.report.quality"


def make_quality_page(table: Table, content: Content) -> str:
    """HTML of the page."""
    styles = [package_file("page.css"), package_file("quality.css", _PACKAGE)]
    script = package_file("common.js") + package_file("quality.js", _PACKAGE)
    library = plotly_library()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(package_file("quality.html.j2", _PACKAGE))
    return template.render(
        header=page_header(table),
        facts=_facts(content),
        notes=[plain(text, 1000) for text in content.marked.notes],
        on_test=content.marked.on_test,
        gaps=[plain(text, 1000) for text in content.gaps],
        remarks=[plain(text, 1000) for text in content.remarks],
        has_tables=bool(content.measured),
        has_tests=any(len(tests.presets) > 1 for tests in content.tests),
        has_transfer=bool(content.transfer),
        composite=_composite(content),
        scores=SCORES.values(),
        modes=MODES,
        alpha=ALPHA,
        draws=DRAWS,
        policy=content_policy([library, script], styles),
        library=Markup(library),
        library_styles=library_styles(library),
        script=Markup(script),
        styles=[Markup(style) for style in styles],
        data=Markup(embedded(_payload(content))),
    )


def _facts(content: Content) -> list[str]:
    """How large the run is, as short texts."""
    measured = content.measured
    images = {(one.facets.suite, image) for one in measured for image in one.ids}
    counts = {
        "image": len(images),
        "data set": len({one.facets.dataset for one in measured}),
        "target": len({one.facets.target for one in measured}),
        "defence setting": len({one.facets.preset for one in measured}),
        "cell": len({one.facets.cell for one in measured}),
    }
    return [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items()]


def _payload(content: Content) -> dict[str, Any]:
    presets = list(dict.fromkeys(one.facets.preset for one in content.measured))
    presets += [name for one in content.transfer for name in one.defences if name not in presets]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(presets))}
    modes = present_modes(content.measured)
    return {
        "mode": fullest_mode(content.measured),
        "modes": {mode: MODES[mode] for mode in modes},
        "scores": {key: {"title": one.title, "help": one.help, "better": one.better, "digits": one.digits}
                   for key, one in SCORES.items()},
        "presets": [_preset(content, name) for name in numbers],
        "parts": [{"kind": part.kind, "name": plain(part.name)} for part in content.parts],
        "tables": [_table(table, content, numbers) for table in content.tables],
        "figures": _figures(content) if content.measured else [],
        "corrections": CORRECTIONS,
        "tests": [_tests(tests, content.parts, numbers) for tests in content.tests if len(tests.presets) > 1],
        "measures": MEASURES,
        "transfer": [
            {
                "suite": plain(one.suite), "suites": one.suites, "label": plain(one.label), "images": one.images,
                "presets": [numbers[name] for name in one.defences],
                "values": {measure: _rounded(found.tolist()) for measure, found in one.values.items()},
            }
            for one in content.transfer
        ],
    }  # fmt: skip


def _preset(content: Content, name: str) -> dict[str, Any]:
    settings = content.settings[name]
    return {"name": plain(defence_name(settings), 120), "marked": name in content.marked.presets}


def _rounded(values: Any) -> Any:
    """Numbers with six significant digits, so that the page stays small; NaN as null."""
    if isinstance(values, float):
        return no_nan(float(f"{values:.6g}"))
    return [_rounded(value) for value in values]


def _mean(mean: Mean) -> list[Any] | None:
    """What the script reads by place: value, low, high, spread, cells, images, left out."""
    return [*_rounded([mean.value, mean.low, mean.high, mean.spread]), *mean[4:]] if mean.cells else None


def _table(table: PaperTable, content: Content, numbers: Mapping[str, int]) -> dict[str, Any]:
    return {
        "number": table.number,
        "title": table.title,
        "caption": table.caption,
        "spread": table.spread,
        "families": table.by_family,
        "columns": [
            {"section": plain(column.section), "score": column.score, "mode": column.mode} for column in table.columns
        ],
        "rows": [name if table.by_family else numbers[name] for name in table.rows],
        "values": {
            str(number): [[_mean(mean) for mean in row] for row in table.values[part]]
            for number, part in enumerate(content.parts)
            if part in table.values
        },
    }


def _figures(content: Content) -> list[dict[str, Any]]:
    """Drawings of every figure by part and mode, written ``0 blind``."""
    modes, settings, marked = present_modes(content.measured), content.settings, content.marked.presets
    found: list[dict[str, Any]] = []
    parts = [
        (number, [one for one in content.measured if part.holds(one.facets)])
        for number, part in enumerate(content.parts)
    ]
    for scatter in SCATTERS:
        drawings: dict[str, Any] = {}
        for number, own in parts:
            for mode in modes:
                groups = _by_preset([one for one in own if one.facets.mode == mode])
                drawings[f"{number} {mode}"] = scatter_figure(scatter, groups, marked, settings)
        found.append({"title": scatter.title, "drawings": _drawn(drawings)})
    for dots in DOTS:
        drawings = {}
        for number, own in parts:
            names = [name for name in _by_preset(own) if name in marked]
            if dots.series == "mode":
                drawings[str(number)] = dots_figure(dots, own, names, settings, None)
            elif number == 0:
                for mode in modes:
                    drawings[f"{number} {mode}"] = dots_figure(dots, own, names, settings, mode)
        found.append({"title": dots.title, "drawings": _drawn(drawings)})
    return [figure for figure in found if figure["drawings"]]


def _drawn(drawings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: drawing for key, drawing in drawings.items() if drawing is not None}


def _by_preset(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    groups: dict[str, list[Measured]] = {}
    for one in measured:
        groups.setdefault(one.facets.preset, []).append(one)
    return groups


def _tests(tests: PairTests, parts: Sequence[Part], numbers: Mapping[str, int]) -> dict[str, Any]:
    matrices: dict[str, Any] = {}
    for number, part in enumerate(parts):
        for correction in CORRECTIONS:
            found = matrix_of(tests, part, correction)
            if found.m:
                shares = _rounded(found.shares.tolist())
                facts = {"m": found.m, "cells": found.cells, "reachable": found.reachable}
                matrices[f"{number} {correction}"] = {"shares": shares, **facts}
    presets = [numbers[name] for name in tests.presets]
    return {"score": tests.score, "mode": tests.mode, "presets": presets, "images": tests.images, "matrices": matrices}


def _composite(content: Content) -> dict[str, Any] | None:
    order = content.composite
    if order is None:
        return None
    titles = {key: SCORES[key].title for key in order.weights}
    rows = [
        {
            "place": f"{one.first}" if one.first == one.last else f"{one.first}-{one.last}",
            "name": plain(defence_name(content.settings[one.preset]), 120),
            "mean": f"{one.mean:.2f}",
            "interval": f"[{one.low:.2f}, {one.high:.2f}]",
            "scores": [(f"{one.ranks[key]:g}", f"{one.values[key]:.{SCORES[key].digits}f}") for key in order.weights],
        }
        for one in order.ranked
    ]
    return {
        "mode": MODES[order.mode],
        "cells": order.cells,
        "heads": [(titles[key], f"{100 * weight:.3g} %", SCORES[key].help) for key, weight in order.weights.items()],
        "rows": rows,
        "dropped": [SCORES[key].title for key in order.dropped],
        "left_out": [plain(defence_name(content.settings[name])) for name in order.left_out],
    }
