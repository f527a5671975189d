"""A search as CSV, JSON and a table for the terminal. No times in them: the same search gives the same bytes."""

from __future__ import annotations

import csv
import io
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lustral.bench.atomic import replace
from lustral.report.exports import csv_cell
from lustral.report.text import json_text, plain
from lustral.tuning.rungs import RUNGS
from lustral.tuning.scores import Estimate, Score
from lustral.tuning.search import Outcome, Tuning

__all__ = ["front_table", "rule_text", "tuning_csv", "tuning_record", "write_tuning"]

_LONGEST = 4000
_HEADS = (
    *("number", "state", "rung", "images", "clean", "clean_low", "clean_high"),
    *("robust", "robust_low", "robust_high", "passes", "front", "recommended", "purifier", "reason"),
)


def write_tuning(tuning: Tuning, folder: Path) -> Path:
    """Write ``tuning.csv``, ``tuning.json`` and ``tuning.html``.

    Returns:
        Path of the page.
    """
    from lustral.tuning.page import tuning_page

    record = tuning_record(tuning)
    replace(folder / "tuning.csv", tuning_csv(tuning).encode())
    replace(folder / "tuning.json", (json_text(record, indent=1) + "\n").encode())
    replace(folder / "tuning.html", tuning_page(tuning).encode())
    return folder / "tuning.html"


def searched_keys(tuning: Tuning) -> list[str]:
    """The searched settings, in the order of columns."""
    return sorted(change.partition("=")[0].strip() for change in tuning.search.space)


def tuning_csv(tuning: Tuning) -> str:
    """The targets without a purifier, then every candidate in its order, with its scores on the most images it saw."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    keys = searched_keys(tuning)
    writer.writerow([*_HEADS, *keys])
    if tuning.undefended is not None:
        cells = ["", "undefended", "", *_numbers(tuning.undefended), "", "", "identity", ""]
        writer.writerow([csv_cell(cell) if cell != "" else "" for cell in cells] + [""] * len(keys))
    for outcome in tuning.outcomes:
        candidate, score = outcome.candidate, outcome.scores[-1] if outcome.scores else None
        cells = [
            candidate.number,
            outcome.state,
            len(outcome.scores),
            *_numbers(score),
            outcome.on_front,
            outcome.recommended,
        ]
        chosen = [_exact(candidate.chosen.get(key, "")) for key in keys]
        texts = [plain(candidate.text, _LONGEST), plain(outcome.reason, _LONGEST)]
        writer.writerow([*map(csv_cell, cells), *texts, *chosen])
    return stream.getvalue()


def _numbers(score: Score | None) -> list[Any]:
    if score is None:
        return [None] * 8
    return [score.images, *score.clean, *score.robust, score.passes]


def _exact(value: Any) -> str:
    """All digits of a number: settings may be small."""
    return repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else csv_cell(value)


def tuning_record(tuning: Tuning) -> dict[str, Any]:
    """Everything about a search as JSON: what was asked, on which images, every candidate, and the rule."""
    search = tuning.search
    recipe = search.recipe.to_json()
    for suite in recipe["suite"]:
        del suite["defences"]
    recipe.pop("published", None)
    return {
        "purifier": search.purifier,
        "space": dict(sorted(_pair(change) for change in search.space)),
        "search": search.method,
        "trials": search.trials,
        "seed": search.seed,
        "rungs": [float(share) for share in (RUNGS if search.method == "halving" else RUNGS[-1:])],
        "measure": tuning.measure,
        "clean_loss": search.clean_loss,
        "rule": rule_text(tuning),
        "notes": list(tuning.notes),
        "recipe": recipe,
        "versions": {name: version(name) for name in ("lustral", "optuna")},
        "undefended": None if tuning.undefended is None else _score(tuning.undefended),
        "candidates": [_outcome(outcome) for outcome in tuning.outcomes],
    }


def _pair(change: str) -> tuple[str, str]:
    key, _, text = change.partition("=")
    return key.strip(), text.strip()


def _outcome(outcome: Outcome) -> dict[str, Any]:
    candidate = outcome.candidate
    return {
        "number": candidate.number,
        "state": outcome.state,
        "purifier": candidate.text,
        "chosen": candidate.chosen,
        "settings": None if candidate.settings is None else candidate.settings.to_json(),
        "reason": outcome.reason,
        "rungs": [_score(score) for score in outcome.scores],
        "front": outcome.on_front,
        "recommended": outcome.recommended,
    }


def _score(score: Score) -> dict[str, Any]:
    return {
        "clean": score.clean._asdict(),
        "robust": score.robust._asdict(),
        "passes": score.passes,
        "images": score.images,
    }


def rule_text(tuning: Tuning) -> str:
    """How one candidate is recommended, in words."""
    return (
        "of the candidates that saw all images, the highest robust share among those that lose at most "
        f"{tuning.search.clean_loss:g} points of the best clean {tuning.measure} of any; ties go to fewer passes, then "
        "to the better clean one, then to the earlier one"
    )


def front_table(tuning: Tuning) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the front, most robust first, with the targets undefended and the purifier as it was given."""
    shown = [outcome for outcome in tuning.outcomes if outcome.state == "finished"]
    shown = [outcome for outcome in shown if outcome.on_front or outcome.candidate.number == 0]
    shown.sort(key=lambda outcome: (-outcome.scores[-1].robust.value, outcome.candidate.number))
    rows = [] if tuning.undefended is None else [["", "undefended", *_texts(tuning.undefended), ""]]
    for outcome in shown:
        marks = ["recommended" * outcome.recommended, "as given" * (outcome.candidate.number == 0)]
        marks += ["not on the front" * (not outcome.on_front)]
        text = ", ".join(filter(None, marks))
        rows.append([str(outcome.candidate.number), plain(outcome.candidate.text), *_texts(outcome.scores[-1]), text])
    return ["", "purifier", f"clean {tuning.measure}", "robust", "passes", "images", ""], rows


def _texts(score: Score) -> list[str]:
    return [estimate_text(score.clean), estimate_text(score.robust), f"{score.passes}", str(score.images)]


def estimate_text(estimate: Estimate) -> str:
    """``0.812 [0.70, 0.89]``."""
    interval = f" [{estimate.low:.2f}, {estimate.high:.2f}]" if math.isfinite(estimate.low) else ""
    return f"{estimate.value:.3f}{interval}"
