"""Patch-RS of Sparse-RS: random search for a small square patch and its place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.attacks.budgets import UNBOUNDED
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["PatchRS", "paint", "patch_share", "turn_over"]

_HALVINGS = (10, 50, 200, 500, 1000, 4000, 8000)  # of 10,000 iterations
_SQUARES = 1000  # of the first patch


def patch_share(iteration: int, queries: int, first: float, rescale: bool) -> float:
    """Share of the patch that changes at iteration 1, 2, ..., queries - 1: ``first``, halved at fixed iterations."""
    when = int(iteration * 10_000 / queries) if rescale else iteration
    return first / 2 ** sum(when > at for at in _HALVINGS)


def paint(patch: Tensor, side: int | Tensor, draw: Tensor) -> Tensor:
    """A patch with one square in a new colour, each of whose channels is 0 or 1.

    Args:
        patch: (m, 3, s, s).
        side: of the square in pixels, at most s; one for all or one for each (m,).
        draw: uniform in [0, 1) (m, 5): place down and across, three channels.
    """
    import torch

    span, reach = torch.arange(patch.shape[2], device=patch.device), patch.shape[2] + 1 - side
    down, across = ((draw[:, axis] * reach).floor()[:, None] for axis in range(2))
    end = side if isinstance(side, int) else side[:, None]
    rows, columns = ((span >= start) & (span < start + end) for start in (down, across))
    inside = rows[:, None, :, None] & columns[:, None, None]
    return torch.where(inside, (draw[:, 2:5] >= 0.5).to(patch)[:, :, None, None], patch)


def turn_over(patch: Tensor, draw: Tensor) -> Tensor:
    """A patch (m, 3, s, s) of zeros and ones with one of its values turned over; ``draw`` as in ``paint``."""
    import torch

    side, everyone = patch.shape[2], torch.arange(len(patch), device=patch.device)
    row, column, channel = ((draw[:, k] * size).long() for k, size in enumerate((side, side, 3)))
    where = everyone, channel, row, column
    turned = patch.clone()
    turned[where] = 1 - patch[where]
    return turned


class PatchRS(AttackSettings):
    """Random search for a square patch: its colours, all of them corners of the colour cube, and its place.

    The first patch is a heap of random squares at a random place. Then a square of it takes a new random colour, or
    every ``period`` iterations the patch moves; what raises the loss is kept. Squares shrink with time, moves get
    shorter. In the second half of the time in which squares are one pixel large, one channel of a pixel is turned over.

    The loss is the margin for a classifier and the score for a quality metric; the oracle averages it over
    draws of the defence. All is drawn per image.

    It is no attack of a norm: ``epsilon`` bounds nothing, and the distances found are part of every result.

    Cost: ``queries`` forward passes per image and draw; less with ``early_stop``, whose questions about rounding are
        among them.

    Args:
        norm: has no meaning here.
        epsilon: bounds nothing; 1 and more are all images. The strength is ``area``.
        area: most pixels that may change; the patch is the largest square within it and within the image.
        queries: questions per image, the first patch among them.
        first_share: share of the patch that the first squares cover ("alpha"); 0.8 in the quality benchmark, 0.4 in
            Sparse-RS.
        period: every so many iterations the patch moves.
        rescale: scale the schedule of squares, given for 10,000 questions, to ``queries``.
        early_stop: a classifier's images leave as soon as most draws are broken, also of a second question. For a
            random defence this trusts these two: leave it off there.

    Source: Croce et al., arXiv:2006.12834, section 5 (image-specific patches) and its published code; numbers of
        Gushchin et al., arXiv:2408.01541, table 9.
    Differs: the side is the root of the area rounded down, not up, so that no more than the area changes. Moves reach
        as far down as ``0.75 * (1 - share of the time gone)`` of the height and as far across as that of the width,
        for images that are not square. Each image has its own squares, the published code one place for all. Seeds are
        those of the run, where the benchmark has one for all.
    """

    name: ClassVar[str] = "patch_rs"
    source: ClassVar[str] = "arXiv:2006.12834, section 5"
    needs: ClassVar = "scores"
    strength: ClassVar[str] = "area"
    norm: Literal["linf"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride] settings are frozen
    epsilon: Number = Field(default=UNBOUNDED, ge=1)
    area: int = Field(default=169, ge=1)
    queries: int = Field(default=10_000, ge=1)
    first_share: float = Field(default=0.8, gt=0, le=1)
    period: int = Field(default=4, ge=2)
    rescale: bool = True
    early_stop: bool = True

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        import torch

        from lustral.attacks.questions import Questions

        questions, point, clean = Questions(oracle, x, self.queries, self.early_stop), x.clone(), x
        side = min(math.isqrt(self.area), *x.shape[2:])
        room = torch.tensor([size - side for size in x.shape[2:]], device=x.device)
        place = (noise.numbers(2).to(x.device) * (room + 1)).long()
        patch = new_patch = _heap(x.new_zeros(len(x), 3, side, side), noise)
        new_place, best = place, x.new_full((len(x),), -torch.inf)
        numbers = noise.numbers((self.queries - 1) * 5).view(len(x), self.queries - 1, 5).to(x.device)
        single = self.single(side)
        for iteration in range(1, self.queries + 1):
            where = _window(new_place, side)
            point[where] = new_patch
            loss = questions.ask(point).to(best)
            point[where] = clean[where]
            better = loss > best
            best = torch.where(better, loss, best)
            patch = torch.where(better[:, None, None, None], new_patch, patch)
            place = torch.where(better[:, None], new_place, place)
            if (stay := questions.leave()) is not None:
                point, clean, patch, place, best = point[stay], clean[stay], patch[stay], place[stay], best[stay]
                numbers = numbers[stay]
                if not len(point):
                    break
            draw = numbers[:, iteration - 1]
            reach = torch.tensor([self.radius(iteration, size) for size in x.shape[2:]], device=x.device)
            new_patch, new_place = patch, place
            if iteration % self.period == 0 and bool((reach * room).any()):
                shift = (draw[:, :2] * (2 * reach + 1)).long() - reach
                new_place = torch.minimum((place + shift).clamp_min(0), room)
            elif iteration > single:
                new_patch = turn_over(patch, draw)
            else:
                new_patch = paint(patch, self.side(iteration, side), draw)
        return questions.best.x

    def side(self, iteration: int, patch: int) -> int:
        """Side of the square that changes at iteration 1, 2, ... of a patch of side ``patch``, in pixels."""
        return max(int(math.sqrt(patch_share(iteration, self.queries, self.first_share, self.rescale)) * patch), 1)

    def single(self, patch: int) -> int:
        """Last iteration before single channels change: half of the time in which squares are one pixel is over."""
        first = next((i for i in range(1, self.queries) if self.side(i, patch) == 1), self.queries)
        return first + (self.queries - first) // 2

    def radius(self, iteration: int, size: int) -> int:
        """How far at most the patch moves at iteration 1, 2, ... in an image of this height or width, in pixels."""
        return int(0.75 * (self.queries - iteration) / self.queries * size)


def _heap(patch: Tensor, noise: Noise) -> Tensor:
    """Random squares one over the other, each at most the root of the patch's side large; (m, 3, s, s)."""
    largest = max(math.ceil(math.sqrt(patch.shape[2])) - 1, 1)
    draws = noise.numbers(_SQUARES * 6).view(len(patch), _SQUARES, 6).to(patch.device)
    for draw in draws.unbind(1):
        patch = paint(patch, 1 + (draw[:, 5] * largest).long(), draw[:, :5])
    return patch


def _window(place: Tensor, side: int) -> tuple[Tensor, ...]:
    """Indices of the patches at ``place`` (m, 2) in a batch of images."""
    import torch

    span = torch.arange(side, device=place.device)
    rows, columns = ((place[:, axis, None] + span)[:, None] for axis in range(2))  # (m, 1, s)
    images = torch.arange(len(place), device=place.device)[:, None, None, None]
    channels = torch.arange(3, device=place.device)[None, :, None, None]
    return images, channels, rows[:, :, :, None], columns[:, :, None]
