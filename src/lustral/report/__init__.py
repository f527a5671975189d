"""From a store folder to tables and one HTML page. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lustral.bench.cell import CellLike
from lustral.report.table import Table, build_table

__all__ = ["Table", "build_table", "write_report"]


def write_report(folder: Path | str, plan: Iterable[CellLike] | None = None) -> Path:
    """Write ``table.csv``, ``table.json`` and ``report/`` of a store folder, and ``claims.csv`` and ``claims.json``.

    The last two are there if the recipe has published rows to put beside its own. A run with quality targets also has
    ``report/quality.html`` and ``quality/``, see ``lustral.report.quality``.

    ``table.csv`` holds no timing and is byte-identical for equal results, whatever the order, the number
    of workers or the restarts. ``table.json`` also holds costs.

    Args:
        folder: what ``lustral run`` wrote into.
        plan: the cells the report is about; see ``lustral.report.source.read_source``.

    Returns:
        Path of the page, ``folder/report/index.html``.

    Raises:
        StoreError: no finished cells, or damaged ones.
    """
    from lustral.report.claims import build_claims, claims_to_csv
    from lustral.report.claims_page import claims_to_markdown
    from lustral.report.exports import to_csv, to_latex, to_markdown
    from lustral.report.page import make_page
    from lustral.report.quality import write_quality
    from lustral.report.text import json_text

    folder = Path(folder)
    table = build_table(folder, plan)
    _write(folder / "table.csv", to_csv(table.rows))
    _write(folder / "table.json", json_text(table.rows, indent=1) + "\n")
    _write(folder / "report" / "table.md", to_markdown(table.rows))
    _write(folder / "report" / "table.tex", to_latex(table.rows))
    claims = build_claims(table)
    texts = {
        folder / "claims.csv": claims_to_csv(claims),
        folder / "claims.json": json_text(claims, indent=1) + "\n",
        folder / "report" / "claims.md": claims_to_markdown(claims),
    }
    for path, text in texts.items():
        if claims:
            _write(path, text)
        else:
            path.unlink(missing_ok=True)  # of an earlier recipe
    page = folder / "report" / "index.html"
    quality = write_quality(folder, table)
    _write(page, make_page(table, claims, "" if quality is None else quality.name))
    return page


def _write(path: Path, text: str) -> None:
    from lustral.bench.atomic import replace

    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, text.encode())
