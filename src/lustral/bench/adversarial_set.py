"""Write the adversarial images of a run as a data set that other programs can read."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
from PIL import Image

from lustral.bench.atomic import replace
from lustral.bench.cell import CellLike
from lustral.bench.encoding import unpack_images
from lustral.bench.store import Store
from lustral.data.adversarial_set import MANIFEST, Manifest, Shard, manifest_text
from lustral.settings import SettingsError, digest

__all__ = ["export_adversarial"]

_NUMBERS = {
    "truth": "truth",
    "score": "bare_attacked",
    "linf": "linf",
    "l2": "l2",
    "psnr": "psnr_attack",
    "ssim": "ssim_attack",
    "queries": "queries",
    "gradients": "gradients",
}
"""Column of a shard -> column of the cell."""


def export_adversarial(store: Store, places: Sequence[CellLike], out: Path, command: str = "") -> Manifest:
    """Write one Parquet shard per cell of every attack on a bare target, their list with checksums, and a card.

    A cell that several attacks or suites of the recipe share has a shard under the name of each.

    A shard has the columns id, image (a PNG file of the 8-bit image, in the form that Hugging Face datasets calls
    Image), truth (label or opinion score of the clean image), score (what the bare target says of the attacked one:
    its class or score), linf and l2 (of the perturbation, in units of the [0, 1] range), psnr in decibels, ssim, and
    the queries and gradients spent. The same run always gives the same bytes.

    Args:
        store: of the run.
        places: of its plan; those of another kind than "attack" are passed over.
        out: folder to write; what is there under the same names is replaced.
        command: that made the run, for the list.

    Raises:
        SettingsError: no attack of the plan is finished.
        StoreError: a cell is damaged.
    """
    done = store.done()
    chosen = [cell for cell in places if cell.kind == "attack"]
    wanted = {cell.id for cell in chosen}
    if not wanted & done:
        raise SettingsError(
            f"{store.folder} has no finished attack on a bare target to export; only attacks with access blind make "
            "images that belong to no defence"
        )
    missing = wanted - done
    if missing:
        raise SettingsError(
            f"{len(missing)} of {len(wanted)} attacks in {store.folder} are not finished; run the recipe to its end "
            "first, or the set would lack images without anyone noticing"
        )
    folders = _slugs(text for cell in chosen for text in (cell.suite, cell.label))
    shards = tuple(_write_shard(store, cell, out, f"{folders[cell.suite]}/{folders[cell.label]}") for cell in chosen)
    manifest = Manifest(command=command, shards=shards)
    replace(out / MANIFEST, manifest_text(manifest).encode())
    replace(out / "README.md", _card(manifest).encode())
    return manifest


def _write_shard(store: Store, cell: CellLike, out: Path, folder: str) -> Shard:
    columns = store.read(cell.id).columns
    pictures = [{"bytes": _png(pixels), "path": f"{name}.png"} for name, pixels in _named(columns)]
    table: dict[str, Any] = {"id": columns["image"], "image": pictures}
    table |= {name: columns[column] for name, column in _NUMBERS.items()}
    settings = {name: _public(cell.settings[name]) for name in ("attack", "target", "data")}
    facts = {"huggingface": _features(), "lustral": json.dumps({"cell": cell.id, **settings}, sort_keys=True)}
    stream = io.BytesIO()
    parquet.write_table(arrow.table(table).replace_schema_metadata(facts), stream, compression="none")
    path = f"data/{folder}/{cell.id}.parquet"
    replace(out / path, stream.getvalue())
    return Shard(
        path=path,
        sha256=hashlib.sha256(stream.getvalue()).hexdigest(),
        cell=cell.id,
        suite=cell.suite,
        label=cell.label,
        images=len(pictures),
        **settings,
    )


def _public(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without what belongs to one machine or to a cell's id."""
    return {name: value for name, value in settings.items() if name not in ("root", "versions")}


def _named(columns: dict[str, list[Any]]) -> Iterator[tuple[str, Any]]:
    yield from zip(columns["image"], unpack_images(columns), strict=True)


def _png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def _slugs(texts: Iterable[str]) -> dict[str, str]:
    """A folder name that any system can hold for every text, each another."""
    plain = {text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed" for text in texts}
    times = Counter(plain.values())
    return {text: slug if times[slug] == 1 else f"{slug}-{digest(text)[:8]}" for text, slug in plain.items()}


def _features() -> str:
    """What the columns are, in the words of Hugging Face datasets."""
    whole = {name: {"dtype": "int64", "_type": "Value"} for name in ("queries", "gradients")}
    numbers = {name: {"dtype": "float64", "_type": "Value"} for name in _NUMBERS} | whole
    features = {"id": {"dtype": "string", "_type": "Value"}, "image": {"_type": "Image"}, **numbers}
    return json.dumps({"info": {"features": features}})


def _card(manifest: Manifest) -> str:
    """README.md: the head is what Hugging Face datasets reads, one configuration per suite and attack."""
    groups: dict[tuple[str, str], list[Shard]] = {}
    for shard in manifest.shards:
        groups.setdefault((shard.suite, shard.label), []).append(shard)
    folders = {group: Path(shards[0].path).parent for group, shards in groups.items()}
    names = {group: f"{folder.parent.name}--{folder.name}" for group, folder in folders.items()}
    head = [
        line
        for group, name in names.items()
        for line in (
            f"- config_name: {name}",
            "  data_files:",
            f"  - {{split: test, path: {folders[group].as_posix()}/*.parquet}}",
        )
    ]
    rows = [
        f"| {name} | {suite} | {label} | {shards[0].target['name']} | {sum(shard.images for shard in shards)} |"
        for ((suite, label), name), shards in zip(names.items(), groups.values(), strict=True)
    ]
    return "\n".join(
        [
            "---",
            "configs:",
            *head,
            "---",
            "",
            "# Adversarial images",
            "",
            f"Made by `{manifest.command}`, exported by `lustral export adversarial`. 8-bit images made without "
            "knowledge of any defence. `manifest.json` lists the files with their SHA-256 and what made them.",
            "",
            "| configuration | suite | attack | target | images |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            "Read them back as an attack: `stored:folder=THIS_FOLDER,label=ATTACK,suite=SUITE`. The licence of every "
            "image is that of the photograph it was made from.",
            "",
        ]
    )
