"""``lustral align``. Nothing here loads torch before an attack is run."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lustral.terminal import print_table

if TYPE_CHECKING:
    from lustral.alignment.intensity import Measure
    from lustral.alignment.levels import Checked
    from lustral.bench.strengths import AlignedStrength

__all__ = ["align_command"]


def align_command(
    data: Annotated[str, typer.Option(help="Calibration images, such as photos:split=train,count=50.")],
    attack: Annotated[str | None, typer.Argument(help="Where to start, such as ifgsm:steps=10.")] = None,
    target: Annotated[str | None, typer.Option(help="What is attacked, such as photo_quality.")] = None,
    measure: Annotated[str | None, typer.Option(help="linf, psnr, ssim, ssim_gaussian or pixels.")] = None,
    level: Annotated[list[str] | None, typer.Option(help="weak, medium or strong; by default all three.")] = None,
    value: Annotated[list[str] | None, typer.Option(help="A level of your own, such as 3/255.")] = None,
    parameter: Annotated[str, typer.Option(help="Setting to move; several, a,b, by a common factor.")] = "",
    out: Annotated[Path, typer.Option(help="File of strengths; others in it stay.")] = Path("strengths.json"),
    check: Annotated[Path | None, typer.Option(help="Only measure the strengths of this file on DATA.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Most images at a time.")] = 8,
    evaluations: Annotated[int, typer.Option(min=1, help="Most runs of the attack per level.")] = 20,
    tolerance: Annotated[float | None, typer.Option(min=0, help="Share (0.02); dB for psnr (0.1).")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Find the strength of an attack by measuring what it does to calibration images, or go on with a search.

    Recipes take it from the file with the key aligned, and never evaluate the calibration images.
    """
    from lustral.alignment.intensity import find_measure
    from lustral.alignment.levels import Alignment, align_levels, check_levels
    from lustral.attacks import parse_attack
    from lustral.data import parse_data
    from lustral.settings import SettingsError
    from lustral.targets import parse_target

    if check is not None:
        if attack or target or measure or level or value or parameter or tolerance is not None:
            raise SettingsError("--check measures what its file holds; give only --data, --batch and --device with it")
        checked = check_levels(check, parse_data(data), batch=batch, device=device, progress=_tell)
        _show_checks(checked)
        raise typer.Exit(int(not all(row.is_close for row in checked)))
    if attack is None or target is None or measure is None:
        raise SettingsError("expected ATTACK, --target and --measure, or --check FILE")
    found = find_measure(measure)
    strengths = align_levels(
        Alignment(
            parse_attack(attack),
            parse_target(target),
            parse_data(data),
            found,
            _levels(found, level or [], value or []),
            tuple(filter(None, (name.strip() for name in parameter.split(",")))),
            seed,
            batch,
            evaluations,
            tolerance,
            device,
        ),
        out,
        command="lustral " + shlex.join(sys.argv[1:]),
        progress=_tell,
    )
    _show_strengths(strengths)
    _show(str(out))
    raise typer.Exit(int(any(strength.status == "unreached" for strength in strengths)))


def _levels(measure: Measure, names: list[str], values: list[str]) -> dict[str, float]:
    from lustral.bench.strengths import LEVELS

    names = names or ([] if values else list(LEVELS))
    return {name: measure.wanted(name) for name in names} | {text: measure.read(text) for text in values}


def _tell(row: dict[str, Any]) -> None:
    sys.stderr.write(json.dumps(row) + "\n")


def _show_strengths(strengths: tuple[AlignedStrength, ...]) -> None:
    from lustral.alignment.line import attack_text
    from lustral.attacks import parse_attack

    rows: list[list[str]] = []
    for strength in strengths:
        numbers = [
            _number(strength, number) for number in (strength.wanted, strength.reached, strength.before_rounding)
        ]
        rows.append([strength.measure, strength.level, *numbers, str(strength.evaluations), strength.status])
    print_table(["measure", "level", "wanted", "reached", "before rounding", "runs", "status"], rows)
    for strength in strengths:  # whole lines, to be pasted
        _show(f"{strength.level}: {attack_text(parse_attack(strength.attack))}")
        if strength.reason:
            _show(f"{strength.level}: {strength.status}, because {strength.reason}")


def _show_checks(checked: tuple[Checked, ...]) -> None:
    rows: list[list[str]] = []
    for row in checked:
        strength = row.strength
        names = [str(strength.attack["name"]), str(strength.target["name"]), strength.measure, strength.level]
        numbers = [_number(strength, number) for number in (strength.wanted, strength.reached, row.reached)]
        rows.append([*names, *numbers, f"{row.ratio:.3f}", "yes" if row.is_close else "NO"])
    heads = ["attack", "target", "measure", "level", "wanted", "calibration", "held out", "ratio", "within 5 %"]
    print_table(heads, rows)


def _number(strength: AlignedStrength, value: float) -> str:
    return f"{255 * value:.4g}/255" if strength.measure == "linf" else f"{value:.4g}"


def _show(message: str) -> None:
    sys.stdout.write(f"{message}\n")
