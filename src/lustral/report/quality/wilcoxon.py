"""How often one defence is significantly better than another: one-sided Wilcoxon tests over images, per cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lustral.measures import bonferroni, holm
from lustral.report.quality.aggregate import Measured
from lustral.report.quality.facets import Facets, Mode
from lustral.report.quality.scores import SCORES
from lustral.report.quality.signed_rank import signed_rank
from lustral.report.quality.tables import Part

__all__ = ["ALPHA", "CORRECTIONS", "TESTED", "Matrix", "PairTests", "compare_pairs", "matrix_of"]

ALPHA = 0.05
TESTED = ("d_defended", "d", "r", "psnr", "ssim")
"""Scores that defences are compared by; each has a value for every image."""

Correction = Literal["bonferroni", "holm"]
CORRECTIONS: dict[Correction, str] = {"bonferroni": "Bonferroni", "holm": "Holm"}


@dataclass(frozen=True, eq=False)
class PairTests:
    """P-values of all ordered pairs of defences in all cells of one mode.

    Attributes:
        presets: settings of the defences as canonical JSON; rows and columns.
        cells: facets of one row of every cell.
        p: that the row is better than the column (rows, columns, cells); NaN where the two share no image.
        images: fewest and most images of a test.
    """

    score: str
    mode: Mode
    presets: tuple[str, ...]
    cells: tuple[Facets, ...]
    p: NDArray[np.float64]
    images: tuple[int, int]


class Matrix(NamedTuple):
    """Share of the cells in which the row defence is significantly better than the column defence.

    Attributes:
        shares: in [0, 1], NaN where nothing was tested.
        m: tests that p-values were corrected for: those of the whole matrix.
        cells: of the matrix.
        reachable: whether the fewest images could give a p-value that survives Bonferroni.
    """

    shares: NDArray[np.float64]
    m: int
    cells: int
    reachable: bool


def compare_pairs(measured: Sequence[Measured], presets: Sequence[str], score: str, mode: Mode) -> PairTests:
    """Test every ordered pair of defences in every cell, over the images that both have.

    Source: paper 000, section 4 and appendix A.9.
    Differs: images without a finite score are dropped; images that are equal under both are too ("wilcox").
    """
    found = {(one.facets.preset, one.facets.cell): one for one in measured if one.facets.mode == mode}
    cells = {one.facets.cell: one.facets for one in found.values()}
    p = np.full((len(presets), len(presets), len(cells)), np.nan)
    sizes: list[int] = []
    for place, cell in enumerate(sorted(cells)):
        for row, column in combinations(range(len(presets)), 2):
            first, second = found.get((presets[row], cell)), found.get((presets[column], cell))
            if first is None or second is None:
                continue
            x, y = _paired(first, second, score)
            if len(x):
                sizes.append(len(x))
                less, greater = signed_rank(x, y)
                better = (less, greater) if SCORES[score].better == "down" else (greater, less)
                p[row, column, place], p[column, row, place] = better
    images = (min(sizes), max(sizes)) if sizes else (0, 0)
    return PairTests(score, mode, tuple(presets), tuple(cells[name] for name in sorted(cells)), p, images)


def _paired(first: Measured, second: Measured, score: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = first.per_image[score], second.per_image[score]
    if first.ids != second.ids:
        places = {image: place for place, image in enumerate(second.ids)}
        shared = [(place, places[image]) for place, image in enumerate(first.ids) if image in places]
        x, y = x[[a for a, _ in shared]], y[[b for _, b in shared]]
    judged = np.isfinite(x) & np.isfinite(y)
    return x[judged], y[judged]


def matrix_of(tests: PairTests, part: Part, correction: Correction = "bonferroni") -> Matrix:
    """Shares over the cells of a part, corrected for all tests of this matrix: ordered pairs times cells.

    Differs: paper 000 does not say how many tests it corrects for.
    """
    held = np.array([part.holds(facets) for facets in tests.cells], dtype=bool)
    p = tests.p[:, :, held]
    made = np.isfinite(p)
    m = int(made.sum())
    count = made.sum(axis=2)
    shares = np.full(count.shape, np.nan)
    if m:
        adjusted = np.ones(p.shape)
        adjusted[made] = (bonferroni if correction == "bonferroni" else holm)(p[made], m)
        np.divide((adjusted < ALPHA).sum(axis=2), count, out=shares, where=count > 0)
    smallest = math.ldexp(1.0, -tests.images[0])
    return Matrix(shares, m, int(held.sum()), m == 0 or smallest * m < ALPHA)
