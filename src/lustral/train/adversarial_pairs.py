"""Attacked versions of the images of a data set, made once and kept."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lustral.attacks import Access, AttackSettings
from lustral.attacks.goals import Misclassify
from lustral.attacks.oracle import Oracle
from lustral.data.base import ImageSet
from lustral.files import read_regular, replace_file
from lustral.seeds import Noise
from lustral.settings import SettingsError, digest
from lustral.targets import TargetSettings
from lustral.targets.module import Target
from lustral.tensors import from_uint8, to_uint8
from lustral.train.loop import as_tensor
from lustral.train.settings import Progress
from lustral.weights import checkpoint_digest

__all__ = ["adversarial_pairs", "cache_folder"]

VARIABLE = "LUSTRAL_CACHE"
CHUNK = 256  # images per file and per attack; results depend on the shape of a batch, so it is not a setting
VERSION = 1  # raised when a change of code changes the images


def cache_folder() -> Path:
    """Folder for what can be made again: the variable ``LUSTRAL_CACHE``, else ``lustral`` among the user's caches."""
    own = os.environ.get(VARIABLE)
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lustral"
    return Path(own).expanduser() if own else usual


def adversarial_pairs(
    images: ImageSet, target: TargetSettings, attack: AttackSettings, *,
    seed: int = 0, cache: Path | None = None, device: str = "cpu", progress: Progress | None = None,
) -> UInt8[Tensor, "n 3 h w"]:  # fmt: skip
    """8-bit attacked versions of all images, inside the ball of the attack, in the order of the set.

    The attacker sees the bare classifier and starts from the label. A part of the images that is already in the cache
    is read; the others are written one part after the other, so that a run that was killed goes on.

    Args:
        images: images of one size with classes.
        target: a classifier.
        attack: what is done to them.
        seed: the random starts follow from it and the ids of the images.
        cache: folder of the parts; None takes ``cache_folder()``. What other settings made lies beside them.
        device: where the classifier runs.
        progress: called after every part that was made, with pairs done, their number and the seconds of the part.

    Cost: that of the attack per image that is not in the cache.

    Raises:
        SettingsError: not a classifier.
        ValueError: sizes differ, or a damaged file in the cache.
    """
    if target.kind != "classifier":
        raise SettingsError(f"adversarial pairs need a classifier, {target.name} is a {target.kind} target")
    clean = as_tensor(images)
    identity = {
        "images": images.fingerprint(),
        "target": [target.to_json(), target.weights_digest()],
        "attack": [attack.to_json(), attack.version, *map(checkpoint_digest, attack.weights_used())],
        "seed": seed,
        "chunk": CHUNK,
        "device": torch.device(device).type,
        "version": VERSION,
    }
    folder = (cache or cache_folder()) / f"pairs-{digest(identity)}"
    folder.mkdir(parents=True, exist_ok=True)
    model: Target | None = None
    parts: list[Tensor] = []
    for number, rows in enumerate(torch.arange(len(clean)).split(CHUNK)):
        path = folder / f"{number:05d}.npy"
        if not path.exists():
            started = time.perf_counter()
            model = model or target.build(device)
            part = _attacked(images.take(rows.tolist()), clean[rows], model, attack, seed, device)
            _write(path, part)
            if progress is not None:
                done = int(rows[-1]) + 1
                progress({"pairs": done, "of": len(clean), "seconds": time.perf_counter() - started})
        parts.append(_read(path, clean[rows].shape))
    return torch.cat(parts)


def _attacked(
    images: ImageSet, clean: Tensor, target: Target, attack: AttackSettings, seed: int, device: str
) -> UInt8[Tensor, "n 3 h w"]:
    x = from_uint8(clean).to(device)
    goal = Misclassify(torch.from_numpy(images.truth.astype(np.int64)).to(device))
    noise = Noise(seed, "pairs", images.ids)
    oracle = Oracle(target, goal, x, noise, Access(knowledge="blind"), ball=attack.ball(), batch=CHUNK)
    return to_uint8(oracle.rounded(attack.run(oracle, x, noise.fork("start")))).cpu()


def _write(path: Path, part: Tensor) -> None:
    with io.BytesIO() as file:
        np.save(file, part.numpy(), allow_pickle=False)
        replace_file(path, file.getvalue())


def _read(path: Path, shape: torch.Size) -> Tensor:
    data = read_regular(path, 2**31, ValueError)
    try:
        part = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as problem:
        raise ValueError(f"cannot read {path}: {problem}; delete it, it will be made again") from None
    if part.dtype != np.uint8 or part.shape != tuple(shape):
        raise ValueError(f"{path} holds {part.dtype} {part.shape}, not uint8 {tuple(shape)}; delete it")
    return torch.from_numpy(part)
