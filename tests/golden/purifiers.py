"""Fingerprint of every purifier on one fixed photograph with fixed noise."""

from __future__ import annotations

import numpy as np
import skimage.data
import torch

from lustral.purifiers import PURIFIERS
from lustral.seeds import Noise
from lustral.tensors import from_uint8
from tests.contracts.purifiers import smooth_classifier
from tests.purifiers.examples import default

PLACES = ((0, 0, 0), (1, 5, 27), (2, 16, 16), (0, 23, 9), (1, 31, 31))


def photograph() -> torch.Tensor:
    """The astronaut as one image of 32 x 32 pixels, by averaging blocks; the same bits on every machine."""
    blocks = skimage.data.astronaut().reshape(32, 16, 32, 16, 3).astype(np.int64).sum(axis=(1, 3))
    return from_uint8(((blocks + 128) // 256).astype(np.uint8)[None])


def fingerprint(name: str) -> dict[str, object]:
    """Settings, mean, standard deviation and five values of the output."""
    settings = default(name)
    target = smooth_classifier if settings.needs_target else None
    y = settings.build(target=target)(photograph(), Noise(0, "golden", ["astronaut"]))[0].double()
    return {
        "settings": settings.to_json(),
        "mean": round(float(y.mean()), 6),
        "deviation": round(float(y.std()), 6),
        "values": [round(float(y[place]), 6) for place in PLACES],
    }


def fingerprints() -> dict[str, dict[str, object]]:
    return {name: fingerprint(name) for name in PURIFIERS}
