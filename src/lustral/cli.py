"""The command line. Every command is thin, and only those that compute load torch."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lustral.alignment.command import align_command
from lustral.analysis.commands import analyse
from lustral.analysis.sample_command import sample_command
from lustral.settings import SettingsError
from lustral.terminal import print_table
from lustral.tuning.command import tune_command

if TYPE_CHECKING:
    from lustral.bench.plan import Plan

__all__ = ["app", "main"]

app = typer.Typer(
    name="lustral",
    help="Adversarial purification of images: defences, adaptive attacks, and numbers that can be believed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(analyse, name="analyse")


def main() -> None:
    """Entry point: expected errors are one line on stderr and exit code 2."""
    # Two busy OpenMP teams on few cores are many times slower than one thread; set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except (SettingsError, OSError, ImportError, ValueError, RuntimeError) as error:
        if os.environ.get("LUSTRAL_DEBUG"):
            raise
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"lustral: {message}\n")
    raise SystemExit(2)


def _show(message: str) -> None:
    sys.stdout.write(f"{message}\n")


@app.command("run")
def run_command(
    recipe: Annotated[str, typer.Argument(help="TOML file, or the name of a recipe that ships with lustral.")],
    out: Annotated[Path | None, typer.Option(help="Folder of results; default runs/NAME.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. protocol.draws=10.")] = None,
    workers: Annotated[int, typer.Option(help="Worker processes, one thread each; 0 works in this process.")] = 1,
    engine: Annotated[str, typer.Option(help="Where cells run.")] = "local",
    dry: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Run a benchmark, or go on with one that was stopped, then write its report."""
    from lustral.bench.plan import make_plan
    from lustral.bench.recipe import load_recipe
    from lustral.bench.run import run_plan
    from lustral.bench.store import Store
    from lustral.catalogue import find_recipe
    from lustral.progress import Reporter

    loaded = load_recipe(find_recipe(recipe), changes or [])
    folder = out or Path("runs") / loaded.name
    plan = make_plan(loaded)
    if dry:
        _show_status(Store(folder), plan)
        return
    with Reporter() as reporter:
        values = {**loaded.to_json(), "command": "lustral " + shlex.join(sys.argv[1:])}
        summary = run_plan(plan.cells, folder, recipe=values, workers=workers, engine=engine, on_event=reporter)
    _show(str(summary))
    if summary.done:
        _show(f"report: {_write_report(folder, plan)}")
    raise typer.Exit(summary.exit_code)


def _write_report(folder: Path, plan: Plan | None) -> Path:
    from lustral.report import write_report

    return write_report(folder, None if plan is None else plan.places)


def _stored_plan(folder: Path) -> Plan:
    from lustral.bench.plan import make_plan
    from lustral.bench.recipe import parse_recipe

    file = folder / "recipe.json"
    if not file.is_file():
        raise SettingsError(f"{folder} holds no recipe.json; give the folder that `lustral run` wrote into")
    values = json.loads(file.read_text(encoding="utf-8"))
    values.pop("command", None)
    return make_plan(parse_recipe(values, str(file)))


def _show_status(store: Any, plan: Plan) -> None:
    status = store.status(plan.cells)
    _show(f"{status.done} of {status.total} cells are finished in {store.folder}, {status.failed} failed")
    for kind, (done, total) in status.by_kind.items():
        _show(f"  {kind:<9} {done:>6} of {total}")


@app.command("status")
def status_command(folder: Annotated[Path, typer.Argument(help="Folder of results.")]) -> None:
    """Say how far a benchmark is."""
    from lustral.bench.store import Store

    _show_status(Store(folder), _stored_plan(folder))


@app.command("report")
def report_command(folder: Annotated[Path, typer.Argument(help="Folder of results.")]) -> None:
    """Write the tables and the page again from what is stored."""
    from lustral.data import MissingData

    plan = None
    if (folder / "recipe.json").is_file():
        try:
            plan = _stored_plan(folder)
        except MissingData as error:
            sys.stderr.write(f"lustral: every stored cell is reported, also of earlier recipes, because {error}\n")
    _show(str(_write_report(folder, plan)))


@app.command("verify")
def verify_command(
    folder: Annotated[Path, typer.Argument(help="Folder of results.")],
    quarantine: Annotated[bool, typer.Option(help="Move damaged files away, so that they are made again.")] = False,
) -> None:
    """Recompute every hash of a store."""
    from lustral.bench.store import Store

    store = Store(folder)
    problems = store.verify(quarantine=quarantine)
    for problem in problems:
        _show(str(problem))
    _show(f"{len(store.done())} cells, {len(problems)} problems")
    raise typer.Exit(int(bool(problems)))


@app.command("explain")
def explain_command(
    folder: Annotated[Path, typer.Argument(help="Folder of results.")],
    cell: Annotated[str, typer.Argument(help="Cell id, or its beginning; see the report.")],
) -> None:
    """Say why a cell has to run again: which of its inputs changed."""
    from lustral.bench.explain import explain
    from lustral.bench.store import Store

    found = [other for other in _stored_plan(folder).cells if other.id.startswith(cell)]
    if not found:
        raise SettingsError(f"no cell of the plan of {folder} begins with {cell!r}")
    for other in found:
        _show(explain(Store(folder), other))


@app.command("list")
def list_command(
    kind: Annotated[str, typer.Argument(help="purifiers, attacks, targets, data, recipes or weights.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list.")] = False,
    timed: Annotated[
        str | None, typer.Option("--time", help="Time purifiers on these images, such as cifar10:count=8.")
    ] = None,
) -> None:
    """List what there is, with source, gradient and cost."""
    from lustral.catalogue import catalogue

    rows = catalogue(kind)
    if timed is not None:
        rows = _timed_rows(kind, rows, timed)
    if as_json:
        _show(json.dumps(rows, indent=1, default=str))
        return
    columns = [key for key in (rows[0] if rows else {}) if key not in ("settings", "note")]
    print_table(columns, ([_cell(row.get(key, "")) for key in columns] for row in rows))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _timed_rows(kind: str, rows: list[dict[str, Any]], data: str) -> list[dict[str, Any]]:
    """The rows with the passes and the milliseconds per image of every purifier that could be timed."""
    if kind != "purifiers":
        raise SettingsError(f"--time is for purifiers, not for {kind}")
    from lustral.data import parse_data
    from lustral.timing import purifier_timings

    timings = purifier_timings(parse_data(data))
    found: list[dict[str, Any]] = []
    for row, timing in zip(rows, timings, strict=True):
        passes, milliseconds = timing["passes"], timing["milliseconds"]
        sys.stderr.write(f"{row['name']}: {timing['note'] or f'{milliseconds:.3g} ms per image'}\n")
        found.append({**row, **timing, "passes": row["passes"] if passes is None else passes})
    return found


@app.command("purify")
def purify_command(
    files: Annotated[list[Path], typer.Argument(help="PNG, JPEG, WebP, BMP or PPM pictures.")],
    purifier: Annotated[str, typer.Option("--with", help="Such as jpeg:quality=75, or several joined by |.")],
    out: Annotated[Path, typer.Option(help="Folder for the cleaned pictures (PNG).")],
    seed: Annotated[int | None, typer.Option(help="Repeatable randomness; by default it is unpredictable.")] = None,
    target: Annotated[str | None, typer.Option(help="What is protected, for purifiers that look at it.")] = None,
) -> None:
    """Clean pictures."""
    from lustral.images import read_image, write_image
    from lustral.purifiers import parse_purifier
    from lustral.seeds import Noise
    from lustral.targets import parse_target
    from lustral.tensors import from_uint8, to_uint8

    settings = parse_purifier(purifier)
    protected = parse_target(target).build() if target and settings.needs_target else None
    built = settings.build(target=protected)
    out.mkdir(parents=True, exist_ok=True)
    for file in files:
        noise = Noise.fresh(1) if seed is None else Noise(seed, "deployment", [file.name])
        cleaned = to_uint8(built(from_uint8(read_image(file)[None]), noise))
        write_image(out / f"{file.stem}.png", cleaned[0].permute(1, 2, 0).numpy())
        _show(str(out / f"{file.stem}.png"))


@app.command("attack")
def attack_command(
    files: Annotated[list[Path], typer.Argument(help="PNG, JPEG, WebP, BMP or PPM pictures.")],
    target: Annotated[str, typer.Option(help="What is attacked, such as photo_quality.")],
    out: Annotated[Path, typer.Option(help="Folder for the attacked pictures (PNG).")],
    attack: Annotated[str, typer.Option("--with", help="Such as apgd:epsilon=4/255,steps=50.")] = "apgd",
    defence: Annotated[str, typer.Option(help="The purifier before the target.")] = "identity",
    access: Annotated[
        str, typer.Option(help="What the attacker knows, such as blind or exact:eot=20.")
    ] = "exact:eot=20",
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
) -> None:
    """Attack pictures: away from the class the target sees, or away from its score."""
    from lustral.evaluation import attack_picture
    from lustral.images import read_image, write_image

    out.mkdir(parents=True, exist_ok=True)
    for file in files:
        attacked, before, after = attack_picture(
            read_image(file), target, attack=attack, purifier=defence, access=access, seed=seed, name=file.name
        )
        write_image(out / f"{file.stem}.png", attacked)
        _show(f"{out / file.stem}.png: {before:g} -> {after:g}")


@app.command("train")
def train_command(
    name: Annotated[str, typer.Argument(help="denoiser, super-resolution, cifar10-classifier ...")],
    out: Annotated[Path, typer.Option(help="Folder for the weights and their registry.")] = Path("zoo"),
    seed: Annotated[int, typer.Option(help="Everything random in the run follows from it.")] = 0,
    data: Annotated[str | None, typer.Option(help="What to learn from, such as cifar10.")] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu or cuda.")] = "cpu",
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value of the training settings.")] = None,
) -> None:
    """Train a network that ships with lustral, or go on with a training that was stopped."""
    from lustral.train import run_training

    overrides: dict[str, Any] = {"seed": seed} | ({"data": data} if data else {})
    for change in changes or []:
        key, equals, value = change.partition("=")
        if not equals:
            raise SettingsError(f"expected key=value, got {change!r}")
        overrides[key] = json.loads(value) if value[:1] in "[{" else value

    def tell(row: dict[str, Any]) -> None:
        sys.stderr.write(json.dumps(row) + "\n")

    card = run_training(name, out=out, settings=overrides, progress=tell, device=device)
    _show(card.model_dump_json(indent=1))


app.command("tune")(tune_command)
app.command("sample")(sample_command)
app.command("align")(align_command)

choose_app = typer.Typer(help="Settings by what a finished run measured.", no_args_is_help=True)
app.add_typer(choose_app, name="choose")


@choose_app.command("presets")
def choose_presets_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of results of a run on calibration images.")],
    by: Annotated[str, typer.Option(help="Score, such as srocc_attacked or d_defended.")] = "srocc_attacked",
    among: Annotated[str, typer.Option(help="Attacks that count: blind, adaptive or all.")] = "all",
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("presets.json"),
) -> None:
    """Choose the best preset of every defence, for the key presets of a recipe."""
    from lustral.files import replace_file
    from lustral.report.choose_presets import choose_presets
    from lustral.report.table import build_table
    from lustral.report.text import defence_text

    if among not in ("blind", "adaptive", "all"):
        _fail(f"--among must be blind, adaptive or all, got {among!r}")
    table = build_table(folder, _stored_plan(folder).places)
    presets = choose_presets(table, by, among, "lustral " + shlex.join(sys.argv[1:]))
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, presets.model_dump_json(indent=1).encode() + b"\n")
    for preset in presets.chosen:
        _show(f"{defence_text(preset.defence):<50} {by} {preset.value:.4f}, best of {len(preset.candidates)}")
    _show(str(out))


export_app = typer.Typer(help="Results for other programs.", no_args_is_help=True)
app.add_typer(export_app, name="export")


@export_app.command("adversarial")
def export_adversarial_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of results of a finished run.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
) -> None:
    """Write the 8-bit images of all attacks on bare targets as Parquet, with checksums and a card."""
    from lustral.bench.adversarial_set import export_adversarial
    from lustral.bench.store import Store

    plan = _stored_plan(folder)
    command = json.loads((folder / "recipe.json").read_text(encoding="utf-8")).get("command", "")
    manifest = export_adversarial(Store(folder), plan.places, out, command)
    images = sum(shard.images for shard in manifest.shards)
    _show(f"{len(manifest.shards)} files with {images} adversarial images in {out}")


weights_app = typer.Typer(help="Weights that others published.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")


@weights_app.command("convert")
def convert_command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A .pt, .ckpt, .safetensors or a diffusers folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.")],
    family: Annotated[str, typer.Option(help="adm, ddpm, score_sde, edm or diffusers.")],
    licence: Annotated[str, typer.Option(help="Licence of the weights; it is written into the file.")],
    origin: Annotated[str | None, typer.Option(help="Where they came from; by default the name of IN.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value; see docs/weights.md.")] = None,
) -> None:
    """Turn a published diffusion checkpoint into safetensors that purifiers can use; nothing in it is executed."""
    from lustral.diffusion.convert import convert_weights, read_option

    options = dict(read_option(change) for change in changes or [])
    written = convert_weights(source, out, family, licence, origin, options)
    _show(f"{written.path}: {written.parameters:,} parameters, sha256 {written.sha256}")
    _show(json.dumps(written.facts, indent=1))
    before, after = written.decibels
    _show(f"a photograph with noise of 0.5: {before:.1f} dB, after one pass {after:.1f} dB")
    if not after > before + 3:
        sys.stderr.write("lustral: it hardly removes noise: check the options in docs/weights.md\n")


if __name__ == "__main__":
    main()
