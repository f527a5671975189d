"""Content distance: how far features of an image are from those of the clean one, stage by stage of a purifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lustral.analysis.features import choose_layers, feature_maps
from lustral.analysis.stages import Shot, purify_in_stages
from lustral.attacks import Access, AttackSettings
from lustral.attacks.goals import Goal, Misclassify, MoveScore
from lustral.bench.protocol import attack_images, score_noise
from lustral.data import DataSettings
from lustral.purifiers import PurifierSettings, parse_purifier
from lustral.purifiers.module import Purifier
from lustral.settings import SettingsError
from lustral.targets import TargetSettings
from lustral.targets.module import Target
from lustral.tensors import Images, from_uint8

__all__ = ["ATTACKED", "CLEAN", "Content", "ContentPlan", "Stage", "analyse_content", "content_distance"]

CLEAN, ATTACKED = "clean", "attacked"

Doubles = NDArray[np.float64]
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class ContentPlan:
    """What is analysed.

    Args:
        data: images with classes or scores.
        target: what is attacked and whose loss is reported.
        purifiers: each is looked at stage by stage.
        attack: what is done to the images.
        access: what the attacker knows; blind attacks are made once and shared by all purifiers.
        features: network whose layers are compared; the target if None.
        layers: names of its modules; every stage if none is given.
        every: also look at every so many states of iterative purifiers.
        seed: everything random follows from it.
        batch: images at a time.
        device: where the networks run.
    """

    data: DataSettings
    target: TargetSettings
    purifiers: tuple[PurifierSettings, ...]
    attack: AttackSettings
    access: Access
    features: TargetSettings | None = None
    layers: tuple[str, ...] = ()
    every: int | None = None
    seed: int = 0
    batch: int = 64
    device: str = "cpu"

    def to_json(self) -> dict[str, Any]:
        """Everything the result depends on but weights and versions."""
        family = {name: getattr(self, name) for name in ("data", "target", "attack", "access", "features")}
        return {
            **{name: None if value is None else value.to_json() for name, value in family.items()},
            "purifiers": [purifier.to_json() for purifier in self.purifiers],
            "layers": list(self.layers),
            **{name: getattr(self, name) for name in ("every", "seed", "batch", "device")},
        }


@dataclass
class Stage:
    """One stage on the way of all images.

    Attributes:
        purifier: its number among the purifiers.
        name: "clean", "attacked", "1 super_resolve" ...
        distance: layer -> content distance to the clean image (n,).
        output: cross-entropy with the label (n,), or the score of a quality target.
        correct: whether the label is predicted (n,); empty for a quality target.
    """

    purifier: int
    name: str
    distance: dict[str, Doubles] = field(default_factory=dict)
    output: Doubles = field(default_factory=lambda: np.zeros(0))
    correct: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))


@dataclass(frozen=True)
class Content:
    """Result of ``analyse_content``: the stages of every purifier in turn, each beginning with clean and attacked."""

    plan: ContentPlan
    layers: tuple[str, ...]
    kind: str
    images: tuple[str, ...]
    stages: tuple[Stage, ...]


def content_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of feature maps (n, ...), per image (n,).

    Source: Gatys et al., CVPR 2016, equation 1; Park et al. 2025 (PuriFlow), equation 7.
    Differs: a mean over all features instead of a half of their sum; ratios of distances are the same.
    """
    return (a - b).square().flatten(1).mean(1)


def analyse_content(plan: ContentPlan, tell: Tell = lambda _: None) -> Content:
    """Attack images, purify them, and compare features with those of the clean images after every stage.

    All stages of a purifier belong to one purification with the first draw of the scoring phase.

    Args:
        plan: what to do.
        tell: told of every step: done, total, what.

    Cost: per image one attack (per purifier if it is adaptive), and one purification per purifier.

    Raises:
        SettingsError: an unknown layer, no purifier, or data whose truth the target has no use for.
    """
    _check(plan)
    target, features = _targets(plan)
    images = plan.data.load()
    modules = [_build(purifier, plan, target) for purifier in plan.purifiers]
    layers = choose_layers(features, plan.layers, from_uint8(images.take([0]).stack()).to(plan.device))
    starts = range(0, len(images), plan.batch)
    pieces: list[list[Stage]] = []
    for number, start in enumerate(starts):
        part = images.take(range(start, min(start + plan.batch, len(images))))
        bench = _Bench(plan, target, features, layers, from_uint8(part.stack()).to(plan.device), part.ids, part.truth)
        steps = bench.run(modules)
        found: list[Stage] = []
        for index, (what, stages) in enumerate(steps):
            found += stages
            per_batch = 2 * len(modules) if plan.access.is_adaptive else len(modules) + 1
            tell({"done": number * per_batch + index + 1, "total": len(starts) * per_batch, "what": what})
        pieces.append(found)
    return Content(plan, layers, plan.target.kind, images.ids, _joined(pieces))


def _check(plan: ContentPlan) -> None:
    if not plan.purifiers or plan.batch < 1 or (plan.every is not None and plan.every < 1):
        raise SettingsError("at least one purifier is needed, and batch and every must be at least 1")
    if plan.target.kind not in plan.attack.kinds:
        raise SettingsError(f"{plan.attack.name} has no meaning for a {plan.target.kind}")
    if plan.target.kind == "classifier" and plan.data.kind != "classes":
        raise SettingsError(f"cross-entropy needs labels, and {plan.data.name} has none")


def _targets(plan: ContentPlan) -> tuple[Target, Target]:
    target = plan.target.build(plan.device)
    return target, target if plan.features is None else plan.features.build(plan.device)


def _build(purifier: PurifierSettings, plan: ContentPlan, target: Target) -> Purifier:
    return purifier.build(plan.device, target if purifier.needs_target else None)


def _joined(batches: Sequence[Sequence[Stage]]) -> tuple[Stage, ...]:
    """Stages over all images; those that not every batch went through (adaptive numbers of steps) are left out."""
    tables = [{(stage.purifier, stage.name): stage for stage in batch} for batch in batches]
    joined: list[Stage] = []
    for purifier, name in tables[0]:
        parts = [table[purifier, name] for table in tables if (purifier, name) in table]
        if len(parts) == len(tables):
            distance = {key: np.concatenate([part.distance[key] for part in parts]) for key in parts[0].distance}
            output, correct = (np.concatenate([getattr(part, key) for part in parts]) for key in ("output", "correct"))
            joined.append(Stage(purifier, name, distance, output, correct))
    return tuple(joined)


@dataclass(frozen=True)
class _Bench:
    """One batch of images and what they are measured with."""

    plan: ContentPlan
    target: Target
    features: Target
    layers: tuple[str, ...]
    x: Images
    ids: tuple[str, ...]
    truth: NDArray[Any]

    def run(self, modules: Sequence[Purifier]) -> Iterator[tuple[str, list[Stage]]]:
        """What was done and the stages that came of it, step by step."""
        shared = None
        for number, module in enumerate(modules):
            name = module.settings.name
            if self.plan.access.is_adaptive or shared is None:
                shared = self._attacked(module)
                yield f"attack on {name}" if self.plan.access.is_adaptive else "attack", []
            noise = score_noise(self.plan.seed, self.ids, attacked=True).draws(0, 1)
            shots = purify_in_stages(module, shared, noise, self.plan.every)
            yield name, self._measure(number, [Shot(CLEAN, self.x), Shot(ATTACKED, shared), *shots])

    def _attacked(self, module: Purifier) -> Images:
        plan, adaptive = self.plan, self.plan.access.is_adaptive
        surrogate = parse_purifier(plan.access.surrogate) if plan.access.surrogate else None
        chosen, _ = attack_images(
            plan.attack,
            plan.access if module.settings.is_random else plan.access.model_copy(update={"eot": 1}),
            self.target,
            self._goal(module if adaptive else None),
            self.x,
            seed=plan.seed,
            ids=self.ids,
            purifier=module if adaptive else None,
            surrogate=None if surrogate is None else _build(surrogate, plan, self.target),
            selection_draws=20 if adaptive and module.settings.is_random else 1,
        )
        return chosen.x

    def _goal(self, module: Purifier | None) -> Goal:
        settings = self.plan.target
        if settings.kind == "classifier":
            return Misclassify(torch.as_tensor(self.truth, device=self.x.device))
        low, high = settings.range
        noise = score_noise(self.plan.seed, self.ids, attacked=False).draws(0, 1)
        with torch.no_grad():
            reference = self.target(self.x if module is None else module(self.x, noise))
        return MoveScore(reference.float(), low, high, settings.sign, settings.success)

    def _measure(self, purifier: int, shots: Sequence[Shot]) -> list[Stage]:
        clean, _ = feature_maps(self.features, self.layers, self.x)
        stages: list[Stage] = []
        for shot in shots:
            maps, own = feature_maps(self.features, self.layers, shot.images)
            if self.features is not self.target:
                with torch.no_grad():
                    own = self.target(shot.images)
            distance = {
                layer: content_distance(maps[layer].double(), clean[layer].double()).cpu().numpy()
                for layer in self.layers
            }
            stages.append(Stage(purifier, shot.name, distance, *self._judged(own)))
        return stages

    def _judged(self, output: Tensor) -> tuple[Doubles, NDArray[np.bool_]]:
        if self.plan.target.kind == "quality":
            return output.double().cpu().numpy(), np.zeros(0, dtype=bool)
        labels = torch.as_tensor(self.truth, device=output.device)
        loss = functional.cross_entropy(output.double(), labels, reduction="none")
        return loss.cpu().numpy(), (output.argmax(1) == labels).cpu().numpy()
