"""Fingerprint of every attack on one fixed toy problem with fixed noise."""

from __future__ import annotations

import torch

from lustral.attacks import ATTACKS, AttackSettings
from lustral.attacks.goals import Misclassify, MoveScore
from lustral.attacks.oracle import Oracle
from tests.contracts.attacks import Target, images, noise_for, purify

SMALL = {
    "random_noise": {"draws": 6},
    "pgd": {"steps": 8},
    "apgd": {"steps": 12},
    "square": {"queries": 40},
    "fab": {"steps": 4, "targets": 2},
    "carlini_wagner": {"steps": 12, "searches": 2, "rate": 0.05, "c": 3.0},
    "nattack": {"queries": 40, "population": 12},
    "autoattack": {"steps": 4, "targets": 1, "queries": 10},
    "diffattack": {"steps": 6},
    "spsa": {"queries": 41, "population": 12},
    "stadv": {"steps": 10},
    "color_shift": {"steps": 10},
    "stored": {"folder": "tests/attacks/stored", "label": "contrast"},
    "nes": {"queries": 41, "pairs": 6},
    "parsimonious": {"queries": 60, "block": 4, "group": 16},
    "one_pixel": {"queries": 40, "population": 12, "pixels": 3},
    "patch_rs": {"queries": 40, "area": 9},
    "cadv": {
        "weights": "tests/attacks/colorization.safetensors",
        "hints": 6,
        "clusters": 3,
        "chosen": 2,
        "steps": 6,
        "rate": 0.1,
    },
}
PLACES = ((0, 0, 0, 0), (0, 1, 4, 5), (1, 2, 7, 7), (1, 0, 3, 2))


def fingerprint(name: str) -> dict[str, object]:
    """Settings, questions asked, best margins and four values of the result, in levels of 8 bits."""
    settings: AttackSettings = ATTACKS[name].make(**SMALL.get(name, {}))
    kind, x = settings.kinds[0], images(2)
    target = Target(kind)
    with torch.no_grad():
        clean = target(x)
    goal = Misclassify(clean.argmax(1)) if kind == "classifier" else MoveScore(clean, -3.0, 3.0)
    oracle = Oracle(target, goal, x, noise_for(2), access_of(settings), purifier=purify, ball=settings.ball())
    shift = (settings.run(oracle, x, noise_for(2, "start")) - x) * 255
    return {
        "settings": settings.to_json(),
        "queries": int(oracle.queries.sum()),
        "margins": [round(float(value), 6) for value in oracle.memory.margins.amax(1)],
        "shift": [round(float(shift[place]), 4) for place in PLACES],
    }


def access_of(settings: AttackSettings):
    from lustral.attacks import Access

    return Access(knowledge="scores" if settings.needs == "scores" else "exact", eot=2)


def fingerprints() -> dict[str, dict[str, object]]:
    return {name: fingerprint(name) for name in ATTACKS}
