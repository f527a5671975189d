"""Carry out one cell: build what it names, attack, score on fresh draws, and return rows."""

from __future__ import annotations

import hashlib
import json
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from lustral.attacks import Access, AttackSettings, parse_access, parse_attack
from lustral.attacks.goals import Goal, Misclassify, MoveScore
from lustral.bench.cell import CellResult
from lustral.bench.encoding import change, fidelity, pack_images, pictures, unpack_images
from lustral.bench.gradients import Defended, build_in_float64, check_gradient
from lustral.bench.inside import Watched
from lustral.bench.plan import Cell
from lustral.bench.protocol import answers, attack_images, draw_outputs, score_noise, verdicts
from lustral.data import parse_data
from lustral.data.base import ImageSet
from lustral.purifiers import PurifierSettings, parse_purifier
from lustral.seeds import Noise
from lustral.settings import canonical
from lustral.targets import TargetSettings, parse_target
from lustral.tensors import Images, from_uint8

__all__ = ["execute"]

Columns = dict[str, list[Any]]
TRACE_TAIL = 10  # I4 looks at what the last ten questions still gained


@dataclass(frozen=True)
class _Chunk:
    """The images of a cell, padded to the chunk size, and how many of them are real."""

    x: Images
    ids: tuple[str, ...]
    truth: np.ndarray[Any, Any]
    real: int


def _plain(settings: Mapping[str, Any]) -> str:
    """Settings without the code versions that only belong to the id, as a cache key."""
    return canonical({key: value for key, value in settings.items() if key != "versions"})


@lru_cache(maxsize=4)
def _data(text: str) -> ImageSet:
    return parse_data(json.loads(text)).load()


@lru_cache(maxsize=4)
def _target(text: str, device: str) -> tuple[TargetSettings, nn.Module]:
    settings = parse_target(json.loads(text))
    return settings, settings.build(device)


@lru_cache(maxsize=4)
def _purifier(text: str, target: str, device: str) -> tuple[PurifierSettings, nn.Module]:
    settings = parse_purifier(json.loads(text))
    return settings, settings.build(device, _target(target, device)[1] if settings.needs_target else None)


def _module_digest(cell: Cell, settings: PurifierSettings, module: nn.Module) -> str:
    """What a purifier is: its settings, every weight of its networks, and the target if it looks at it."""
    hasher = hashlib.sha256(canonical(settings.to_json()).encode())
    if settings.needs_target:
        hasher.update(canonical([cell.settings["target"], cell.settings["target_weights"]]).encode())
    for name, value in sorted(module.state_dict().items()):
        hasher.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()[:32]


def _read_chunk(cell: Cell) -> _Chunk:
    settings = cell.settings
    images = _data(_plain(settings["data"])).take(range(settings["start"], settings["stop"]))
    if images.fingerprint() != settings["data_digest"]:
        raise ValueError(f"the images of {images.name} changed since the plan was made; run the command again")
    missing = settings["chunk"] - len(images)
    x = from_uint8(images.stack())
    if missing:
        # Results depend on the batch shape, so a short last chunk is filled with copies that are thrown away.
        x = torch.cat([x, x[:1].expand(missing, -1, -1, -1)])
    ids = (*images.ids, *(f"padding/{row}" for row in range(missing)))
    labelled = parse_data(_without_versions(settings["data"])).kind == "classes"  # a label is no opinion on quality
    truth = np.full(len(images), np.nan) if labelled and _built(cell)[0].kind == "quality" else images.truth
    return _Chunk(x.to(settings["device"]), ids, np.concatenate([truth, np.repeat(truth[:1], missing)]), len(images))


def execute(cell: Cell, inputs: Mapping[str, CellResult]) -> CellResult:
    """Carry out ``cell``.

    Args:
        cell: from a plan.
        inputs: results of the cells that ``cell.needs`` names.

    Returns:
        One row per image, in the order of ``cell.settings["images"]``.
    """
    started = time.perf_counter()
    steps = {"clean": _clean, "attack": _attack, "score": _score, "adaptive": _adaptive, "gradient": _gradient}
    chunk = _read_chunk(cell)
    columns, facts = steps[cell.kind](cell, chunk, inputs)
    columns = {"image": list(chunk.ids), "truth": [float(v) for v in chunk.truth], **columns}
    columns = {name: values[: chunk.real] for name, values in columns.items()}
    each = (time.perf_counter() - started) / chunk.real
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    columns |= {"seconds": [each] * chunk.real, "peak_memory": [peak] * chunk.real}
    return CellResult(columns, facts)


def _built(cell: Cell) -> tuple[TargetSettings, nn.Module]:
    return _target(_plain(cell.settings["target"]), cell.settings["device"])


def _built_purifier(cell: Cell, settings: Mapping[str, Any]) -> tuple[PurifierSettings, nn.Module]:
    return _purifier(_plain(settings), _plain(cell.settings["target"]), cell.settings["device"])


def _clean(cell: Cell, chunk: _Chunk, inputs: Mapping[str, CellResult]) -> tuple[Columns, dict[str, Any]]:
    target_settings, target = _built(cell)
    purifier_settings, purifier = _built_purifier(cell, cell.settings["defence"])
    with torch.no_grad():
        started = time.perf_counter()
        bare = target(chunk.x)
        bare_seconds = time.perf_counter() - started
    draws = cell.settings["draws"]
    noise = score_noise(cell.settings["seed"], chunk.ids, attacked=False)
    inside = Watched(purifier, cell.settings["pictures"])
    draw_outputs(target, inside, chunk.x, noise, 1)  # warms up, so that neither a first call nor watching is timed
    outputs, purified, seconds = draw_outputs(target, purifier, chunk.x, noise, draws)
    kind = target_settings.kind
    said = answers(kind, outputs.flatten(0, 1)).unflatten(0, (len(chunk.ids), draws))
    truth = torch.as_tensor(chunk.truth, device=said.device).double()
    correct = said == truth[:, None] if kind == "classifier" else torch.ones_like(said, dtype=torch.bool)
    columns: Columns = {
        "bare_clean": answers(kind, bare).tolist(),
        "purified_clean": said.tolist(),
        "correct": correct.tolist(),
        **change("clean", purified, chunk.x),
        "picture_clean": pictures(chunk.x, cell.settings["pictures"]),
        "picture_purified_clean": pictures(purified, cell.settings["pictures"]),
        **inside.columns("clean"),
    }
    facts = {
        "score_purifier": _module_digest(cell, purifier_settings, purifier),
        "gradient": purifier_settings.gradient,
        "is_random": purifier_settings.is_random,
        "passes": purifier_settings.passes,
        "timing": {
            "purify_milliseconds": 1000 * seconds / (draws * len(chunk.ids)),
            "target_milliseconds": 1000 * bare_seconds / len(chunk.ids),
        },
    }
    return columns, facts


def _goal(settings: TargetSettings, chunk: _Chunk, reference: list[float] | None) -> Goal:
    """What the attacker wants; ``reference`` are clean scores of the attacked system, padded with the first."""
    device = chunk.x.device
    if settings.kind == "classifier":
        return Misclassify(torch.as_tensor(chunk.truth, device=device))
    assert reference is not None
    values = torch.tensor(reference, dtype=torch.float32, device=device)
    padding = values[:1].expand(len(chunk.ids) - len(values))
    low, high = settings.range
    return MoveScore(torch.cat([values, padding]), low, high, settings.sign, settings.success)


def _attack(cell: Cell, chunk: _Chunk, inputs: Mapping[str, CellResult]) -> tuple[Columns, dict[str, Any]]:
    target_settings, target = _built(cell)
    with torch.no_grad():
        reference = target(chunk.x).tolist() if target_settings.kind == "quality" else None
    columns, _ = _run_attack(cell, chunk, _goal(target_settings, chunk, reference), None)
    return columns, {}


def _adaptive(cell: Cell, chunk: _Chunk, inputs: Mapping[str, CellResult]) -> tuple[Columns, dict[str, Any]]:
    purifier_settings, purifier = _built_purifier(cell, cell.settings["defence"])
    goal = _goal(_built(cell)[0], chunk, _reference(cell, inputs))
    columns, adversarial = _run_attack(cell, chunk, goal, purifier)
    scores, facts = _score_images(cell, chunk, goal, adversarial)
    differentiated = cell.settings["access"].get("surrogate")
    if cell.settings["access"]["knowledge"] == "surrogate" and differentiated:
        purifier_settings, purifier = _built_purifier(cell, differentiated)
    facts["attack_purifier"] = _module_digest(cell, purifier_settings, purifier)
    return columns | scores, facts


def _gradient(cell: Cell, chunk: _Chunk, inputs: Mapping[str, CellResult]) -> tuple[Columns, dict[str, Any]]:
    target_settings, target = _built(cell)
    purifier_settings, purifier = _built_purifier(cell, cell.settings["defence"])
    with torch.no_grad():
        reference = target(chunk.x).tolist() if target_settings.kind == "quality" else None
    goal = _goal(target_settings, chunk, reference)
    exact = build_in_float64(target_settings, purifier_settings, cell.settings["device"])
    noise = Noise(cell.settings["seed"], "gradient", chunk.ids)
    found = check_gradient(Defended(target, purifier), exact, goal, chunk.x, noise)
    facts = {"gradient": purifier_settings.gradient}
    if isinstance(found, str):
        return {}, {**facts, "gradient_skipped": found}
    return {f"gradient_{name}": values.tolist() for name, values in vars(found).items()}, facts


def _reference(cell: Cell, inputs: Mapping[str, CellResult]) -> list[float]:
    """Mean score of the purified clean images, from the clean cell."""
    for needed in cell.needs:
        if "purified_clean" in inputs[needed].columns:
            return [float(np.mean(values)) for values in inputs[needed].columns["purified_clean"]]
    raise ValueError(f"cell {cell.id} needs the clean cell of its defence")


def _run_attack(
    cell: Cell, chunk: _Chunk, goal: Goal, purifier: Callable[[Images, Noise], Images] | None
) -> tuple[Columns, Images]:
    attack: AttackSettings = parse_attack(_without_versions(cell.settings["attack"]))
    access: Access = parse_access(_without_versions(cell.settings["access"]))
    target_settings, target = _built(cell)
    surrogate = _built_purifier(cell, access.surrogate)[1] if access.surrogate else None
    chosen, oracle = attack_images(
        attack,
        access,
        target,
        goal,
        chunk.x,
        seed=cell.settings["seed"],
        ids=chunk.ids,
        purifier=purifier,
        surrogate=surrogate,
        selection_draws=cell.settings["selection_draws"],
    )
    with torch.no_grad():
        bare = answers(target_settings.kind, target(chosen.x))
    shift = (chosen.x - chunk.x).flatten(1)
    # A budget below one question leaves no trace: the margin of nothing tried.
    trace = oracle.trace or [torch.full((len(chunk.ids),), -torch.inf)]
    tail = trace[max(0, len(trace) - 1 - TRACE_TAIL)]
    n, _, height, width = chunk.x.shape
    columns: Columns = {
        "adversarial": pack_images(chosen.x),
        "height": [height] * n,
        "width": [width] * n,
        "bare_attacked": bare.tolist(),
        "attack_rate": chosen.rate.tolist(),
        "final_rate": chosen.final_rate.tolist(),
        "rescued": chosen.rescued.tolist(),
        "linf_float": (chosen.unrounded - chunk.x).flatten(1).abs().amax(1).double().tolist(),
        "linf": shift.abs().amax(1).double().tolist(),
        "l2": shift.norm(dim=1).double().tolist(),
        **fidelity("attack", chosen.x, chunk.x),
        "queries": oracle.queries.tolist(),
        "gradients": oracle.gradients.tolist(),
        "dead_start": oracle.dead[:, 0].tolist(),
        "dead_tenth": oracle.dead[:, 1].tolist(),
        "trace_first": trace[0].double().tolist(),
        "trace_early": tail.double().tolist(),
        "trace_last": trace[-1].double().tolist(),
        "picture_attacked": pictures(chosen.x, cell.settings["pictures"]),
    }
    return columns, chosen.x


def _without_versions(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "versions"}


def _score(cell: Cell, chunk: _Chunk, inputs: Mapping[str, CellResult]) -> tuple[Columns, dict[str, Any]]:
    attacked = next(result for result in inputs.values() if "adversarial" in result.columns)
    images = unpack_images(attacked.columns)
    padding = np.repeat(images[:1], len(chunk.ids) - len(images), axis=0)
    adversarial = from_uint8(np.concatenate([images, padding])).to(chunk.x.device)
    goal = _goal(_built(cell)[0], chunk, _reference(cell, inputs))
    return _score_images(cell, chunk, goal, adversarial)


def _score_images(cell: Cell, chunk: _Chunk, goal: Goal, adversarial: Images) -> tuple[Columns, dict[str, Any]]:
    """Second phase: fresh draws that no attack has seen (but the one whose threat model knows them)."""
    target_settings, target = _built(cell)
    purifier_settings, purifier = _built_purifier(cell, cell.settings["defence"])
    draws = 1 if cell.settings["access"]["knowledge"] == "known_noise" else cell.settings["draws"]
    noise = score_noise(cell.settings["seed"], chunk.ids, attacked=True)
    inside = Watched(purifier, cell.settings["pictures"])
    outputs, purified, _ = draw_outputs(target, inside, adversarial, noise, draws)
    columns: Columns = {
        "purified_attacked": answers(target_settings.kind, outputs.flatten(0, 1)).unflatten(0, (-1, draws)).tolist(),
        **_paired(cell, chunk, adversarial, target, purifier),
        "broken": verdicts(goal, outputs).tolist(),
        **change("attacked", purified, chunk.x),
        "picture_purified_attacked": pictures(purified, cell.settings["pictures"]),
        **inside.columns("attacked"),
    }
    return columns, {"score_purifier": _module_digest(cell, purifier_settings, purifier)}


def _paired(cell: Cell, chunk: _Chunk, adversarial: Images, target: nn.Module, purifier: nn.Module) -> Columns:
    """Scores of the attacked images after the very draws that the clean ones met, if the recipe asks for them."""
    if not cell.settings.get("paired"):
        return {}
    noise = score_noise(cell.settings["seed"], chunk.ids, attacked=False)
    outputs, _, _ = draw_outputs(target, purifier, adversarial, noise, cell.settings["draws"])
    return {"purified_attacked_paired": outputs.double().tolist()}
