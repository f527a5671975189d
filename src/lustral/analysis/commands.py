"""``lustral analyse ...``. Nothing here loads torch before a command runs."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from lustral.terminal import print_table

__all__ = ["analyse"]

analyse = typer.Typer(
    help="Look inside a defence: what happens to images on their way to the target.", no_args_is_help=True
)


@analyse.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction] typer keeps a group of one command a group by it
    """Look inside a defence: what happens to images on their way to the target."""


@analyse.command("content")
def content_command(
    data: Annotated[str, typer.Option(help="Images, such as cifar10:count=64.")],
    target: Annotated[str, typer.Option(help="What is attacked, such as cifar10_classifier.")],
    purifiers: Annotated[list[str], typer.Option("--with", help="A purifier or a chain a | b; may be given again.")],
    out: Annotated[Path, typer.Option(help="Folder for content.csv, content.json and content.html.")],
    attack: Annotated[str, typer.Option(help="Such as pgd:steps=100,epsilon=8/255.")] = "pgd:epsilon=8/255,steps=100",
    access: Annotated[str, typer.Option(help="What the attacker knows, such as blind or exact:eot=4.")] = "blind",
    features: Annotated[
        str | None, typer.Option(help="Target whose layers are compared, if not the attacked one.")
    ] = None,
    layers: Annotated[str, typer.Option(help="Names of its modules joined by commas; default: every stage.")] = "",
    every: Annotated[int | None, typer.Option(help="Also every so many states of iterative purifiers.")] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    batch: Annotated[int, typer.Option(help="Images at a time.")] = 64,
    device: Annotated[str, typer.Option(help="Where the networks run: cpu or cuda.")] = "cpu",
) -> None:
    """Content distance to the clean image, and the target's loss, after every stage of purifiers."""
    from lustral.analysis.content import ContentPlan, analyse_content
    from lustral.analysis.content_report import content_summary, content_tables, write_content
    from lustral.attacks import parse_access, parse_attack
    from lustral.data import parse_data
    from lustral.purifiers import parse_purifier
    from lustral.targets import parse_target

    plan = ContentPlan(
        data=parse_data(data),
        target=parse_target(target),
        purifiers=tuple(parse_purifier(text) for text in purifiers),
        attack=parse_attack(attack),
        access=parse_access(access),
        features=None if features is None else parse_target(features),
        layers=tuple(name.strip() for name in layers.split(",") if name.strip()),
        every=every,
        seed=seed,
        batch=batch,
        device=device,
    )
    content = analyse_content(plan, _teller())
    summary = content_summary(content)
    page = write_content(content, summary, out, "lustral " + shlex.join(sys.argv[1:]))
    for title, heads, rows in content_tables(content, summary):
        print_table(heads, rows, title)
    sys.stdout.write(f"{page}\n")


@analyse.command("direction")
def direction_command(
    data: Annotated[str, typer.Option(help="Images with classes, such as cifar10:count=64.")],
    target: Annotated[str, typer.Option(help="The classifier that is attacked, such as cifar10_classifier.")],
    purifiers: Annotated[list[str], typer.Option("--with", help="A purifier or a chain a | b; may be given again.")],
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
    attack: Annotated[str, typer.Option(help="Such as pgd:steps=100,epsilon=8/255.")] = "pgd:epsilon=8/255,steps=100",
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    batch: Annotated[int, typer.Option(help="Images at a time.")] = 64,
    device: Annotated[str, typer.Option(help="Where the networks run: cpu or cuda.")] = "cpu",
) -> None:
    """Whether purifiers do to clean images what they do to attacked ones."""
    from lustral.analysis.direction import analyse_direction, direction_record, direction_table
    from lustral.attacks import parse_attack
    from lustral.data import parse_data
    from lustral.files import replace_file
    from lustral.purifiers import parse_purifier
    from lustral.report.text import json_text
    from lustral.targets import parse_target

    images, victim, threat = parse_data(data), parse_target(target), parse_attack(attack)
    defences = [parse_purifier(text) for text in purifiers]
    rows = analyse_direction(images, victim, defences, threat, seed=seed, batch=batch, device=device, tell=_teller())
    record = direction_record(rows, images, victim, threat, seed, "lustral " + shlex.join(sys.argv[1:]))
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, (json_text(record, indent=1) + "\n").encode())
    title, heads, cells = direction_table(rows)
    print_table(heads, cells, title)


@analyse.command("resampling")
def resampling_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of results of a finished run.")],
    size: Annotated[int, typer.Option(min=1, help="Images per sample.")] = 50,
    times: Annotated[int, typer.Option(min=2, help="Number of samples.")] = 10,
    clusters: Annotated[int, typer.Option(min=1, help="Clusters of the images; 1 does not read the images.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Clusters and samples follow from it.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The CSV file to write; default RUN/resampling.csv.")] = None,
) -> None:
    """Whether results depend on which images were sampled: samples of a run's images, compared by rank tests."""
    from lustral.analysis.resampling import (
        Resampling,
        clusters_of_run,
        resample,
        resampling_csv,
        resampling_table,
        sharing_warning,
    )
    from lustral.files import replace_file
    from lustral.report.results import collect
    from lustral.report.source import read_source

    how = Resampling(size=size, times=times, clusters=clusters, seed=seed)
    results = [result for result in collect(read_source(folder)) if result.role == "main"]
    suites = {result.suite: result for result in results}
    rows = resample(results, {name: clusters_of_run(result, how) for name, result in suites.items()}, how)
    file = out or folder / "resampling.csv"
    replace_file(file, resampling_csv(rows, how).encode())
    title, heads, cells = resampling_table(rows, how)
    print_table(heads, cells, title)
    if warning := sharing_warning(rows):
        sys.stdout.write(f"warning: {warning}\n")
    sys.stdout.write(f"{file}\n")


def _teller() -> Any:
    """Progress as JSON lines on stderr, with what is left if every step takes as long as those before."""
    started = time.monotonic()

    def tell(row: dict[str, Any]) -> None:
        passed = time.monotonic() - started
        left = passed / row["done"] * (row["total"] - row["done"])
        sys.stderr.write(json.dumps({**row, "seconds": round(passed, 1), "remaining_seconds": round(left, 1)}) + "\n")
        sys.stderr.flush()

    return tell
