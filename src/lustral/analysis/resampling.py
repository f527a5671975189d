"""Does a run's result depend on which images were sampled: ten samples of its images, compared by rank tests."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lustral.data import parse_data
from lustral.data.sampling import cluster_labels, image_features
from lustral.measures import friedman, kruskal_wallis, srocc
from lustral.measures.resampling import shared_fraction, stratified_samples
from lustral.measures.robustness import d_terms
from lustral.report.exports import csv_cell
from lustral.report.results import Aim, Result, agreement_sign, aim_of, plain_settings
from lustral.report.samples import Samples
from lustral.report.text import defence_text
from lustral.settings import SettingsError

__all__ = [
    "ALL",
    "Resampled",
    "Resampling",
    "clusters_of_run",
    "resample",
    "resampling_csv",
    "resampling_table",
    "sharing_warning",
]

ALL = "all"
"""Defence and attack of the rows that pool a suite's rows."""

SHARED_LIMIT = 0.2  # more of its images in common with another makes a sample like it for that reason alone

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Resampling:
    """How samples are drawn; the defaults are the paper's.

    Attributes:
        size: images per sample.
        times: number of samples.
        clusters: clusters of the images of a suite, of which every sample has about equally many; 1 reads no images.
        seed: clusters and samples follow from it.
    """

    size: int = 50
    times: int = 10
    clusters: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Resampled:
    """One score of one row under resampling.

    Attributes:
        suite: name of the suite.
        defence: the purifier, or "all".
        attack: label of the attack, or "all".
        score: "d", "d_defended", "ssim_attacked", "broken", "srocc_clean" or "srocc_attacked".
        images: images that samples were drawn from.
        shared: share of its images that a sample has in common with another.
        mean: mean over samples of a sample's score.
        variance: variance over samples of a sample's score, with n - 1.
        p: Kruskal-Wallis over the samples: of per-image scores for one row, of the rows' scores for "all"; NaN for
            the correlation of one row, which has no per-image scores, and for "all" of a single row.
        p_friedman: of "all", Friedman's test over the samples, with the rows as blocks; NaN for one row, and with
            fewer than three samples.
    """

    suite: str
    defence: str
    attack: str
    score: str
    images: int
    shared: float
    mean: float
    variance: float
    p: float
    p_friedman: float


def clusters_of_run(result: Result, how: Resampling) -> dict[str, int]:
    """The cluster of every image of a result's data set, by id.

    Raises:
        MissingData: the data set is not there; with one cluster it is not needed.
        ValueError: fewer different images than clusters.
    """
    if how.clusters == 1:
        return dict.fromkeys(result.samples.images, 0)
    data = parse_data(plain_settings(result.settings["data"]))
    images = data.load()
    judged = data.kind == "quality" and bool(np.isfinite(images.truth).all())
    features = image_features(images.images, images.truth if judged else None)
    return dict(zip(images.ids, cluster_labels(features, how.clusters, how.seed).tolist(), strict=True))


def resample(results: Sequence[Result], clusters: Mapping[str, Mapping[str, int]], how: Resampling) -> list[Resampled]:
    """Every score of every main result under resampling, then the pooled rows of every suite.

    Pooled rows are those of the paper's table 6: for each sample the scores of all rows of the suite, compared over
    samples.

    Args:
        results: from ``lustral.report.results.collect``; checks and transfers are left out.
        clusters: suite -> id -> cluster; see ``clusters_of_run``.
        how: how samples are drawn.

    Source: paper 000, appendix A.2, figure 6 and table 6.
    Differs: the paper draws from the data set and runs everything again; here the samples come from the images of one
        run. Samples that share images, and samples over clusters, differ less than independent ones, so a large p
        says little if ``shared`` is large. The paper's table pools all metrics, attacks and defences; the rows of
        single defences and attacks are ours. Pooled rows inherit a weakness of the paper's test: the same attacks and
        defences stand in every sample, which Kruskal-Wallis takes for independent values, so that the differences
        among them hide those between samples and p is too large. Friedman's test, which is ours, compares samples
        within every row; it takes the rows for independent, though all see the same images, so its p is rather too
        small, and says nothing of how large a difference is. Read both beside the variance.

    Raises:
        SettingsError: a result has fewer images than a sample, or images that the data set no longer has.
    """
    rows: list[Resampled] = []
    pools: dict[tuple[str, str], list[tuple[Resampled, Values]]] = defaultdict(list)
    for result in results:
        if result.role != "main":
            continue
        samples = _draw(result, clusters[result.suite], how)
        for score, (per_sample, p) in _scores(result, samples).items():
            row = Resampled(
                suite=result.suite,
                defence=defence_text(result.defence),
                attack=result.label,
                score=score,
                images=len(result.samples),
                shared=shared_fraction(samples),
                **_spread(per_sample),
                p=p,
                p_friedman=math.nan,
            )
            rows.append(row)
            pools[result.suite, score].append((row, per_sample))
    return rows + [_pooled(suite, score, pool) for (suite, score), pool in pools.items()]


def _draw(result: Result, clusters: Mapping[str, int], how: Resampling) -> NDArray[np.int64]:
    images = result.samples.images
    lost = [image for image in images if image not in clusters]
    if lost:
        raise SettingsError(f"the data set of {result.suite} no longer has image {lost[0]!r} of the run")
    if not 1 <= how.size <= len(images) or how.times < 2:
        raise SettingsError(
            f"{result.suite} has {len(images)} images: expected at least 2 samples of 1 to {len(images)} images, "
            f"got {how.times} of {how.size}"
        )
    labels = np.array([clusters[image] for image in images], dtype=np.int64)
    return stratified_samples(labels, how.size, how.times, how.seed)


def _scores(result: Result, samples: NDArray[np.int64]) -> dict[str, tuple[Values, float]]:
    """Score -> its value on every sample (times,), and the p-value of per-image scores."""
    aim, found = aim_of(result.settings["target"]), dict[str, tuple[Values, float]]()
    for score, values in _per_image(result.samples, aim).items():
        if np.isfinite(values).all():
            groups = values[samples]  # (times, size)
            found[score] = groups.mean(axis=1), kruskal_wallis(list(groups)).p
    truth = result.samples.floats("truth")
    if aim.kind == "quality" and np.isfinite(truth).all():
        sign = agreement_sign(result.settings)
        for score, column in (("srocc_clean", "purified_clean"), ("srocc_attacked", "purified_attacked")):
            answers = _mean_over_draws(result.samples.floats(column))
            if np.isfinite(answers).all() and samples.shape[1] >= 2:
                found[score] = sign * np.array([srocc(answers[rows], truth[rows]) for rows in samples]), math.nan
    return found


def _per_image(samples: Samples, aim: Aim) -> dict[str, Values]:
    """Scores of single images (n,), means over draws; D against the undefended and against the defended clean image."""
    found = {"ssim_attacked": _mean_over_draws(samples.floats("ssim_attacked"))}
    if aim.kind == "classifier":
        return {"broken": samples.flags("broken").mean(axis=1), **found}
    clean, attacked = samples.floats("purified_clean"), samples.floats("purified_attacked")
    if clean.ndim != 2 or attacked.ndim != 2:
        return found
    draws = min(clean.shape[1], attacked.shape[1])
    after = attacked[:, :draws].ravel()
    for score, before in (("d_defended", clean[:, :draws].ravel()), ("d", samples.floats("bare_clean").repeat(draws))):
        if np.isfinite(before).all() and np.isfinite(after).all():
            found = {score: d_terms(before, after, aim.range).reshape(-1, draws).mean(axis=1), **found}
    return found


def _mean_over_draws(values: Values) -> Values:
    return values if values.ndim == 1 else values.mean(axis=1)


def _spread(per_sample: Values) -> dict[str, float]:
    return {"mean": float(per_sample.mean()), "variance": float(per_sample.var(ddof=1))}


def _pooled(suite: str, score: str, pool: Sequence[tuple[Resampled, Values]]) -> Resampled:
    """One row for all defences and attacks of a suite; rows with a NaN (a constant score has no rank) are left out."""
    values = np.array([per_sample for _, per_sample in pool if np.isfinite(per_sample).all()])  # (rows, times)
    times = pool[0][1].size
    means = values.mean(axis=0) if len(values) else np.full(times, np.nan)
    return Resampled(
        suite=suite,
        defence=ALL,
        attack=ALL,
        score=score,
        images=min(row.images for row, _ in pool),
        shared=float(np.mean([row.shared for row, _ in pool])),
        **_spread(means),
        p=kruskal_wallis(list(values.T)).p if len(values) >= 2 else math.nan,
        p_friedman=friedman(values).p if len(values) >= 2 and times >= 3 else math.nan,
    )


def sharing_warning(rows: Sequence[Resampled]) -> str:
    """One line if samples of any of the rows have too many images in common, else nothing."""
    shared = max((row.shared for row in rows), default=0.0)
    if shared <= SHARED_LIMIT:
        return ""
    return f"samples share {shared:.0%} of their images and are alike for that reason alone: a large p says little"


def resampling_csv(rows: Sequence[Resampled], how: Resampling) -> str:
    """The rows with how they were drawn, and a warning where samples share many images, as CSV."""
    settings = [field.name for field in fields(how)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([field.name for field in fields(Resampled)] + settings + ["warning"])
    for row in rows:
        writer.writerow([_cell(value) for value in (*astuple(row), *astuple(how), sharing_warning([row]))])
    return stream.getvalue()


def _cell(value: object) -> str:
    # Six decimals would write a variance of 4e-7 as nothing.
    return f"{value:.9g}" if isinstance(value, float) and math.isfinite(value) else csv_cell(value)


def resampling_table(rows: Sequence[Resampled], how: Resampling) -> tuple[str, list[str], list[list[str]]]:
    """Title, heads and cells for the terminal."""
    title = f"{how.times} samples of {how.size} images over {how.clusters} clusters, Kruskal-Wallis and Friedman"
    cells = [
        [row.suite, row.defence, row.attack, row.score, str(row.images), f"{row.shared:.0%}"]
        + ["" if math.isnan(value) else f"{value:.4g}" for value in (row.mean, row.variance, row.p, row.p_friedman)]
        for row in rows
    ]
    return title, [field.name for field in fields(Resampled)], cells
