"""One self-contained HTML page: works from a file, loads nothing, runs nothing but its own scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2
import plotly.offline as plotly_offline
from markupsafe import Markup

from lustral.bench.indicators import INDICATORS
from lustral.report.budget_figure import budget_figures
from lustral.report.claims import Claim
from lustral.report.claims_page import claim_views
from lustral.report.columns import COLUMNS, cell_text, value_of
from lustral.report.cost_figure import MEASURES, cost_figure, default_measure
from lustral.report.exports import CSV_COLUMNS, csv_cell
from lustral.report.figures import VIEWS, pareto_figure, view_rows
from lustral.report.pictures import SIDE, Album, make_albums
from lustral.report.results import WORST, Result
from lustral.report.table import Row, Table
from lustral.report.text import json_text, no_nan, plain

__all__ = ["content_policy", "embedded", "library_styles", "make_page", "package_file", "page_header", "plotly_library"]

_LONGEST_SETTINGS = 20_000


def make_page(table: Table, claims: Sequence[Claim] = (), other: str = "") -> str:
    """HTML of the whole report, with a section of published numbers if there are claims, and a link to another page.

    The content security policy allows the page's own three scripts and one style sheet by their hashes,
    pictures from data and blob URIs, and nothing else: no network, no inline handlers, no eval.
    """
    style, script = package_file("page.css"), package_file("common.js") + package_file("page.js")
    library = plotly_library()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(package_file("page.html.j2"))
    return template.render(
        header=page_header(table),
        other=other,
        claims=claim_views(claims),
        views=VIEWS,
        measures=MEASURES,
        worst=WORST,
        columns=COLUMNS,
        policy=content_policy([library, script], [style]),
        library=Markup(library),
        library_styles=library_styles(library),
        script=Markup(script),
        style=Markup(style),
        data=Markup(embedded(_payload(table))),
    )


def plotly_library() -> str:
    """The script of plotly, which goes into the page.

    Raises:
        RuntimeError: it cannot stand inside a script element.
    """
    library = plotly_offline.get_plotlyjs()
    if "</script" in library.lower():
        raise RuntimeError("this version of plotly cannot be put inside a page: its script ends a script element")
    return library


def library_styles(library: str) -> list[str]:
    """Ids of the style sheets that plotly adds unless an element with that id is there.

    The policy refuses them and our own sheet has the rules they are needed for, so the page holds the place.
    """
    return ["plotly.js-style-global", *sorted(set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', library)))]


def content_policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Content security policy that allows exactly these inline scripts and style sheets."""
    allowed = {"script-src": scripts, "style-src": styles}
    hashes = [f"{what} {' '.join(map(_hash, texts))}" for what, texts in allowed.items()]
    return "; ".join(["default-src 'none'", *hashes, "img-src data: blob:", "base-uri 'none'", "form-action 'none'"])


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def package_file(name: str, package: str = "lustral.report") -> str:
    """A template, script or style sheet of a package that makes pages."""
    return (resources.files(package) / "templates" / name).read_text(encoding="utf-8")


def embedded(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json_text(value)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _harmless(value: Any, longest: int = 200) -> Any:
    """The same structure with every text made printable."""
    if isinstance(value, str):
        return plain(value, longest)
    if isinstance(value, Mapping):
        return {plain(str(key)): _harmless(entry) for key, entry in value.items()}
    return [_harmless(entry) for entry in value] if isinstance(value, list | tuple) else value


def page_header(table: Table) -> dict[str, Any]:
    """Title, facts about the run, and what is missing, as harmless texts."""
    recipe, rows = table.source.recipe, table.rows
    made = [cell.provenance for cell in table.source.cells.values()]
    images = sorted({row["n"] for row in rows}) or [0]
    facts = {
        "Images": " to ".join(map(str, dict.fromkeys((images[0], images[-1])))) + " images per row"
        if images
        else "none",
        "Seed": ", ".join(sorted({str(row["seed"]) for row in rows})) or "none yet",
        "Suites": str(len({row["suite"] for row in rows})),
        "Defences": str(len({row["defence"] for row in rows})),
        "Command": next((row["command"] for row in rows), "none yet"),
        "lustral": _versions(made),
        "Libraries": _libraries(made),
        "Processor": ", ".join(sorted({str(entry["processor"]) for entry in made if entry.get("processor")})),
    }
    title = str(recipe.get("title") or recipe.get("name") or "Benchmark")
    return {
        "title": plain(title),
        "description": plain(str(recipe.get("description") or ""), 2000),
        "facts": {name: plain(text, 400) for name, text in facts.items() if text},
        "protocol": _protocol(table.protocol),
        "missing": table.source.missing,
        "failed": len(table.source.failures),
        "unchecked": not any(row["indicator_string"] for row in rows),
    }


def _versions(made: Sequence[Mapping[str, Any]]) -> str:
    names: set[str] = set()
    for entry in made:
        git = entry.get("git") or {}
        revision = f" ({git['revision'][:12]}{', modified' if git.get('dirty') else ''})" if git.get("revision") else ""
        names.add(f"{entry.get('lustral')}{revision}")
    return ", ".join(sorted(names))


def _libraries(made: Sequence[Mapping[str, Any]]) -> str:
    found: dict[str, set[str]] = {}
    for entry in made:
        for name, version in (entry.get("versions") or {}).items():
            if version:
                found.setdefault(name, set()).add(str(version))
    return ", ".join(f"{name} {' / '.join(sorted(versions))}" for name, versions in sorted(found.items()))


def _protocol(protocol: Mapping[str, Any]) -> str:
    if not {"draws", "worst_of", "votes"} <= protocol.keys():
        return ""
    return (
        f"Random defences are scored on {protocol['draws']} fresh draws per image that no attack has seen; worst of M "
        f"uses M = {protocol['worst_of']}, the vote {protocol['votes']} draws. Intervals are Wilson 95 %."
    )


def _payload(table: Table) -> dict[str, Any]:
    album = make_albums([result for result in table.results if result.label != WORST], table.source.cells)
    keys = list(dict.fromkeys(result.key for result in table.results))
    place = {key: number for number, key in enumerate(keys)}
    numbers = [place[result.key] for result in table.results]
    return {
        "columns": [column.to_json() for column in COLUMNS],
        "rows": [_page_row(row, number) for row, number in zip(table.rows, numbers, strict=True)],
        "defences": [_defence(table, key, album) for key in keys],
        "figures": _figures(table, numbers),
        "pictures": album.pool,
        "strips": _harmless(album.strips),
        "pictures_left_out": album.left_out,
        "side": SIDE,
        "indicators": INDICATORS,
        "worst": WORST,
        "csv": {"columns": CSV_COLUMNS},
    }


def _page_row(row: Row, number: int) -> dict[str, Any]:
    """The values of all columns, as numbers for sorting and as text for reading, and the CSV cells."""
    values = {column.key: value_of(row, column.key) for column in COLUMNS}
    return {
        "defence_number": number,
        "kind": row["kind"],
        "upper_bound": row["upper_bound"],
        "values": no_nan(_harmless(values)),
        "texts": {column.key: plain(cell_text(row, column)) for column in COLUMNS},
        "csv": [csv_cell(value_of(row, key)) for key in CSV_COLUMNS],
    }


def _defence(table: Table, key: tuple[str, str], album: Album) -> dict[str, Any]:
    pairs = [(row, result) for row, result in zip(table.rows, table.results, strict=True) if result.key == key]
    row = pairs[0][0]
    return {
        "suite": plain(row["suite"]),
        "name": plain(row["defence"]),
        "kind": row["kind"],
        "upper_bound": row["upper_bound"],
        "verdicts": _harmless(row["indicators"]),
        "about": _about(row),
        "settings": _settings_text(pairs),
        "command": plain(row["command"], 400),
        "pictures": _harmless(album.entries.get(key, {})),
    }


def _about(row: Row) -> dict[str, str]:
    gradients = {
        "exact": "exact",
        "bpda": "a documented surrogate (the forward pass is not differentiable)",
        "none": "none",
    }
    return {
        "Target": plain(row["target"]),
        "Data": plain(row["data"]),
        "Random": "yes" if row["is_random"] else "no",
        "Gradient": gradients.get(row["gradient"], plain(row["gradient"])),
    }


def _settings_text(pairs: Sequence[tuple[Row, Result]]) -> str:
    attacks = {
        row["attack"]: {"attack": row["attack_settings"], "access": row["access_settings"], "cells": row["cells"]}
        for row, _ in pairs
        if row["attack"] != WORST
    }
    first = pairs[0][1].settings
    everything = {
        "defence": pairs[0][0]["defence_settings"],
        "attacks": attacks,
        **{name: first[name] for name in ("data", "target", "seed", "chunk", "device", "dtype") if name in first},
    }
    text = json.dumps(_harmless(no_nan(everything)), indent=2, ensure_ascii=True)
    return text if len(text) <= _LONGEST_SETTINGS else text[:_LONGEST_SETTINGS] + "\n..."


def _figures(table: Table, numbers: Sequence[int]) -> list[dict[str, Any]]:
    figures: list[dict[str, Any]] = []
    for suite in dict.fromkeys(row["suite"] for row in table.rows):
        places = {id(row): number for row, number in zip(table.rows, numbers, strict=True)}
        rows = [row for row in table.rows if row["suite"] == suite]
        views: dict[str, Any] = {}
        costs: dict[str, Any] = {}
        for view in VIEWS:
            if chosen := view_rows(rows, view):
                numbered = [places[id(row)] for row in chosen]
                views[view] = pareto_figure(chosen, numbered)
                costs[view] = {measure: cost_figure(chosen, numbered, measure) for measure in MEASURES}
        budgets = [drawn._asdict() for drawn in budget_figures(rows, [places[id(row)] for row in rows])]
        shown = {"views": views, "costs": costs, "measure": default_measure(rows), "budgets": budgets}
        figures.append({"suite": plain(suite), **shown})
    return figures
