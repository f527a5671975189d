"""What the columns of the table are called, what they mean, and how their values are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["COLUMNS", "PASSES", "Column", "cell_text", "value_of", "verdict_of"]

Style = Literal["text", "percent", "number", "count", "place"]

PASSES, UPPER_BOUND = "passes checks", "upper bound"
NOT_CHECKED, BLIND_ONLY = "not checked", "blind attacks only"


@dataclass(frozen=True)
class Column:
    """One column of the page and of the Markdown and LaTeX tables.

    Attributes:
        key: path in a row, dots between levels; also the name in CSV.
        title: heading.
        help: one or two sentences for people of the field.
        style: "percent" is a share written in per cent, "place" a range of places.
        digits: decimals.
        better: which way is better, for the arrow in the heading.
        interval: keys of both ends of a confidence interval, written behind the value.
        kinds: kinds of target for which it has a meaning.
        ranks: whether a number of it claims robustness, so that upper bounds sort below the rest.
        extra: whether the page shows it only on demand.
    """

    key: str
    title: str
    help: str
    style: Style = "number"
    digits: int = 2
    better: Literal["", "up", "down"] = ""
    interval: tuple[str, str] | None = None
    kinds: tuple[str, ...] = ("classifier", "quality")
    ranks: bool = False
    extra: bool = False

    def to_json(self) -> dict[str, Any]:
        """For the script of the page."""
        return asdict(self)


_QUALITY = ("quality",)
_CLASSIFIER = ("classifier",)

COLUMNS: tuple[Column, ...] = (
    Column("defence", "Defence", "The purifier in front of the target; identity is the undefended target.", "text"),
    Column(
        "order",
        "Place",
        "Places that the data back, for example 1-3 for three defences whose order is not known. A line is drawn "
        "only where every pair across it differs with p < 0.05 (exact McNemar on the same images, Holm over all "
        "pairs of the leaderboard). Upper bounds have no place.",
        "place",
        ranks=True,
    ),
    Column("suite", "Suite", "One target on one data set.", "text"),
    Column(
        "attack",
        "Attack",
        "'worst of all' takes for every image the attack that breaks most of its fresh draws.",
        "text",
    ),
    Column(
        "access",
        "Attacker knows",
        "blind: only the bare target. scores: outputs of the defended target. bpda: gradients with the purifier "
        "taken as the identity. exact: gradients of the deployed configuration. eot: draws of the defence's "
        "randomness averaged per gradient.",
        "text",
    ),
    Column(
        "gradient",
        "Gradient",
        "What the defence declares of its gradient: exact, a surrogate (bpda) or none. I1 says what was measured.",
        "text",
        extra=True,
    ),
    Column("n", "Images", "Number of images.", "count", 0),
    Column(
        "clean.average",
        "Clean acc.",
        "Accuracy on purified clean images, averaged over fresh draws of the defence's randomness.",
        "percent",
        1,
        "up",
        kinds=_CLASSIFIER,
    ),
    Column(
        "clean.worst",
        "Clean worst of M",
        "Share of clean images that are right in every one of M purifications.",
        "percent",
        1,
        "up",
        kinds=_CLASSIFIER,
        extra=True,
    ),
    Column(
        "srocc_clean",
        "SROCC clean",
        "Rank correlation of scores of purified clean images with those of the data set (computed ones for photos).",
        digits=3,
        better="up",
        kinds=_QUALITY,
    ),
    Column(
        "srocc_attacked",
        "SROCC attacked",
        "Rank correlation of scores of purified attacked images with the data set scores of the clean ones.",
        digits=3,
        better="up",
        kinds=_QUALITY,
    ),
    Column(
        "robust.average",
        "Robust",
        "Share of images that are not broken, averaged over fresh draws, with its Wilson 95 % interval. Broken means "
        "misclassified, or a score moved by more than the stated share of the metric's range.",
        "percent",
        1,
        "up",
        ("robust.low", "robust.high"),
        ranks=True,
    ),
    Column(
        "robust.worst",
        "Worst of M",
        "Share of images that no one of M resubmissions breaks.",
        "percent",
        1,
        "up",
        ranks=True,
    ),
    Column(
        "robust.vote", "Vote", "Share of images right by majority vote; ties count as broken.", "percent", 1, "up",
        ranks=True,
    ),
    Column(
        "verdict",
        "Verdict",
        "'upper bound': an indicator from I1 to I10 failed, so the attack was not strong enough and the true "
        "robustness may be lower. 'blind attacks only': the attack that was checked did not see the defence.",
        "text",
    ),
    Column(
        "indicator_string",
        "Indicators",
        "+ passed, ~ warning, ! failed. Open a defence to read what each found; those not listed did not run.",
        "text",
    ),
    Column(
        "d_defended",
        "D(D)",
        "Mean |score of purified attacked - score of purified clean| in per cent of the metric's range.",
        digits=2,
        better="down",
        kinds=_QUALITY,
        ranks=True,
    ),
    Column(
        "d_paired",
        "D(D) paired",
        "D(D) with the same noise for the clean and the attacked image, which favours random defences.",
        digits=2,
        better="down",
        kinds=_QUALITY,
        ranks=True,
        extra=True,
    ),
    Column(
        "d",
        "D",
        "Mean |score of purified attacked - score of the clean image without defence| in per cent of the range.",
        digits=2,
        better="down",
        kinds=_QUALITY,
        ranks=True,
        extra=True,
    ),
    Column(
        "r_capped",
        "R capped",
        "R with every image's term at most 3, so that scores which do not move at all cannot decide the mean.",
        digits=2,
        better="up",
        kinds=_QUALITY,
        ranks=True,
    ),
    Column(
        "gain",
        "Gain",
        "Mean movement of the score in the attacker's direction, as a share of the metric's range.",
        "percent",
        1,
        "down",
        kinds=_QUALITY,
        ranks=True,
    ),
    Column(
        "psnr_clean", "PSNR clean", "Decibels between purified clean and clean image, 100 if equal.", digits=1,
        better="up",
    ),
    Column(
        "ssim_clean", "SSIM clean", "SSIM (Gaussian window) between purified clean and clean image.", digits=3,
        better="up", extra=True,
    ),
    Column(
        "psnr_attacked", "PSNR attacked", "Decibels between purified attacked and clean image, 100 if equal.", digits=1,
        better="up", extra=True,
    ),
    Column(
        "ssim_attacked", "SSIM attacked", "SSIM (Gaussian window) between purified attacked and clean image.",
        digits=3, better="up", extra=True,
    ),
    Column(
        "linf", "Linf", "Mean largest change of a pixel by the attack, on 8-bit images, in [0, 1].", digits=4,
        extra=True,
    ),
    Column(
        "gradients", "Gradients", "Backward passes of the attack per image, every draw counted.", "count", 0,
        extra=True,
    ),
    Column(
        "queries", "Queries", "Forward passes of the attack per image, every draw counted.", "count", 0, extra=True
    ),
    Column("cost.passes", "Passes", "Network passes of the purifier per image.", "count", 0, "down", extra=True),
    Column(
        "cost.milliseconds", "ms / image", "Wall time of one purification per image, in this run.", digits=2,
        better="down",
    ),
)  # fmt: skip


def verdict_of(row: Mapping[str, Any]) -> str:
    """What the indicators say of a row's robustness; checks of attacks that never saw the defence say little."""
    if row["upper_bound"]:
        return UPPER_BOUND
    if not row["indicator_string"]:
        return NOT_CHECKED
    return PASSES if row["adaptive"] else BLIND_ONLY


def value_of(row: Mapping[str, Any], key: str) -> Any:
    """Value at a dotted key; ``verdict`` is worked out."""
    if key == "verdict":
        return verdict_of(row)
    value: Any = row
    for part in key.split("."):
        value = value[part]
    return value


def cell_text(row: Mapping[str, Any], column: Column) -> str:
    """Value as people read it; empty where there is none."""
    value = value_of(row, column.key)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if column.style == "text":
        return str(value)
    if column.style == "place":
        return str(value) if value == row["order_last"] else f"{value}-{row['order_last']}"
    text = _number(value, column)
    if column.interval is not None:
        low, high = (_number(value_of(row, key), column) for key in column.interval)
        text += f" [{low}, {high}]"
    return text


def _number(value: float, column: Column) -> str:
    scaled = 100 * value if column.style == "percent" else value
    return f"{scaled:.{column.digits}f}"
