"""A content analysis as CSV, JSON, a table for the terminal, and a figure in one HTML page."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lustral.analysis.content import ATTACKED, Content, Stage
from lustral.analysis.stages import is_state
from lustral.bench.atomic import replace
from lustral.bench.provenance import provenance
from lustral.measures import bootstrap_interval, wilson_interval
from lustral.report.exports import csv_cell
from lustral.report.text import defence_text, json_text, plain

__all__ = ["content_csv", "content_summary", "content_tables", "write_content"]

RESAMPLES = 1000

Doubles = NDArray[np.float64]


def write_content(content: Content, summary: list[dict[str, Any]], folder: Path, command: str = "") -> Path:
    """Write ``content.csv`` (images), ``content.json`` (settings, means, intervals) and ``content.html`` (figure).

    Returns:
        Path of the page.
    """
    from lustral.analysis.content_figure import content_page

    weights = {"target": content.plan.target.weights_digest()}
    if content.plan.features is not None:
        weights["features"] = content.plan.features.weights_digest()
    record = {
        "command": command,
        "settings": {**content.plan.to_json(), "layers": list(content.layers)},
        "weights": weights,
        "images": len(content.images),
        "stages": summary,
        "made": provenance(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / "content.csv", content_csv(content).encode())
    replace(folder / "content.json", (json_text(record, indent=1) + "\n").encode())
    replace(folder / "content.html", content_page(content, summary).encode())
    return folder / "content.html"


def _attacked(content: Content, purifier: int) -> Stage:
    return next(stage for stage in content.stages if stage.purifier == purifier and stage.name == ATTACKED)


def _numbered(content: Content) -> Iterator[tuple[str, int, Stage]]:
    """Purifier as text, number of the stage within it, and the stage."""
    texts = [defence_text(purifier.to_json()) for purifier in content.plan.purifiers]
    numbers = [0] * len(texts)
    for stage in content.stages:
        yield texts[stage.purifier], numbers[stage.purifier], stage
        numbers[stage.purifier] += 1


def output_name(content: Content) -> str:
    """What the target's output is called in tables."""
    return "cross_entropy" if content.kind == "classifier" else "score"


def content_csv(content: Content) -> str:
    """One row per purifier, stage and image; ``normalised`` is over the distance of the attacked image."""
    heads = ["purifier", "number", "stage", "image", output_name(content), "correct"]
    heads += [f"{what}.{layer}" for what in ("distance", "normalised") for layer in content.layers]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    for text, number, stage in _numbered(content):
        attacked = _attacked(content, stage.purifier)
        for row, image in enumerate(content.images):
            distances = [float(stage.distance[layer][row]) for layer in content.layers]
            over = [float(attacked.distance[layer][row]) for layer in content.layers]
            ratios = [_ratio(a, b) for a, b in zip(distances, over, strict=True)]
            correct = bool(stage.correct[row]) if len(stage.correct) else None
            cells = [text, number, stage.name, image, float(stage.output[row]), correct]
            writer.writerow([*map(csv_cell, cells), *map(_exact, [*distances, *ratios])])
    return stream.getvalue()


def _exact(value: float) -> str:
    return f"{value:.6e}" if math.isfinite(value) else ""


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else math.nan


def content_summary(content: Content) -> list[dict[str, Any]]:
    """Means over images with 95 % bootstrap intervals (Wilson for accuracy), one entry per purifier and stage.

    ``normalised`` is a ratio of means, so that images which the attack left nearly as they were do not decide it.
    """
    entries: list[dict[str, Any]] = []
    for text, number, stage in _numbered(content):
        attacked = _attacked(content, stage.purifier)
        accuracy = None
        if len(stage.correct):
            right, n = int(stage.correct.sum()), len(stage.correct)
            accuracy = {"average": right / n, **wilson_interval(right, n)._asdict()}
        pairs = {layer: np.stack([stage.distance[layer], attacked.distance[layer]], 1) for layer in content.layers}
        entries.append(
            {
                "purifier": text,
                "number": number,
                "stage": stage.name,
                "distance": {layer: _interval(pair, _mean, content.plan.seed) for layer, pair in pairs.items()},
                "normalised": {layer: _interval(pair, _over, content.plan.seed) for layer, pair in pairs.items()},
                output_name(content): _interval(stage.output[:, None], _mean, content.plan.seed),
                "accuracy": accuracy,
            }
        )
    return entries


def _mean(rows: Doubles) -> float:
    return float(rows[:, 0].mean())


def _over(rows: Doubles) -> float:
    return _ratio(float(rows[:, 0].mean()), float(rows[:, 1].mean()))


def _interval(rows: Doubles, statistic: Any, seed: int) -> dict[str, float]:
    low, high = bootstrap_interval(rows, statistic, seed, RESAMPLES) if len(rows) > 1 else (math.nan, math.nan)
    return {"average": statistic(rows), "low": low, "high": high}


def content_tables(content: Content, summary: list[dict[str, Any]]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Per purifier its name, the heads and the rows of a table: one column per stage, one row per layer.

    States within a stage are in the files only.
    """
    output = output_name(content)
    for text in dict.fromkeys(entry["purifier"] for entry in summary):
        own = [entry for entry in summary if entry["purifier"] == text and entry["number"] > 0]
        entries = [entry for entry in own if not is_state(entry["stage"])]
        rows = [
            [f"{layer}, normalised", *(_text(entry["normalised"][layer]) for entry in entries)]
            for layer in content.layers
        ]
        rows += [[f"{layer}, raw", *(_text(entry["distance"][layer]) for entry in entries)] for layer in content.layers]
        rows += [[output.replace("_", "-"), *(_text(entry[output]) for entry in entries)]]
        if content.kind == "classifier":
            rows += [["accuracy", *(_text(entry["accuracy"]) for entry in entries)]]
        yield plain(text), ["", *(entry["stage"] for entry in entries)], rows


def _text(found: dict[str, float]) -> str:
    return f"{found['average']:.3g} [{found['low']:.3g}, {found['high']:.3g}]"
