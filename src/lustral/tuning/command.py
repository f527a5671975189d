"""``lustral tune``. Nothing here loads torch before a candidate is put to the test."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lustral.terminal import print_table

__all__ = ["tune_command"]


def tune_command(
    purifier: Annotated[str, typer.Argument(help="What is tuned and stays fixed, such as msid:steps=10.")],
    recipe: Annotated[str, typer.Argument(help="TOML file or name of a recipe: its data, targets and attacks.")],
    space: Annotated[list[str], typer.Option("--set", help="key=low..high, key=log:low..high or key=a|b|c.")],
    search: Annotated[
        str, typer.Option(help="random, or halving: few images first, the better half goes on.")
    ] = "random",
    trials: Annotated[int, typer.Option(min=1, help="Candidates, PURIFIER as it is among them.")] = 20,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The candidates follow from it.")] = 0,
    clean_loss: Annotated[float, typer.Option(min=0, help="Points of clean that a recommended one may lose.")] = 5.0,
    out: Annotated[Path | None, typer.Option(help="Folder of results; default runs/tune_RECIPE_PURIFIER.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--change", help="key=value of the recipe.")] = None,
    allow_test: Annotated[bool, typer.Option("--allow-test", help="Choose on test images all the same.")] = False,
    workers: Annotated[int, typer.Option(help="Worker processes, one thread each; 0 works in this process.")] = 1,
    engine: Annotated[str, typer.Option(help="Where cells run.")] = "local",
) -> None:
    """Search a purifier's settings for the front of clean, robust and cost, or go on with a search."""
    from lustral.bench.recipe import load_recipe
    from lustral.catalogue import find_recipe
    from lustral.progress import Reporter
    from lustral.tuning.files import front_table, rule_text, write_tuning
    from lustral.tuning.search import Search, tune
    from lustral.tuning.template import read_template

    loaded = load_recipe(find_recipe(recipe), changes or [])
    asked = Search(
        recipe=loaded,
        purifier=purifier,
        space=tuple(space),
        method=_method(search),
        trials=trials,
        seed=seed,
        clean_loss=clean_loss,
        allow_test=allow_test,
    )
    folder = out or Path("runs") / f"tune_{loaded.name}_{read_template(purifier)['name']}"
    command = "lustral " + shlex.join(sys.argv[1:])
    with Reporter() as reporter:
        tuning = tune(asked, folder, workers=workers, engine=engine, command=command, on_event=reporter)
    for summary in tuning.summaries:
        _show(str(summary))
    if tuning.exit_code != 130:
        page = write_tuning(tuning, folder)
        print_table(*front_table(tuning))
        chosen = [outcome.candidate.text for outcome in tuning.outcomes if outcome.recommended]
        _show(f"recommended: {chosen[0] if chosen else 'none'}; {rule_text(tuning)}")
        for note in tuning.notes:
            _show(f"note: {note}")
        _show(f"every candidate: {page}, tuning.csv and tuning.json beside it")
    raise typer.Exit(tuning.exit_code)


def _method(text: str) -> Literal["random", "halving"]:
    from lustral.settings import SettingsError

    match text:
        case "random" | "halving":
            return text
        case _:
            raise SettingsError(f"--search must be random or halving, got {text!r}")


def _show(message: str) -> None:
    sys.stdout.write(f"{message}\n")
