"""Small problems with known answers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lustral.attacks import Access, AttackSettings
from lustral.attacks.goals import Goal, Misclassify, MoveScore
from lustral.attacks.oracle import Oracle
from lustral.seeds import Noise


def noise(n: int, purpose: str = "attack", seed: int = 0) -> Noise:
    return Noise(seed, purpose, [f"image-{row}" for row in range(n)])


def images(n: int, side: int = 4, seed: int = 0, low: int = 60, high: int = 196) -> Tensor:
    """8-bit images far enough from 0 and 1 that a ball of 16/255 stays inside."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (n, 3, side, side), generator=generator).double() / 255


class Linear:
    """Two classes; the logits differ by ``w x + b``, positive for class 1."""

    def __init__(self, side: int = 4, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.w = torch.randn(3 * side * side, generator=generator, dtype=torch.float64)
        self.b = -0.5 * self.w.sum()

    def value(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w + self.b

    def __call__(self, x: Tensor) -> Tensor:
        value = self.value(x)
        return torch.stack([torch.zeros_like(value), value], 1)

    def towards(self, labels: Tensor, x: Tensor) -> Tensor:
        """The steepest direction away from the labels, (n, 3, h, w)."""
        sign = 1.0 - 2.0 * labels.double()
        return (sign[:, None] * self.w).view_as(x)


def network(classes: int = 5, seed: int = 0, side: int = 8, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A small smooth convolutional classifier with fixed weights."""
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2 * side * side, classes)
    )
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) / max(weight[0].numel(), 1) ** 0.5)
    return net.to(dtype)


def setup(
    settings: AttackSettings,
    target: Callable[[Tensor], Tensor],
    x: Tensor,
    labels: Tensor | None = None,
    goal: Goal | None = None,
    access: Access | None = None,
    **options: object,
) -> Oracle:
    """An oracle for one attack; labels are the target's own answers unless given."""
    if goal is None:
        with torch.no_grad():
            goal = Misclassify(target(x).argmax(1) if labels is None else labels)
    return Oracle(
        target, goal, x, noise(len(x), "oracle"), access or Access(), ball=settings.ball(), **{"batch": 512, **options}
    )


def score_goal(target: Callable[[Tensor], Tensor], x: Tensor, sign: int = 1) -> MoveScore:
    with torch.no_grad():
        return MoveScore(target(x), 0.0, 1.0, sign)


class Counter:
    """Counts images that pass through a target."""

    def __init__(self, target: Callable[[Tensor], Tensor]) -> None:
        self.target, self.seen = target, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return self.target(x)


def assert_asks(settings: AttackSettings, asked: int) -> None:
    """An attack on three images asks the target, and is charged for, exactly so many questions per image."""
    target = Counter(network())
    oracle = setup(settings, target, images(3, 8))
    target.seen = 0
    settings.run(oracle, oracle.clean, noise(3))
    assert target.seen == 3 * asked
    assert oracle.queries.tolist() == [asked] * 3


def half_broken(settings: AttackSettings) -> tuple[Tensor, Oracle, Tensor]:
    """Result, oracle and which images are broken after rounding (40,), of an attack that breaks only some."""
    model, x = Linear(), images(40)
    oracle = setup(settings, model, x)
    result = settings.run(oracle, x, noise(40))
    broken = oracle.goal.broken(model(oracle.rounded(result)), torch.arange(40))
    assert 5 < int(broken.sum()) < 35, "the problem should have both kinds"
    return result, oracle, broken


class Planes:
    """Several classes with linear logits: the nearest boundary is known in closed form."""

    def __init__(self, classes: int = 6, side: int = 4, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.w = torch.randn(classes, 3 * side * side, generator=generator, dtype=torch.float64)
        self.b = -0.5 * self.w.sum(1)

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w.T + self.b

    def distance(self, x: Tensor, norm: str = "l2") -> Tensor:
        """How far every image (n, ...) is from the nearest boundary of its class (n,), without regard to [0, 1]."""
        z = self(x)
        y = z.argmax(1, keepdim=True)
        slopes = self.w - self.w[y]  # (n, k, values)
        dual = slopes.abs().sum(2) if norm == "linf" else slopes.norm(dim=2)
        return ((z.gather(1, y) - z) / dual).scatter(1, y, torch.inf).amin(1)
