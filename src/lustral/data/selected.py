"""Data sets that are a part of another one: a sample over clusters, or the images of a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from lustral.data.base import ImageSet, MissingData
from lustral.data.derived import Derived
from lustral.files import replace_file

__all__ = ["Clustered", "Listed", "read_ids", "write_ids"]


class Clustered(Derived):
    """A sample of another data set over clusters of its images: ``koniq10k | clustered:clusters=10,each=5``.

    k-means on spatial information, colourfulness and, for sets of quality scores, the score; then ``each`` images
    of every cluster. ``choice_seed`` decides both. Ids, truth and order are those of the other set.

    Every image of the other set is looked at whenever this one is loaded, some minutes for 10,000. ``lustral sample``
    does it once and stores the ids, which ``listed`` reads.

    Args:
        data: the other set: what stands to the left of ``|``, or ``data=NAME``.
        clusters: number of clusters.
        each: images per cluster.

    Source: paper 000, appendix A.2; see ``lustral.data.sampling``.
    """

    name: ClassVar[str] = "clustered"
    clusters: int = Field(default=10, ge=1)
    each: int = Field(default=5, ge=1)

    def read(self) -> ImageSet:
        """The sample.

        Raises:
            MissingData: the files of the other set are not there.
            ValueError: a cluster has too few images, or scores are missing.
        """
        from lustral.data.sampling import cluster_sample, image_features  # takes SciPy, which lists of sets do not need

        whole = self.data.load()
        features = image_features(whole.images, whole.truth if self.kind == "quality" else None)
        chosen = whole.take(cluster_sample(features, self.clusters, self.each, self.choice_seed))
        return replace(chosen, name=f"{whole.name}, {self.each} of each of {self.clusters} clusters")


class Listed(Derived):
    """The images of another data set whose ids a file lists: ``koniq10k | listed:path=ids.txt``.

    Ids, truth and order are those of the other set, whatever the order of the list.

    Args:
        data: the other set: what stands to the left of ``|``, or ``data=NAME``.
        path: text file with one id per line, such as ``lustral sample`` writes; empty lines and lines that begin
            with ``#`` are skipped.
    """

    name: ClassVar[str] = "listed"
    path: str

    def read(self) -> ImageSet:
        """The listed images; no other one is decoded.

        Raises:
            MissingData: the list or the files of the other set are not there.
            ValueError: an id is not in the other set, or comes twice.
        """
        wanted, whole = read_ids(Path(self.path).expanduser()), self.data.load()
        place = {name: row for row, name in enumerate(whole.ids)}
        unknown = [name for name in wanted if name not in place]
        if unknown:
            raise ValueError(
                f"{self.path} lists {len(unknown)} of {len(wanted)} ids that {whole.name} does not have, "
                f"{unknown[0]!r} for example; give the data set that the list was made from"
            )
        chosen = whole.take(sorted(place[name] for name in wanted))
        return replace(chosen, name=f"{whole.name}, listed")


def read_ids(path: Path) -> list[str]:
    """The ids in a file, one per line, without empty lines and those that begin with ``#``.

    Raises:
        MissingData: no such file.
        ValueError: no id in it, or one that comes twice.
    """
    if not path.is_file():
        raise MissingData(f"{path} is not a file; lustral sample writes such lists")
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    ids = [line for line in lines if line and not line.startswith("#")]
    if len(set(ids)) != len(ids) or not ids:
        raise ValueError(f"{path} must list different ids, one per line; it has {len(ids)}, {len(set(ids))} different")
    return ids


def write_ids(path: Path, ids: Sequence[str], notes: Iterable[str] = ()) -> None:
    """Store ids, one per line, after notes on where they come from."""
    lines = [*(f"# {note}" for note in notes), *ids]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, ("\n".join(lines) + "\n").encode())
