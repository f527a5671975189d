"""Direction of purification: does a purifier do to clean images what it does to attacked ones?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lustral.attacks import Access, AttackSettings
from lustral.attacks.goals import Misclassify
from lustral.bench.protocol import attack_images, score_noise
from lustral.bench.provenance import provenance
from lustral.data import DataSettings
from lustral.measures import wilson_interval
from lustral.purifiers import PurifierSettings
from lustral.purifiers.module import Purifier
from lustral.report.text import defence_text
from lustral.settings import SettingsError
from lustral.targets import TargetSettings
from lustral.targets.module import Target
from lustral.tensors import Images, from_uint8

__all__ = [
    "ACCURACIES",
    "Direction",
    "analyse_direction",
    "direction_of_purification",
    "direction_record",
    "direction_table",
]

Tell = Callable[[dict[str, Any]], None]

ACCURACIES = ("clean", "attacked", "purified_clean", "purified_attacked", "shifted_clean")


@dataclass(frozen=True)
class Direction:
    """How much alike clean and attacked images are moved; everything per image (n,).

    With d = P(x) - x for the clean and d' = P(x') - x' for the attacked image:

    Attributes:
        gap: largest difference of attacked and clean image, in [0, 1] (equation 11: it is small).
        moved_clean: length of d (L2, in units of the [0, 1] range).
        moved_attacked: length of d'.
        cosine: between d and d' (equation 12 claims about 1); 0 where one of them is nothing.
        cosine_back: between d' and x - x', the way back to the clean image.
        error: length of d - d' in lengths of d' (equation 13 claims about 0); 0 where nothing moved.
    """

    gap: Tensor
    moved_clean: Tensor
    moved_attacked: Tensor
    cosine: Tensor
    cosine_back: Tensor
    error: Tensor


def direction_of_purification(
    clean: Images, attacked: Images, purified_clean: Images, purified_attacked: Images
) -> Direction:
    """Compare what purification does to clean and to attacked images (n, 3, h, w).

    Source: MAEP (paper 004), section 3.3, equations 11 to 13. Differs: the paper argues that both are alike because
        the images are, and shows accuracies; here the claim itself is measured.

    >>> x = torch.full((1, 3, 2, 2), 0.5)
    >>> round(float(direction_of_purification(x, x + 0.1, x - 0.1, x).cosine), 6)
    1.0
    """
    x, a, y, b = (images.double().flatten(1) for images in (clean, attacked, purified_clean, purified_attacked))
    moved, moved_attacked = y - x, b - a
    length = moved_attacked.norm(dim=1)
    apart = (moved - moved_attacked).norm(dim=1)
    return Direction(
        gap=(a - x).abs().amax(1),
        moved_clean=moved.norm(dim=1),
        moved_attacked=length,
        cosine=functional.cosine_similarity(moved, moved_attacked),
        cosine_back=functional.cosine_similarity(moved_attacked, x - a),
        error=torch.where(apart > 0, apart / length, 0.0),
    )


def analyse_direction(
    data: DataSettings, target: TargetSettings, purifiers: Sequence[PurifierSettings], attack: AttackSettings,
    *, seed: int = 0, batch: int = 64, device: str = "cpu", tell: Tell = lambda _: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Attack images without knowledge of the purifiers, purify both, and compare; one row per purifier.

    Clean and attacked image are purified with the same draws. A row has the means of ``Direction`` and the accuracies
    of ``ACCURACIES`` with their intervals, where ``shifted_clean`` are clean images moved by what was done to the
    attacked ones: equation 13 takes their accuracy for that of purified clean ones.

    Cost: one attack per image, and two purifications per image and purifier.

    Raises:
        SettingsError: no classifier, no labels or no purifier.
    """
    if target.kind != "classifier" or data.kind != "classes" or not purifiers or batch < 1:
        raise SettingsError("expected a classifier, images with classes, one purifier or more and a batch of 1 or more")
    model, images = target.build(device), data.load()
    modules = [purifier.build(device, model if purifier.needs_target else None) for purifier in purifiers]
    found: list[list[dict[str, NDArray[Any]]]] = [[] for _ in modules]
    starts = range(0, len(images), batch)
    for start in starts:
        part = images.take(range(start, min(start + batch, len(images))))
        x, labels = from_uint8(part.stack()).to(device), torch.as_tensor(part.truth, device=device)
        goal, access = Misclassify(labels), Access(knowledge="blind")
        attacked = attack_images(attack, access, model, goal, x, seed=seed, ids=part.ids, selection_draws=1).selection.x
        for rows, module in zip(found, modules, strict=True):
            rows.append(_judged(module, model, x, attacked, labels, seed, part.ids))
        tell({"done": start + len(part), "total": len(images), "what": "images"})
    return [_row(settings, parts) for settings, parts in zip(purifiers, found, strict=True)]


@torch.no_grad()
def _judged(
    purify: Purifier, target: Target, x: Images, attacked: Images, labels: Tensor, seed: int, ids: Sequence[str]
) -> dict[str, NDArray[Any]]:
    noise = score_noise(seed, ids, attacked=False)
    clean_out, attacked_out = purify(x, noise.draws(0, 1)), purify(attacked, noise.draws(0, 1))
    shifted = (x + attacked_out - attacked).clamp(0, 1)
    direction = direction_of_purification(x, attacked, clean_out, attacked_out)
    seen = dict(zip(ACCURACIES, (x, attacked, clean_out, attacked_out, shifted), strict=True))
    correct = {name: target(images).argmax(1) == labels for name, images in seen.items()}
    measured = {field.name: getattr(direction, field.name) for field in fields(direction)}
    return {name: values.cpu().numpy() for name, values in (measured | correct).items()}


def _row(purifier: PurifierSettings, parts: Sequence[dict[str, NDArray[Any]]]) -> dict[str, Any]:
    """Means over all images, and 95 % intervals of the accuracies."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    row: dict[str, Any] = {"purifier": purifier.to_json(), "images": len(joined["gap"])}
    for name, values in joined.items():
        key = f"accuracy_{name}" if name in ACCURACIES else name
        row[key] = float(values.mean())
        if name in ACCURACIES:
            row[f"{key}_interval"] = list(wilson_interval(int(values.sum()), len(values)))
    return row


def direction_record(
    rows: list[dict[str, Any]], data: DataSettings, target: TargetSettings, attack: AttackSettings, seed: int,
    command: str = "",
) -> dict[str, Any]:  # fmt: skip
    """The rows with everything they depend on, for a JSON file."""
    return {
        "command": command,
        "settings": {"data": data.to_json(), "target": target.to_json(), "attack": attack.to_json(), "seed": seed},
        "weights": {"target": target.weights_digest()},
        "purifiers": rows,
        "made": provenance(),
    }


def direction_table(rows: list[dict[str, Any]]) -> tuple[str, list[str], list[list[str]]]:
    """Title, heads and cells for the terminal."""
    numbers = ("cosine", "cosine_back", "error", "moved_clean", "moved_attacked")
    accuracies = [f"accuracy_{name}" for name in ACCURACIES]
    heads = ["purifier", *(name.replace("_", " ") for name in (*numbers, *accuracies))]
    cells = [
        [
            defence_text(row["purifier"]),
            *(f"{row[name]:.3f}" for name in numbers),
            *(f"{row[name]:.1%}" for name in accuracies),
        ]
        for row in rows
    ]
    return "Direction of purification, clean and attacked images", heads, cells
