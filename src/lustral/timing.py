"""What purifiers cost here: network passes, and wall time on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from lustral.data.base import DataSettings
from lustral.purifiers import PURIFIERS
from lustral.purifiers.base import PurifierSettings
from lustral.purifiers.module import Purifier
from lustral.seeds import Noise
from lustral.settings import SettingsError
from lustral.targets import TARGETS, parse_target
from lustral.targets.module import Target
from lustral.tensors import Images, from_uint8

__all__ = ["purifier_timings"]


def purifier_timings(
    data: DataSettings, target: str | None = None, names: Sequence[str] | None = None, rounds: int = 3
) -> Iterator[dict[str, Any]]:
    """Time every purifier with its defaults on images of one size.

    Args:
        data: the images, one batch of them; eight are enough.
        target: the protected model, for purifiers that look at it; None takes the one of the zoo for the data.
        names: keys of ``PURIFIERS``; None takes all.
        rounds: purifications after one that warms up; their median counts.

    Yields:
        ``name``; ``passes`` per image; ``milliseconds`` of wall time per image, or None together with ``note``, which
        says why a purifier could not be timed: it needs settings, weights or a library that are not here.

    Raises:
        SettingsError: unknown names, or images of more than one size.
    """
    images = data.load()
    sizes = {image.shape for image in images.images}
    if len(sizes) > 1:
        raise SettingsError(f"purifiers are timed on images of one size, {images.name} has {len(sizes)} sizes")
    x = from_uint8(np.stack(images.images))
    protected = _protected(data, target)
    for name in PURIFIERS if names is None else names:
        if name not in PURIFIERS:
            raise SettingsError(f"unknown purifier {name!r}; known: {', '.join(PURIFIERS)}")
        yield {"name": name, **_timed(PURIFIERS[name], x, images.ids, protected, rounds)}


def _protected(data: DataSettings, target: str | None) -> Target | None:
    usual = f"{data.name}_classifier"
    if target is None and usual not in TARGETS:
        return None
    return parse_target(target or usual).build()


def _timed(
    kind: type[PurifierSettings], x: Images, ids: Sequence[str], target: Target | None, rounds: int
) -> dict[str, Any]:
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    if required:
        return {"passes": None, "milliseconds": None, "note": f"needs settings: {', '.join(required)}"}
    settings = kind()
    try:
        purifier = settings.build(target=target)
        with torch.no_grad():
            seconds = [_seconds(purifier, x, Noise(0, f"timing {turn}", ids)) for turn in range(rounds + 1)]
    except (ImportError, OSError, ValueError, RuntimeError) as problem:
        return {"passes": None, "milliseconds": None, "note": str(problem)}
    milliseconds = 1000 * statistics.median(seconds[1:]) / len(x)
    return {"passes": settings.passes, "milliseconds": milliseconds, "note": ""}


def _seconds(purifier: Purifier, x: Images, noise: Noise) -> float:
    started = time.perf_counter()
    purifier(x, noise)
    return time.perf_counter() - started
