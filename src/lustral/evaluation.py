"""Your model, a defence, an attacker: one call that follows the two-phase protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lustral.attacks import Access, AttackSettings, parse_access, parse_attack
from lustral.attacks.goals import Goal, Misclassify, MoveScore
from lustral.bench.evidence import AttackEvidence, Evidence, Verdict
from lustral.bench.indicators import judge
from lustral.bench.protocol import answers, attack_images, draw_outputs, score_noise, verdicts
from lustral.measures import Interval, average_broken, majority_broken, wilson_interval, worst_of
from lustral.purifiers import PurifierSettings, parse_purifier
from lustral.purifiers.module import Purifier
from lustral.targets import parse_target
from lustral.tensors import Images, check_images, from_uint8, quantise, to_uint8

__all__ = ["Accuracy", "Evaluation", "attack_picture", "evaluate"]

Spec = str | Mapping[str, Any]


@dataclass(frozen=True)
class Accuracy:
    """Shares of images in [0, 1].

    Attributes:
        average: over images and fresh draws, with its Wilson 95 % interval.
        worst: right in every one of M submissions.
        vote: right by majority of the draws.
    """

    average: float
    interval: Interval
    worst: float
    vote: float

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.average:.1%} [{low:.1%}, {high:.1%}], worst of M {self.worst:.1%}, vote {self.vote:.1%}"


@dataclass(frozen=True)
class Evaluation:
    """What a defence is worth under one attack.

    Attributes:
        n: images.
        clean, robust: accuracy on purified clean and on purified attacked images.
        adversarial: the attacked 8-bit images (n, 3, h, w), as floats.
        broken: (n, draws), per fresh draw.
        queries, gradients: passes that the attack spent per image, every draw counted.
        indicators: verdicts that one attack alone allows; the benchmark's recipes run the others.
    """

    n: int
    clean: Accuracy
    robust: Accuracy
    adversarial: Images
    broken: NDArray[np.bool_]
    queries: float
    gradients: float
    indicators: dict[str, Verdict]

    def __str__(self) -> str:
        lines = [f"{self.n} images, {self.queries:.0f} passes and {self.gradients:.0f} gradients per image"]
        lines += [f"clean accuracy  {self.clean}", f"robust accuracy {self.robust}"]
        for name, verdict in self.indicators.items():
            if verdict.verdict in ("WARN", "FAIL"):
                lines.append(f"{verdict.verdict} {name}: {verdict.detail}")
        return "\n".join(lines)


def evaluate(
    model: nn.Module | Callable[[Images], Tensor],
    images: Images,
    labels: Tensor,
    *,
    purifier: Spec | PurifierSettings = "identity",
    attack: Spec | AttackSettings = "apgd:epsilon=8/255,steps=50",
    access: Spec | Access = "exact:eot=20",
    seed: int = 0,
    draws: int = 20,
    worst_of_m: int = 10,
    batch: int = 64,
) -> Evaluation:
    """Attack a classifier behind a purifier, then score it on fresh draws of the purifier's randomness.

    Args:
        model: images (n, 3, h, w) in [0, 1] -> logits (n, k); normalisation belongs inside. In evaluation mode.
        images: clean images in [0, 1]; rounded to 8 bits first.
        labels: int64 classes (n,).
        purifier: settings, or text such as ``jpeg:quality=75``.
        attack: settings, or text such as ``pgd:epsilon=8/255,steps=40``.
        access: the threat model, or text such as ``blind`` and ``exact:eot=20``.
        seed: everything random follows from it and from the position of an image.
        draws: fresh purifications per image of a random defence.
        worst_of_m: submissions M of the worst-of-M figure; at most ``draws``.
        batch: images attacked at a time.

    Raises:
        SettingsError: unknown names or bad settings.
        ValueError: images or labels of the wrong shape or range, or a model in training mode.
    """
    check_images(images, "images")
    _check(model, images, labels)
    defence, threat = parse_purifier(purifier), parse_access(access)
    if not defence.is_random:
        draws, worst_of_m, threat = 1, 1, threat.model_copy(update={"eot": 1})
    device = str(images.device)
    module, surrogate = _built(defence, model, device), _surrogate(threat, model, device)
    settings = parse_attack(attack)
    parts: list[_Part] = []
    for start in range(0, len(images), batch):
        x, y = quantise(images[start : start + batch]), labels[start : start + batch]
        ids = [str(row) for row in range(start, start + len(x))]
        parts.append(_attack_part(model, module, surrogate, settings, threat, x, y, ids, seed, draws))
    return _summarise(parts, defence, settings, threat, worst_of_m)


def attack_picture(
    image: NDArray[np.uint8],
    target: str,
    *,
    attack: Spec | AttackSettings = "apgd",
    purifier: Spec | PurifierSettings = "identity",
    access: Spec | Access = "exact:eot=20",
    seed: int = 0,
    name: str = "picture",
) -> tuple[NDArray[np.uint8], float, float]:
    """Attack one picture through a purifier.

    Args:
        image: uint8 (h, w, 3).
        target: settings as text; a classifier is led away from the class that it sees now.
        attack: what is done.
        purifier: what stands before the target.
        access: what the attacker knows of it.
        seed: everything random follows from it and from ``name``.
        name: key of the picture.

    Returns:
        The attacked picture, and what the purified clean and attacked pictures give (class or score) in one fresh draw.
    """
    settings = parse_target(target)
    model = settings.build()
    defence = parse_purifier(purifier)
    module = _built(defence, model, "cpu")
    x = from_uint8(image[None])
    clean = draw_outputs(model, module, x, score_noise(seed, [name], attacked=False), 1).outputs.squeeze(1)
    before = float(answers(settings.kind, clean))
    goal: Goal = Misclassify(torch.tensor([int(before)]))
    if settings.kind == "quality":
        low, high = settings.range
        goal = MoveScore(clean.float(), low, high, settings.sign, settings.success)
    threat = parse_access(access)
    chosen, _ = attack_images(
        parse_attack(attack), threat, model, goal, x, seed=seed, ids=[name], purifier=module,
        surrogate=_surrogate(threat, model, "cpu"),
    )  # fmt: skip
    scored = draw_outputs(model, module, chosen.x, score_noise(seed, [name], attacked=True), 1).outputs.squeeze(1)
    attacked = to_uint8(chosen.x)[0].permute(1, 2, 0).numpy()
    return attacked, before, float(answers(settings.kind, scored))


def _built(purifier: PurifierSettings, model: Callable[[Images], Tensor], device: str) -> Purifier:
    return purifier.build(device, model if purifier.needs_target else None)


def _surrogate(access: Access, model: Callable[[Images], Tensor], device: str) -> Purifier | None:
    return None if access.surrogate is None else _built(parse_purifier(access.surrogate), model, device)


def _check(model: object, images: Images, labels: Tensor) -> None:
    if labels.shape != (len(images),) or labels.dtype != torch.int64:
        raise ValueError(f"labels must be int64 ({len(images)},), got {labels.dtype} {tuple(labels.shape)}")
    if isinstance(model, nn.Module) and model.training:
        raise ValueError("the model is in training mode; call model.eval() first")


@dataclass(frozen=True)
class _Part:
    """One batch: what the attack left and what scoring said."""

    ids: Sequence[str]
    adversarial: Images
    correct: NDArray[np.bool_]
    broken: NDArray[np.bool_]
    evidence: dict[str, NDArray[Any]]
    queries: NDArray[np.int64]


def _attack_part(
    model: Callable[[Images], Tensor],
    purifier: Purifier,
    surrogate: Purifier | None,
    attack: AttackSettings,
    access: Access,
    x: Images,
    labels: Tensor,
    ids: Sequence[str],
    seed: int,
    draws: int,
) -> _Part:
    goal = Misclassify(labels)
    clean = draw_outputs(model, purifier, x, score_noise(seed, ids, attacked=False), draws)
    chosen, oracle = attack_images(
        attack, access, model, goal, x, seed=seed, ids=ids, purifier=purifier, surrogate=surrogate,
        selection_draws=draws,
    )  # fmt: skip
    known = access.knowledge == "known_noise"
    scored = draw_outputs(model, purifier, chosen.x, score_noise(seed, ids, attacked=True), 1 if known else draws)
    trace = torch.stack([oracle.trace[0], oracle.trace[max(0, len(oracle.trace) - 11)], oracle.trace[-1]], 1)
    evidence = {
        "attack_rate": chosen.rate.double().cpu().numpy(),
        "final_rate": chosen.final_rate.double().cpu().numpy(),
        "rescued": chosen.rescued.cpu().numpy(),
        "dead": oracle.dead.numpy(),
        "trace": trace.double().numpy(),
        "gradients": oracle.gradients.numpy(),
    }
    wrong = verdicts(goal, clean.outputs).cpu().numpy()
    return _Part(ids, chosen.x, ~wrong, verdicts(goal, scored.outputs).cpu().numpy(), evidence, oracle.queries.numpy())


def _summarise(
    parts: Sequence[_Part], defence: PurifierSettings, attack: AttackSettings, access: Access, m: int
) -> Evaluation:
    correct, broken = (np.concatenate([getattr(part, name) for part in parts]) for name in ("correct", "broken"))
    columns: dict[str, Any] = {key: np.concatenate([part.evidence[key] for part in parts]) for key in parts[0].evidence}
    ids = tuple(name for part in parts for name in part.ids)
    main = AttackEvidence(
        role="main",
        label=attack.name,
        access=access.to_json(),
        attack=attack.to_json(),
        images=ids,
        broken=broken,
        **columns,
    )
    robust = _accuracy(broken, min(m, broken.shape[1]))
    tried = (m, 1 - robust.average, 1 - robust.worst) if defence.is_random else None
    found = judge(
        Evidence("classifier", defence.gradient, ids, correct, (main,), main.label, worst_of=tried,
                 is_random=defence.is_random)
    )  # fmt: skip
    return Evaluation(
        n=len(ids),
        clean=_accuracy(~correct, min(m, correct.shape[1])),
        robust=robust,
        adversarial=torch.cat([part.adversarial for part in parts]),
        broken=broken,
        queries=float(np.concatenate([part.queries for part in parts]).mean()),
        gradients=float(columns["gradients"].mean()),
        indicators={name: verdict for name, verdict in found.items() if verdict.verdict != "NOT RUN"},
    )


def _accuracy(broken: NDArray[np.bool_], m: int) -> Accuracy:
    n = len(broken)
    average = 1 - float(average_broken(broken).mean())
    return Accuracy(
        average=average,
        interval=wilson_interval(round(average * n), n),
        worst=1 - float(worst_of(broken, m).mean()),
        vote=1 - float(majority_broken(broken, broken.shape[1]).mean()),
    )
