"""What the indicators look at, and how outcomes of two attacks are compared. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lustral.measures.statistics import mcnemar_exact

__all__ = [
    "AttackEvidence",
    "Evidence",
    "Gain",
    "GradientCheck",
    "Outcome",
    "Verdict",
    "clearly_above",
    "gain_of",
    "pair",
    "share",
]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Outcome = Literal["PASS", "WARN", "FAIL", "NOT RUN"]


class Verdict(NamedTuple):
    """What an indicator says: outcome, the measured figure, and one sentence."""

    verdict: Outcome
    value: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class AttackEvidence:
    """What one attack on one defence left behind; arrays run over ``images``.

    Attributes:
        role: "main" or the indicator that asked for it.
        label: name of the attack in tables.
        access: JSON of the threat model.
        broken: (n, draws), per fresh draw of the scoring phase.
        attack_rate: share of selection draws broken by the chosen image; ``final_rate`` by the last iterate.
        rescued: images that selection broke and the last iterate did not.
        dead: (n, 2), zero or non-finite gradient at the first and eleventh gradient.
        trace: (n, 3), best margin after the first question, ten questions before the end, and at the end.
        gradients: backward passes per image.
        scores: (n,) mean purified score of attacked images, for quality metrics.
        facts: hashes of the purifier that was attacked and of the one that was scored.
        attack: JSON of the attack.
    """

    role: str
    label: str
    access: dict[str, Any]
    images: tuple[str, ...]
    broken: Flags
    attack_rate: Floats
    final_rate: Floats
    rescued: Flags
    dead: Flags
    trace: Floats
    gradients: NDArray[np.int64]
    scores: Floats | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    attack: dict[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> Floats:
        """Share of scoring draws broken, per image."""
        return self.broken.mean(1)

    @property
    def fell(self) -> Flags:
        """Whether most scoring draws are broken, per image."""
        return self.rate > 0.5

    @property
    def draws(self) -> int:
        """Scoring draws per image."""
        return self.broken.shape[1]

    @property
    def knowledge(self) -> str:
        """What the attacker knew."""
        return str(self.access["knowledge"])

    def at(self, images: Sequence[str]) -> AttackEvidence:
        """The same for some of its images, in the order given."""
        if tuple(images) == self.images:
            return self
        place = {name: row for row, name in enumerate(self.images)}
        rows = np.array([place[name] for name in images], dtype=np.int64)
        names = ("broken", "attack_rate", "final_rate", "rescued", "dead", "trace", "gradients")
        cut = {name: getattr(self, name)[rows] for name in names}
        scores = None if self.scores is None else self.scores[rows]
        return replace(self, images=tuple(images), scores=scores, **cut)


@dataclass(frozen=True)
class GradientCheck:
    """How far the gradient of a defended target is from the derivative; arrays run over a few images (n,).

    Attributes:
        error: largest relative error of autograd in float64 against central differences, over directions.
        difference: largest difference in a pixel between the gradient that recomputes every step and the one
            that keeps all of them.
        cosine: of the float32 gradient of the deployed defence with the float64 one.
        zero: whether autograd says that nothing changes the result.
    """

    error: Floats
    difference: Floats
    cosine: Floats
    zero: Flags


@dataclass(frozen=True)
class Evidence:
    """Everything about one defence of one suite.

    Attributes:
        kind: "classifier" or "quality".
        gradient: declared gradient of the defence.
        images: all images that were purified clean.
        correct: (n, draws) of purified clean images over ``images``.
        attacks: all attacks on this defence, main lines and checks.
        main: label of the attack that is examined; None if the recipe marks none.
        control: the same attack on the undefended target.
        worst_of: M of the worst-of-M figure and its value with the average, as shares of broken images.
        range: lowest and highest score of a quality metric.
        success: share of the range that counts as broken.
        sign: direction of a quality attack; 0 takes either.
        cost_ratio: milliseconds of the defence over those of the bare target.
        is_random: as the defence declares; None infers it from the number of draws.
        check: what was measured of its gradient; text says why it could not be, None that nobody looked.
    """

    kind: str
    gradient: str
    images: tuple[str, ...]
    correct: Flags
    attacks: tuple[AttackEvidence, ...]
    main: str | None
    control: AttackEvidence | None = None
    worst_of: tuple[int, float, float] | None = None
    range: tuple[float, float] = (0.0, 1.0)
    success: float = 0.1
    sign: int = 1
    cost_ratio: float | None = None
    is_random: bool | None = None
    check: GradientCheck | str | None = None

    @property
    def random(self) -> bool:
        """Whether two purifications of one image differ."""
        return self.correct.shape[1] > 1 if self.is_random is None else self.is_random

    def with_role(self, role: str) -> AttackEvidence | None:
        """The check made for ``role``, if any."""
        return next((attack for attack in self.attacks if attack.role == role), None)


def share(mask: Flags) -> float:
    """Share of true values, 0 of none."""
    return float(mask.mean()) if mask.size else 0.0


def pair(a: AttackEvidence, b: AttackEvidence) -> tuple[AttackEvidence, AttackEvidence]:
    """Both, for the images that both attacks saw."""
    seen = set(a.images)
    common = tuple(name for name in b.images if name in seen)
    return a.at(common), b.at(common)


def clearly_above(more: Floats, less: Floats, draws: tuple[int, int]) -> Flags:
    """Images broken in most draws of ``more`` and not of ``less``, by more than the luck of the draws.

    Two shares of the same probability differ by 3 standard deviations about once in 400 images. With so few
    draws that no difference can be that large, only "all" against "none" counts.

    Args:
        more: shares of broken draws per image (n,).
        less: the same of the other attack.
        draws: how many draws each share is made of.
    """
    luck = min(0.99, 3 * float(np.sqrt(0.25 / draws[0] + 0.25 / draws[1])))
    return (more > 0.5) & (less <= 0.5) & (more - less > luck)


class Gain(NamedTuple):
    """How much more one attack breaks than another.

    Attributes:
        gain: share of images.
        outcome: FAIL if beyond one point and beyond chance (exact McNemar, p < 0.05), WARN if it may be
            (p <= 0.25, which is three images to none), else PASS.
    """

    gain: float
    outcome: Outcome


def gain_of(better: AttackEvidence, main: AttackEvidence) -> Gain:
    """Compare the images that each breaks in most draws, on the images that both saw."""
    theirs, ours = (attack.fell for attack in pair(better, main))
    b, c = int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
    gain = (b - c) / max(1, len(ours))
    p = mcnemar_exact(b, c)
    if gain <= 0.01 or p > 0.25:
        return Gain(gain, "PASS")
    return Gain(gain, "FAIL" if p < 0.05 else "WARN")
