"""Suites of quality targets with scores that the tests choose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from conftest import BLIND, EXACT, FakeStore, attack_columns, clean_columns, score_columns

Scores = list[list[float]]

ONE_DRAW = {**EXACT, "eot": 1}
IDENTITY = {"name": "identity"}
BLUR = {"name": "gaussian_blur", "kernel": 3}
NOISE = {"name": "random_noise", "sigma": 0.05}
JPEG = {"name": "jpeg", "quality": 75}
IFGSM = {"name": "ifgsm", "epsilon": 0.01, "norm": "linf", "steps": 2, "step": None}
SQUARE = {"name": "square", "epsilon": 0.01, "norm": "linf"}
TARGET = {"name": "photo_quality", "low": 0.0, "high": 100.0}
DATA = {"name": "photos", "split": "test"}


@dataclass
class Line:
    """An attack of a recipe; ``access`` is what the recipe says."""

    label: str
    access: dict[str, Any] = field(default_factory=lambda: BLIND)
    attack: dict[str, Any] = field(default_factory=lambda: IFGSM)
    strength: dict[str, Any] | None = None
    transfer: bool = False


@dataclass
class Defence:
    """Scores of purified images (image, draw): clean, and by attack's label attacked or (attacked, made on)."""

    settings: dict[str, Any]
    clean: Scores
    attacked: dict[str, Scores]
    paired: dict[str, Scores] = field(default_factory=dict)
    transferred: dict[tuple[str, str], tuple[dict[str, Any], Scores]] = field(default_factory=dict)
    psnr: list[float] | None = None
    is_random: bool = False
    gradient: str = "exact"
    milliseconds: float = 1.0


def add_quality(
    fake: FakeStore,
    suite: str,
    lines: list[Line],
    defences: list[Defence],
    truth: list[float],
    data: dict[str, Any] = DATA,
    target: dict[str, Any] = TARGET,
    **more: Any,
) -> None:
    """One suite in one chunk; the score of the bare target is 50 for every image."""
    images = [f"{number:03d}" for number in range(len(truth))]
    written = [
        {"label": line.label, "attack": line.attack, "access": line.access, "main": False, "strength": line.strength,
         "transfer": line.transfer}
        for line in lines
    ]  # fmt: skip
    settings = [defence.settings for defence in defences]
    fake.suites.append({"name": suite, "defences": settings, "attack": written, **more})
    common = {"target": target, "data": data, "start": 0, "in_suite": suite}
    blind = {
        line.label: fake.add("attack", suite, attack_columns(images), **common, attack=line.attack, label=line.label)
        for line in lines
        if line.access["knowledge"] == "blind"
    }
    for defence in defences:
        own = {**common, "defence": defence.settings}
        timing = {"purify_milliseconds": defence.milliseconds, "target_milliseconds": 1.0}
        facts = {"is_random": defence.is_random, "gradient": defence.gradient, "passes": 0, "timing": timing}
        columns = clean_columns(images, truth, defence.clean, quality=True)
        clean = fake.add("clean", suite, columns, **own, facts=facts)
        for line in lines:
            if line.label not in defence.attacked:
                continue
            columns = _scored(images, truth, defence, defence.attacked[line.label])
            if line.label in defence.paired:
                columns["purified_attacked_paired"] = defence.paired[line.label]
            kind, needs = "adaptive", [clean.id]
            if line.label in blind:
                kind, needs = "score", [clean.id, blind[line.label].id]
            else:
                columns = {**attack_columns(images), **columns}
            # A defence without randomness is attacked with one draw, whatever the recipe says.
            access = line.access if defence.is_random else {**line.access, "eot": 1}
            options = {"attack": line.attack, "access": access, "needs": needs}
            fake.add(kind, suite, columns, **own, **options, label=line.label, asked=line.label)
        for (label, name), (maker, scores) in defence.transferred.items():
            line = next((line for line in lines if line.label == label), None)
            if line is None:
                continue
            fake.add(
                "score", suite, _scored(images, truth, defence, scores), **own, attack=line.attack, access=line.access,
                maker=maker, needs=[clean.id], role="transfer", label=f"{label} [made on {name}]", asked=label,
            )  # fmt: skip


def _scored(images: list[str], truth: list[float], defence: Defence, scores: Scores) -> dict[str, Any]:
    broken = [[abs(value - 50) > 10 for value in row] for row in scores]
    columns = score_columns(images, truth, scores, broken)
    if not defence.psnr:
        return columns
    # All channels changed by the same amount.
    return columns | {"psnr_attacked": defence.psnr, "linf_attacked": [10 ** (-value / 20) for value in defence.psnr]}


def one(values: list[float]) -> Scores:
    """One draw for every image."""
    return [[value] for value in values]
