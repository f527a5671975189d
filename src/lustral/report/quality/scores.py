"""The scores that are averaged: what they are called, and their value for every image of a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lustral.measures import PSNR_CAP, R_CAP, d_terms, r_terms
from lustral.report.quality.facets import Entry
from lustral.report.results import aim_of

__all__ = ["CORRELATIONS", "SCORES", "Score", "image_values", "opinions"]

Doubles = NDArray[np.float64]
Kind = Literal["image", "correlation", "cost"]


@dataclass(frozen=True)
class Score:
    """One score.

    Attributes:
        kind: a mean over images, a correlation over them, or the cost of a defence.
        common: whether it does not depend on the attack.
    """

    key: str
    title: str
    help: str
    better: Literal["up", "down"]
    digits: int
    kind: Kind = "image"
    common: bool = False


_ALL = (
    Score("milliseconds", "Time (ms)", "Wall time of one purification per image, in this run.", "down", 2, "cost",
          True),
    Score("srocc_clean", "SROCC clear", "Spearman correlation of the scores of purified clean images with those of the "
          "data set, a mean over targets and data sets.", "up", 3, "correlation", True),
    Score("plcc_clean", "PLCC clear", "Pearson correlation, without a fit, of the scores of purified clean images with "
          "those of the data set.", "up", 3, "correlation", True),
    Score("srocc_attacked", "SROCC adv", "Spearman correlation of the scores of purified attacked images with those of "
          "the data set for the clean ones.", "up", 3, "correlation"),
    Score("plcc_attacked", "PLCC adv", "Pearson correlation, without a fit, of the scores of purified attacked images "
          "with those of the data set for the clean ones.", "up", 3, "correlation"),
    Score("d_defended", "D(D)", "Mean |score of purified attacked - score of purified clean| in per cent of the "
          "metric's range; a random defence draws fresh noise for each.", "down", 2),
    Score("d_paired", "D(D) paired", "D(D) with the same noise for the clean and the attacked image, as the published "
          "code has it; favours random defences.", "down", 2),
    Score("d", "D", "Mean |score of purified attacked - score of the clean image without defence| in per cent of the "
          "metric's range.", "down", 2),
    Score("r", "R", "Mean log10 of how far the score could have moved over how far it moved from that of the clean "
          "image without defence.", "up", 3),
    Score("r_capped", "R capped", "R with the term of every image at most 3, so that scores that do not move at all "
          "cannot decide the mean.", "up", 3),
    Score("r_defended", "R(D)", "R with the purified clean image in the place of the clean one.", "up", 3),
    Score("psnr", "PSNR", "Decibels between purified attacked and clean image, 100 if equal.", "up", 2),
    Score("ssim", "SSIM", "SSIM (Gaussian window) between purified attacked and clean image.", "up", 3),
    Score("mse", "MSE x 1000", "Thousand times the mean squared error between purified attacked and clean image, from "
          "the PSNR of every image.", "down", 2),
    Score("linf", "Linf", "Mean largest difference of a channel between purified attacked and clean image, in [0, 1]; "
          "missing where cells are from before it was stored.", "down", 3),
    Score("gain", "Gain (%)", "Mean movement of the score in the attacker's direction, in per cent of the metric's "
          "range.", "down", 2),
)  # fmt: skip

SCORES: dict[str, Score] = {score.key: score for score in _ALL}

CORRELATIONS: dict[str, tuple[Literal["srocc", "plcc"], Literal["clean", "attacked"]]] = {
    "srocc_clean": ("srocc", "clean"),
    "plcc_clean": ("plcc", "clean"),
    "srocc_attacked": ("srocc", "attacked"),
    "plcc_attacked": ("plcc", "attacked"),
}


def image_values(entry: Entry) -> dict[str, Doubles]:
    """Every score of the kind "image" for every image (n,), a mean over draws; NaN where the cells lack it."""
    samples, aim = entry.result.samples, aim_of(entry.result.settings["target"])
    clean, attacked = samples.floats("purified_clean"), samples.floats("purified_attacked")
    draws = min(clean.shape[1], attacked.shape[1])
    before, after = clean[:, :draws], attacked[:, :draws]
    bare = np.repeat(samples.floats("bare_clean")[:, None], draws, axis=1)
    again = samples.floats("purified_attacked_paired" if entry.facets.is_random else "purified_attacked")
    again = again[:, :draws] if again.ndim == 2 and again.shape[1] >= draws else np.full(before.shape, np.nan)
    low, high = aim.range
    moved = 100 * (attacked.mean(axis=1) - clean.mean(axis=1)) / (high - low)
    psnr = samples.floats("psnr_attacked")
    r = _terms(r_terms, bare, after, aim.range)
    return {
        "d_defended": _terms(d_terms, before, after, aim.range).mean(axis=1),
        "d_paired": _terms(d_terms, before, again, aim.range).mean(axis=1),
        "d": _terms(d_terms, bare, after, aim.range).mean(axis=1),
        "r": r.mean(axis=1),
        "r_capped": np.minimum(r, R_CAP).mean(axis=1),
        "r_defended": _terms(r_terms, before, after, aim.range).mean(axis=1),
        "psnr": psnr,
        "ssim": samples.floats("ssim_attacked"),
        "mse": np.where(psnr >= PSNR_CAP, 0.0, 1000 * 10 ** (-psnr / 10)),
        "linf": samples.floats("linf_attacked"),
        "gain": moved * aim.sign if aim.sign else np.abs(moved),
    }


def _terms(
    terms: Callable[[Doubles, Doubles, tuple[float, float]], Doubles],
    reference: Doubles,
    attacked: Doubles,
    bounds: tuple[float, float],
) -> Doubles:
    """Terms of D or R for every image and draw (n, draws); NaN where a score is not finite."""
    found = np.full(reference.shape, np.nan)
    judged = np.isfinite(reference) & np.isfinite(attacked)
    if judged.any():
        found[judged] = terms(reference[judged], attacked[judged], bounds)
    return found


def opinions(entry: Entry, what: Literal["clean", "attacked"]) -> tuple[Doubles, Doubles]:
    """Mean score over draws of every purified image (n,), and the data set's score of the clean one times the sign."""
    scores = entry.result.samples.floats(f"purified_{what}")
    return scores.mean(axis=1), entry.sign * entry.result.samples.floats("truth")
