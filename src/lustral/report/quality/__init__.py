"""The tables, figures and tests of paper 000 for quality targets: one page and CSV files. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lustral.report.quality.composite import WEIGHTS
from lustral.report.table import Table

__all__ = ["WEIGHTS", "write_quality"]


def write_quality(folder: Path, table: Table, weights: Mapping[str, float] = WEIGHTS) -> Path | None:
    """Write ``report/quality.html`` and the files of ``quality/`` into a store folder.

    Args:
        folder: what ``lustral run`` wrote into.
        table: of the run.
        weights: of the composite rank; keys of ``lustral.report.quality.scores.SCORES``.

    Returns:
        Path of the page; None if the run has neither quality targets nor transferred attacks, and then files of an
        earlier recipe are removed.
    """
    from lustral.bench.atomic import replace
    from lustral.report.quality.content import build_content
    from lustral.report.quality.exports import FILES, csv_files
    from lustral.report.quality.page import make_quality_page

    content = build_content(table, weights)
    texts = {} if content is None else csv_files(content)
    for name in FILES:
        if name in texts:
            (folder / "quality").mkdir(parents=True, exist_ok=True)
            replace(folder / "quality" / name, texts[name].encode())
        else:
            (folder / "quality" / name).unlink(missing_ok=True)
    page = folder / "report" / "quality.html"
    if content is None:
        page.unlink(missing_ok=True)
        return None
    page.parent.mkdir(parents=True, exist_ok=True)
    replace(page, make_quality_page(table, content).encode())
    return page
