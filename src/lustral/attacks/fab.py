"""Fast adaptive boundary: the shortest way across the decision boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.attacks.base import AttackSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.nearest import Nearest
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["FAB"]


class FAB(AttackSettings):
    """Walk along the decision boundary towards the clean image; broken if the perturbation fits into epsilon.

    Cost: per image and draw one loss, ``restarts * steps`` gradients and as many losses for each target class
    (each step takes a gradient for every wrong class if not ``targeted``), and two losses at the end; targeted
    also one forward pass. An image that fits into epsilon takes no part in later walks.

    Args:
        steps: steps per walk.
        targeted: walk to the boundary of one likely wrong class after the other (FAB-T) instead of to the
            nearest of all boundaries, which needs all their gradients at every step.
        targets: number of classes for ``targeted``, at most all wrong ones.
        restarts: walks per class; the first starts at the clean image, the others at random near it.
        alpha_max: largest share of the pull towards the clean image.
        overshoot: factor of the step onto the linearised boundary ("eta").
        retreat: share of the perturbation that is kept after a step across the boundary ("beta").
        early_stop: images leave as soon as most draws are broken within epsilon, also after rounding to 8 bits.
            For a random defence this trusts one question: leave it off there.

    Source: Croce and Hein, arXiv:1907.02044, algorithm 1; targets as in AutoAttack, arXiv:2003.01690.
    Differs: the gap between two logits is averaged over draws; no final search along the last segment; the
        result is the nearest point or, with a larger margin, the point beyond it on the border of the ball:
        rounding to 8 bits would undo a barely broken image. Where no point fits into epsilon it is the nearest
        one drawn into the ball.
    """

    name: ClassVar[str] = "fab"
    source: ClassVar[str] = "arXiv:1907.02044, algorithm 1"
    needs: ClassVar = "gradients"
    kinds: ClassVar = ("classifier",)
    steps: int = Field(default=100, ge=1)
    targeted: bool = True
    targets: int = Field(default=9, ge=1)
    restarts: int = Field(default=1, ge=1)
    alpha_max: float = Field(default=0.1, ge=0, le=1)
    overshoot: float = Field(default=1.05, ge=1)
    retreat: float = Field(default=0.9, gt=0, le=1)
    early_stop: bool = False

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.attacks.nearest import within

        return within(self, oracle, x, self.nearest(oracle, x, noise))

    def nearest(self, oracle: Oracle, x: Images, noise: Noise) -> Nearest:
        """The nearest broken points that the walks find, however far they are."""
        from lustral.attacks.nearest import Nearest

        found = Nearest(x.clone(), x.new_full((len(x),), float("inf")))
        found.distance[oracle.broken(x)] = 0
        for aims in self._aims(oracle, x):
            for restart in range(self.restarts):
                start = self._start(x, found.distance, noise) if restart else x
                rows = (found.distance > self.epsilon).nonzero().flatten()
                if not len(rows):
                    return found
                self._walk(oracle, x[rows], start[rows], rows, aims[rows], found)
        return found

    def _aims(self, oracle: Oracle, x: Tensor) -> list[Tensor]:
        """Classes (n, c) whose boundaries one walk after the other looks at."""
        import torch

        from lustral.attacks.goals import rivals

        if self.targeted:
            return list(rivals(oracle.goal, oracle.logits(x), self.targets).split(1, dim=1))
        return [rivals(oracle.goal, torch.zeros(len(x), oracle.classes, device=x.device))]

    def _start(self, x: Tensor, distance: Tensor, noise: Noise) -> Tensor:
        """A random point half as far as the nearest broken one, or as epsilon if that is nearer."""
        from lustral.attacks.balls import lengths

        d = 2 * noise.uniform(x) - 1 if self.norm == "linf" else noise.normal(x)
        far = distance.clamp_max(self.epsilon) / 2 / lengths(d, self.norm).clamp_min(1e-12)
        return (x + far[:, None, None, None] * d).clamp_(0, 1)

    def _walk(self, oracle: Oracle, clean: Tensor, x: Tensor, rows: Tensor, aims: Tensor, found: Nearest) -> None:
        """One walk from ``x``; offers every broken point."""
        import torch

        from lustral.attacks.balls import lengths
        from lustral.attacks.best import leaving, may_stop

        stop = may_stop(oracle, self.early_stop)
        for _ in range(self.steps):
            x = self._move(clean, x, *self._boundary(oracle, x, rows, aims))
            broken = oracle.loss(x, rows, "margin").broken
            distance = lengths(x - clean, self.norm)
            near = broken & (distance <= self.epsilon)
            leave = leaving(oracle, x, rows, near) if stop else torch.zeros_like(near)
            found.offer(rows, x, distance, broken)
            x = torch.where(broken[:, None, None, None], clean + self.retreat * (x - clean), x)
            if bool(leave.any()):
                clean, x, rows, aims = clean[~leave], x[~leave], rows[~leave], aims[~leave]
                if not len(rows):
                    return
        never = found.distance[rows].isinf()
        found.x[rows[never]] = x[never]

    def _boundary(self, oracle: Oracle, x: Tensor, rows: Tensor, aims: Tensor) -> tuple[Tensor, Tensor]:
        """Gap and gradient of the linearised boundary that is nearest in the norm, among those of ``aims``."""
        import torch

        gap, slope, nearest = x.new_zeros(len(x)), torch.zeros_like(x), x.new_full((len(x),), float("inf"))
        for wanted in aims.T:
            value, _, gradient = oracle.gradient(x, rows, "difference", wanted)
            flat = gradient.flatten(1)
            dual = flat.abs().sum(1) if self.norm == "linf" else flat.norm(dim=1)
            far = value.abs() / dual.clamp_min(1e-12)
            closer = far < nearest
            nearest = torch.minimum(far, nearest)
            gap, slope = torch.where(closer, value, gap), torch.where(closer[:, None, None, None], gradient, slope)
        return gap, slope

    def _move(self, clean: Tensor, x: Tensor, gap: Tensor, slope: Tensor) -> Tensor:
        """A step onto the linearised boundary, pulled towards the point of it that is nearest to the clean image."""
        from lustral.attacks.balls import lengths
        from lustral.attacks.hyperplane import shortest_step

        gap_at_clean = gap + (slope * (clean - x)).flatten(1).sum(1)
        here, there = shortest_step(x, gap, slope, self.norm), shortest_step(clean, gap_at_clean, slope, self.norm)
        near, far = (lengths(d, self.norm).clamp_min(1e-8) for d in (here, there))
        pull = (near / (near + far)).clamp_max(self.alpha_max)[:, None, None, None]
        return ((x + self.overshoot * here) * (1 - pull) + (clean + self.overshoot * there) * pull).clamp_(0, 1)
