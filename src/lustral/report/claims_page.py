"""Published numbers beside ours as people read them: texts for the page, and a Markdown table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lustral.bench.indicators import INDICATORS
from lustral.report.claims import Claim, Difference, Side
from lustral.report.evidence import MARKS
from lustral.report.exports import markdown_text
from lustral.report.text import plain

__all__ = ["claim_views", "claims_to_markdown"]

HEADS = (
    *("Published row", "Paper: threat model", "Paper: clean", "Paper: robust", "Ours: clean"),
    *("Ours: same threat model", "Ours: standard protocol", "Verdict", "Difference, same", "Difference, standard"),
)


def claim_views(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """One dictionary of harmless texts per claim."""
    return [_view(claim) for claim in claims]


def _view(claim: Claim) -> dict[str, Any]:
    verdicts = claim["indicators"]
    return {
        "row": plain(claim["row"]),
        "where": plain(f"{claim['table']}, {claim['paper']}"),
        "threat": plain(claim["threat"], 300),
        "suite": plain(claim["suite"]),
        "defence": plain(claim["defence"]),
        "printed": {name: _percent(claim["printed"][name], 2) for name in ("clean", "robust")},
        "clean": _share(claim["clean"]),
        "same": _side(claim["same"]),
        "standard": _side(claim["standard"]),
        "worst": _percent(claim["standard"]["robust"]["worst"]),
        "verdict": plain(claim["verdict"]),
        "badge": {"passes checks": "pass", "upper bound": "bound"}.get(claim["verdict"], "none"),
        "upper_bound": claim["upper_bound"],
        "marks": [
            {
                "text": name + MARKS[row["verdict"]],
                "verdict": row["verdict"],
                "meaning": plain(f"{row['verdict']}: {INDICATORS.get(name, '')}"),
            }
            for name, row in verdicts.items()
            if row["verdict"] != "NOT RUN"
        ],
        "against": plain(claim["against"]),
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        **_share(side["robust"]),
        "attack": plain(side["attack"], 300),
        "access": plain(side["access"]),
        "n": str(side["n"]),
        "difference": _difference(side["difference"]),
    }


def _share(share: Any) -> dict[str, str]:
    low, high = _percent(share["low"]), _percent(share["high"])
    return {"value": _percent(share["average"]), "interval": f"[{low}, {high}]" if low else ""}


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}" if math.isfinite(value) else ""


def _difference(found: Difference) -> str:
    if not found["n"]:
        return ""
    average, low, high = (f"{100 * found[name]:+.1f}" for name in ("average", "low", "high"))
    p = f"p = {found['p']:.3f}" if found["p"] >= 0.001 else "p < 0.001"
    return f"{average} [{low}, {high}], {p}, n = {found['n']}"


def claims_to_markdown(claims: Sequence[Claim]) -> str:
    """A GitHub table of the claims."""
    rows = [_cells(view) for view in claim_views(claims)]
    shown = [column for column in range(len(HEADS)) if not rows or any(row[column] for row in rows)]
    lines = [HEADS, ["---"] * len(HEADS), *([markdown_text(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line[column] for column in shown)} |\n" for line in lines)


def _cells(view: dict[str, Any]) -> list[str]:
    same, standard = view["same"], view["standard"]
    against = f" against {view['against']}" if view["against"] else ""
    doubts = " ".join(mark["text"] for mark in view["marks"] if mark["verdict"] != "PASS")
    return [
        f"{view['row']} ({view['where']})",
        view["threat"],
        view["printed"]["clean"],
        view["printed"]["robust"],
        f"{view['clean']['value']} {view['clean']['interval']}".strip(),
        f"{same['value']} {same['interval']} ({same['attack']}, n = {same['n']})" if same["value"] else "",
        f"{standard['value']} {standard['interval']} ({standard['attack']}, n = {standard['n']})"
        if standard["value"]
        else "",
        f"{view['verdict']} {doubts}".strip(),
        same["difference"] and same["difference"] + against,
        standard["difference"] and standard["difference"] + against,
    ]
