"""``lustral sample``: choose a few images that look like the whole set, once, and store their ids."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from lustral.terminal import print_table

__all__ = ["sample_command"]

EVERY = 500  # images between two lines of progress


def sample_command(
    data: Annotated[str, typer.Argument(help="Data set, such as koniq10k:whole=true.")],
    out: Annotated[Path, typer.Option(help="Text file for the ids, one per line.")],
    clusters: Annotated[int, typer.Option(min=1, help="Clusters of complexity, colour and quality.")] = 10,
    each: Annotated[int, typer.Option(min=1, help="Images of every cluster.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Clusters and choice follow from it.")] = 0,
) -> None:
    """Sample images over clusters and store their ids; read them back with DATA | listed:path=OUT."""
    from lustral.data import parse_data
    from lustral.data.sampling import cluster_labels, cluster_sample, image_features
    from lustral.data.selected import write_ids

    settings = parse_data(data)
    whole = settings.load()
    scores = whole.truth if settings.kind == "quality" else None
    features = image_features(_told(whole.images), scores)
    rows = cluster_sample(features, clusters, each, seed)
    chosen = whole.take(rows)
    note = f"{len(chosen)} of {len(whole)} images of {whole.name}, fingerprint {chosen.fingerprint()}"
    write_ids(out, chosen.ids, ["lustral " + shlex.join(sys.argv[1:]), note])
    labels = cluster_labels(features, clusters, seed)
    heads = ["cluster", "images", "spatial information", "colourfulness", *([] if scores is None else ["score"])]
    means = [features[labels == cluster].mean(axis=0) for cluster in range(clusters)]
    sizes = [int((labels == cluster).sum()) for cluster in range(clusters)]
    cells = [[str(row), str(sizes[row]), *(f"{mean:.4g}" for mean in means[row])] for row in range(clusters)]
    print_table(heads, cells, f"Clusters of {whole.name}")
    sys.stdout.write(f"{out}: {note}\n")


def _told(images: Any) -> Iterator[Any]:
    """The images one after another, with a line of progress on stderr now and then."""
    for done, image in enumerate(images, start=1):
        yield image
        if done % EVERY == 0:
            sys.stderr.write(json.dumps({"done": done, "total": len(images), "what": "images"}) + "\n")
            sys.stderr.flush()
