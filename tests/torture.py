"""Kill real runs many times: ``python -m tests.torture --kills 200``.

Runs a small recipe to its end once, then again and again with SIGKILL at random instants, with one and
two workers and shuffled orders, and compares rows and the published table byte by byte.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from lustral.report import build_table
from lustral.report.exports import to_csv
from tests.bench.grid import real_cells
from tests.bench.kills import torture, uninterrupted

RECIPE = Path(__file__).parent / "bench" / "small.toml"
VARIANTS = [["--workers", 1], ["--workers", 2], ["--workers", 2, "--order", 1], ["--workers", 1, "--order", 2]]


def main() -> int:
    """Exit code 0 if nothing was lost, repeated, damaged or changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--folder", type=Path, help="where the stores go; default a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return _torture(given, given.folder or Path(temporary))


def _torture(given: argparse.Namespace, folder: Path) -> int:
    recipe = ["--recipe", given.recipe.absolute()]
    cells, _ = real_cells(given.recipe)

    def table(out: Path) -> bytes:
        return to_csv(build_table(out, cells).rows).encode()

    started = time.monotonic()
    expected, seconds = uninterrupted(folder / "truth", [*recipe, "--workers", 1])
    sys.stdout.write(f"{len(expected)} of {len(cells)} cells in {seconds:.1f} s without a kill\n")
    tally = torture(
        folder, [[*recipe, *variant] for variant in VARIANTS], given.kills, given.seed, expected, seconds,
        table, table(folder / "truth"),
    )  # fmt: skip
    for problem in tally.problems:
        sys.stdout.write(f"{problem}\n")
    sys.stdout.write(
        f"{tally.kills} kills ({tally.amid} amid the work) over {tally.runs} complete runs in "
        f"{time.monotonic() - started:.0f} s: {len(tally.lost)} lost, {len(tally.duplicated)} duplicated, "
        f"{len(tally.damaged)} damaged, {len(tally.different)} different\n"
    )
    return int(bool(tally.problems) or len(expected) < len(cells))


if __name__ == "__main__":
    sys.exit(main())
