"""Tables for people who look at a terminal. Nothing here loads torch."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

__all__ = ["print_table"]


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Write a table to standard output, as wide as the terminal, or 200 characters into a file or pipe."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        *heads, title=title or None, title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0)
    )
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 200, markup=False).print(table)
