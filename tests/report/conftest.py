"""A store folder that the tests make themselves, through the store's own writer."""

from __future__ import annotations

import io
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lustral.bench.cell import CellResult
from lustral.bench.store import Store
from lustral.bench.strips import join_strip
from lustral.settings import digest

PROTOCOL = {"draws": 4, "worst_of": 2, "votes": 3, "selection_draws": 4, "check_images": 4, "checks": True}


@dataclass(frozen=True)
class FakeCell:
    kind: str
    suite: str
    settings: dict[str, Any]
    role: str = "main"
    label: str = ""

    @property
    def id(self) -> str:
        return digest(self.settings)

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(self.settings.get("needs", ()))


@dataclass
class FakeStore:
    """Collects cells and writes them in any order."""

    suites: list[dict[str, Any]] = field(default_factory=list)
    cells: list[tuple[FakeCell, CellResult]] = field(default_factory=list)

    def add(self, kind: str, suite: str, columns: dict[str, list[Any]], **options: Any) -> FakeCell:
        facts, role, label = options.pop("facts", {}), options.pop("role", "main"), options.pop("label", "")
        cell = FakeCell(kind, suite, {"kind": kind, "seed": 7, "images": columns["image"], **options}, role, label)
        self.cells.append((cell, CellResult(columns, facts)))
        return cell

    def write(self, folder: Path, shuffle: int | None = None, title: str = "A test", published: Any = None) -> Path:
        cells = list(self.cells)
        if shuffle is not None:
            random.Random(shuffle).shuffle(cells)
        store = Store(folder)
        for cell, result in cells:
            made = {"lustral": "0.1.0", "git": {"revision": "abc", "dirty": True}, "versions": {"torch": "2.13.0"}}
            store.write(cell, result, {**made, "finished": f"{shuffle}"})
        recipe = {"name": "fake", "title": title, "seed": 7, "chunk": 3, "protocol": PROTOCOL, "suite": self.suites}
        recipe |= {"published": published} if published else {}
        (folder / "recipe.json").write_text(json.dumps(recipe))
        return folder


def picture(seed: int, size: int = 32) -> bytes:
    stream = io.BytesIO()
    ramp = np.linspace(0, 255, size)[None, :, None] * np.ones((size, 1, 3))
    noise = np.random.default_rng(seed).normal(0, 12, (size, size, 3))
    Image.fromarray(np.clip(ramp + noise, 0, 255).astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def clean_columns(images: list[str], truth: list[float], answers: list[list[float]], quality: bool) -> dict[str, Any]:
    right = [[quality or value == label for value in values] for values, label in zip(answers, truth, strict=True)]
    n = len(images)
    return {
        "image": images,
        "truth": truth,
        "bare_clean": [50.0] * n if quality else truth,
        "purified_clean": answers,
        "correct": right,
        "psnr_clean": [40.0] * n,
        "ssim_clean": [0.99] * n,
        "picture_clean": [picture(row) if row < 2 else None for row in range(n)],
        "picture_purified_clean": [picture(row + 50) if row < 2 else None for row in range(n)],
        "seconds": [random.random()] * n,
        "peak_memory": [random.randrange(10**9)] * n,
    }


def attack_columns(images: list[str]) -> dict[str, Any]:
    n = len(images)
    return {
        "image": images,
        "truth": [0.0] * n,
        "adversarial": [b"x"] * n,
        "bare_attacked": [1.0] * n,
        "attack_rate": [1.0] * n,
        "final_rate": [1.0] * n,
        "rescued": [False] * n,
        **{name: [8 / 255] * n for name in ("linf", "linf_float")},
        "l2": [0.5] * n,
        "psnr_attack": [31.0] * n,
        "ssim_attack": [0.9] * n,
        "queries": [20] * n,
        "gradients": [10] * n,
        "dead_start": [False] * n,
        "dead_tenth": [False] * n,
        "trace_first": [-1.0] * n,
        "trace_early": [0.5] * n,
        "trace_last": [0.5] * n,
        "picture_attacked": [picture(row + 100) if row < 2 else None for row in range(n)],
    }


def score_columns(images: list[str], truth: list[float], answers: list[list[float]], broken: list[list[bool]]) -> Any:
    n = len(images)
    return {
        "image": images,
        "truth": truth,
        "purified_attacked": answers,
        "broken": broken,
        "psnr_attacked": [30.0] * n,
        "ssim_attacked": [0.8] * n,
        "picture_purified_attacked": [picture(row + 150) if row < 2 else None for row in range(n)],
    }


@pytest.fixture
def fake() -> FakeStore:
    return FakeStore()


TARGETS = {
    "classifier": ({"name": "scenes_classifier"}, {"name": "scenes", "split": "test", "count": 12}),
    "quality": ({"name": "photo_quality", "low": 0.0, "high": 100.0}, {"name": "photos", "split": "test"}),
}


def add_suite(
    fake: FakeStore,
    suite: str,
    kind: str,
    defences: list[tuple[dict[str, Any], bool, float]],
    attacks: list[tuple[str, dict[str, Any], float]],
    count: int = 12,
    seed: int = 0,
) -> None:
    """Random results. A defence is settings, is_random, robust share; an attack label, access, strength; main last."""
    rng = np.random.default_rng(seed)
    target, data = TARGETS[kind]
    lines = [{"label": label, "attack": {}, "access": {}, "main": label == attacks[-1][0]} for label, *_ in attacks]
    names = [settings for settings, *_ in defences]
    fake.suites.append({"name": suite, "defences": names, "attack": lines})
    for start in range(0, count, 6):
        images = [f"{suite}/{number:03d}" for number in range(start, min(start + 6, count))]
        n = len(images)
        common = {"target": target, "data": data, "start": start, "stop": start + n, "suite_seed": seed}
        truth = [float(rng.integers(10)) if kind == "classifier" else float(rng.uniform(20, 90)) for _ in images]
        blind = {
            label: fake.add(
                "attack", suite, attack_columns(images), **common, attack={"name": "fgsm", "of": label}, label=label
            )
            for label, access, _ in attacks
            if access["knowledge"] == "blind"
        }  # fmt: skip
        for settings, is_random, robust in defences:
            draws = PROTOCOL["draws"] if is_random else 1

            # One level per image and draw: what falls to a weak attack falls to a stronger one.
            levels = rng.random((n, draws)).tolist()

            def answers(rate: float, levels: Any = levels, truth: Any = truth) -> list[list[float]]:
                wrong = [value + 30 if kind == "quality" else (value + 1) % 10 for value in truth]
                rows = zip(truth, wrong, levels, strict=True)
                return [[right if level < rate else other for level in row] for right, other, row in rows]

            facts = {
                "is_random": is_random,
                "gradient": "exact",
                "passes": 0,
                "timing": {"purify_milliseconds": float(rng.uniform(0.01, 3)), "target_milliseconds": 2.0},
            }
            options = {**common, "defence": {**settings, "versions": {settings["name"]: 1}}}
            columns = clean_columns(images, truth, answers(0.97), kind == "quality")
            clean = fake.add("clean", suite, columns, **options, facts=facts)
            for label, access, strength in attacks:
                got = answers(robust * (1 - strength))
                broken = [[a != b for a in values] for values, b in zip(got, truth, strict=True)]
                columns = score_columns(images, truth, got, broken)
                fell = [sum(row) / draws for row in broken]
                needs = [clean.id]
                if label in blind:
                    needs.append(blind[label].id)
                else:
                    end = [0.5 if rate > 0.5 else -0.5 for rate in fell]
                    path = {"attack_rate": fell, "final_rate": fell, "trace_early": end, "trace_last": end}
                    columns = {**attack_columns(images), **columns, **path}
                fake.add(
                    "score" if label in blind else "adaptive", suite, columns, **options, needs=needs, label=label,
                    attack={"name": "fgsm", "of": label}, access=access,
                    facts={"attack_purifier": "a", "score_purifier": "a"},
                )  # fmt: skip


def add_strips(fake: FakeStore, defence: str, names: list[str], first: int = 0) -> None:
    """What one defence showed of its inside, in every cell that starts at image ``first`` or later."""
    for cell, result in fake.cells:
        if cell.settings.get("defence", {}).get("name") == defence and cell.settings["start"] >= first:
            phase = "clean" if cell.kind == "clean" else "attacked"
            shots = result.columns["picture_clean" if phase == "clean" else "picture_purified_attacked"]
            result.columns[f"picture_steps_{phase}"] = [shot and strip(names) for shot in shots]


def strip(names: list[str], size: int = 32) -> bytes:
    tiles = [np.asarray(Image.open(io.BytesIO(picture(300 + place, size)))) for place in range(len(names))]
    return join_strip(dict(zip(names, tiles, strict=True)))


BLIND = {"name": "access", "knowledge": "blind", "eot": 1, "budget": None, "surrogate": None}
EXACT = {"name": "access", "knowledge": "exact", "eot": 10, "budget": None, "surrogate": None}

EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</script><script>alert(3)</script>",
    "=cmd|' /C calc'!A0",
    "abc\u202edcba",
    "nul\x00esc\x1b[2J",
    "../../etc/passwd",
    "javascript:alert(4)",
    "{{ 7 * 7 }}",
    "\u2028</title><svg onload=alert(5)>",
)


def rich_store() -> FakeStore:
    """Three suites: a classifier, a quality metric, and one in which every name is an attack."""
    fake = FakeStore()
    defences = [
        ({"name": "identity"}, False, 0.2),
        ({"name": "random_noise", "sigma": 0.05}, True, 0.6),
        ({"name": "jpeg", "quality": 75}, False, 0.7),
        ({"name": "median_blur", "size": 3}, False, 0.9),
        ({"name": "chain", "parts": [{"name": "jpeg", "quality": 50}, {"name": "flip"}]}, False, 0.8),
    ]
    attacks = [("blind PGD", BLIND, 0.1), ("APGD-EOT", EXACT, 0.6)]
    add_suite(fake, "scenes", "classifier", defences, attacks, seed=1)
    add_suite(fake, "quality", "quality", defences[:3], attacks, seed=2)
    evil = [({"name": "identity"}, False, 0.2), *(({"name": name}, False, 0.5) for name in EVIL)]
    add_suite(fake, EVIL[0], "classifier", evil, [(EVIL[1], BLIND, 0.1), (EVIL[3], EXACT, 0.2)], count=6, seed=3)
    return fake


@pytest.fixture
def rich() -> FakeStore:
    return rich_store()
