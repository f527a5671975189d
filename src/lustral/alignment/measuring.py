"""Run an attack on calibration images and measure what it did to them; what was measured once is kept."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lustral.alignment.intensity import intensities
from lustral.attacks import AttackSettings
from lustral.bench.strengths import attack_weights
from lustral.data.base import ImageSet
from lustral.settings import SettingsError, canonical, digest
from lustral.targets import TargetSettings

if TYPE_CHECKING:
    from lustral.attacks.goals import Goal
    from lustral.targets.module import Target
    from lustral.tensors import Images

__all__ = ["Evaluation", "Evaluations", "Meter", "evaluations_file"]

LAYOUT = 1
"""Raised when the same settings measure something else."""


@dataclass(frozen=True)
class Evaluation:
    """What an attack did to images, as means over them by name of the measure.

    Attributes:
        after: of 8-bit images.
        before: before rounding.
    """

    after: Mapping[str, float]
    before: Mapping[str, float]


def evaluations_file(strengths: Path) -> Path:
    """Where evaluations for a file of strengths are kept: ``a.json`` -> ``a.evaluations.jsonl``."""
    return strengths.with_name(f"{strengths.stem}.evaluations.jsonl")


class Evaluations:
    """Evaluations as JSON lines, one for each; a line that a kill cut short is made again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Evaluation] = {}
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
            try:
                values = json.loads(line)
                self._known[values["key"]] = Evaluation(values["after"], values["before"])
            except (ValueError, KeyError, TypeError):
                continue

    def get(self, key: str) -> Evaluation | None:
        """What is known, or None."""
        return self._known.get(key)

    def put(self, key: str, found: Evaluation, facts: Mapping[str, Any]) -> None:
        """Keep an evaluation for good, with facts for people."""
        self._known[key] = found
        line = canonical({"key": key, **facts, "after": dict(found.after), "before": dict(found.before)})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            torn = end > 0 and file.read(1) != b"\n"
            file.write((b"\n" if torn else b"") + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


class Meter:
    """Measures attacks on the bare target over a set of images.

    Randomness is that of ``lustral run`` with a seed of its own purpose: the same numbers at every strength, and
    never those of an evaluation.

    Args:
        target: what is attacked, without a defence.
        images: calibration images; their sizes may differ.
        labelled: whether their truth is a class.
        kept: evaluations that are known.
        seed: everything random follows from it.
        batch: most images at a time.
        device: where.
        progress: told about every evaluation that is made.
    """

    def __init__(
        self,
        target: TargetSettings,
        images: ImageSet,
        kept: Evaluations,
        *,
        labelled: bool = False,
        seed: int = 0,
        batch: int = 8,
        device: str = "cpu",
        progress: Callable[[dict[str, Any]], None] = lambda row: None,
    ) -> None:
        self.target, self.images, self.kept, self.labelled = target, images, kept, labelled
        self.seed, self.batch, self.device, self.progress = seed, batch, device, progress

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return {
            "layout": LAYOUT,
            "target": {**self.target.to_json(), "version": self.target.version},
            "target_weights": self.target.weights_digest(),
            "data": self.images.fingerprint(),
            "labelled": self.labelled,
            "seed": self.seed,
            "batch": self.batch,
            "device": self.device,
        }

    @cached_property
    def _built(self) -> Target:
        return self.target.build(self.device)

    def __call__(self, attack: AttackSettings) -> Evaluation:
        """Mean intensities of ``attack``; from the file if they are known.

        Cost: the attack on every image.

        Raises:
            SettingsError: the attack has no meaning for the target.
        """
        if self.target.kind not in attack.kinds:
            raise SettingsError(f"{attack.name} has no meaning for a {self.target.kind}")
        versioned = {**attack.to_json(), "version": attack.version, "weights": attack_weights(attack)}
        key = digest({**self._identity, "attack": versioned})
        found = self.kept.get(key)
        if found is None:
            started = time.perf_counter()
            found = self._measure(attack)
            facts = {"attack": attack.to_json(), "seconds": round(time.perf_counter() - started, 3)}
            self.kept.put(key, found, facts)
            self.progress({**facts, **found.after})
        return found

    def _measure(self, attack: AttackSettings) -> Evaluation:
        after: dict[str, list[float]] = defaultdict(list)
        before: dict[str, list[float]] = defaultdict(list)
        for rows in self._batches():
            clean, rounded, unrounded = self._attacked(attack, self.images.take(rows))
            for sums, images in ((after, rounded), (before, unrounded)):
                for name, values in intensities(images, clean).items():
                    sums[name] += [float(value) for value in values]
        n = len(self.images)  # an SSIM whose window does not fit some image has no mean
        means = [
            {name: float(np.mean(values)) for name, values in sums.items() if len(values) == n}
            for sums in (after, before)
        ]
        return Evaluation(*means)

    def _batches(self) -> list[list[int]]:
        """Rows of images of one size, at most ``batch`` each."""
        sizes: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for row, image in enumerate(self.images.images):
            sizes[image.shape].append(row)
        return [
            rows[first : first + self.batch] for rows in sizes.values() for first in range(0, len(rows), self.batch)
        ]

    def _attacked(self, attack: AttackSettings, images: ImageSet) -> tuple[np.ndarray[Any, Any], ...]:
        """Clean, attacked and attacked but unrounded images (n, h, w, 3)."""
        from lustral.attacks import Access
        from lustral.bench.protocol import attack_images
        from lustral.seeds import seed_of
        from lustral.tensors import from_uint8

        x = from_uint8(images.stack()).to(self.device)
        selection = attack_images(
            attack,
            Access(knowledge="blind"),
            self._built,
            self._goal(x, images),
            x,
            seed=seed_of("align", self.seed),
            ids=images.ids,
            selection_draws=1,
        ).selection
        three = (x, selection.x, selection.unrounded)
        return tuple(part.detach().clamp(0, 1).permute(0, 2, 3, 1).double().cpu().numpy() for part in three)

    def _goal(self, x: Images, images: ImageSet) -> Goal:
        import torch

        from lustral.attacks.goals import Misclassify, MoveScore

        with torch.no_grad():
            outputs = self._built(x)
        if self.target.kind == "classifier":
            labels = torch.as_tensor(images.truth, device=x.device) if self.labelled else outputs.argmax(1)
            return Misclassify(labels)
        low, high = self.target.range
        return MoveScore(outputs, low, high, self.target.sign, self.target.success)
