"""The One Pixel attack: differential evolution over a few pixels and their colours."""

from __future__ import annotations

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

__all__ = ["OnePixel", "evolve", "repaint"]


def repaint(genes: Tensor, x: Images) -> tuple[Tensor, Tensor]:
    """Which pixels change, and their new colours.

    Args:
        genes: row, column, red, green and blue of every pixel, each in [0, 1): (m, 5 * pixels).
        x: images (m, 3, h, w); only their size and type matter.

    Returns:
        Places in a flattened image (m, 3, pixels) and the 8-bit colours to put there (m, 3, pixels). Where several
        fall on the same pixel all have the colour of the last of them.
    """
    import torch

    height, width = x.shape[2:]
    row, column, *colours = genes.view(len(genes), -1, 5).unbind(2)
    place = (row * height).long().clamp_max(height - 1) * width + (column * width).long().clamp_max(width - 1)
    number = torch.arange(place.shape[1])
    last = torch.where(place[:, :, None] == place[:, None], number, 0).amax(2)
    levels = torch.stack(colours, 1).mul(256).floor_().clamp_max_(255).to(x) / 255  # (m, 3, pixels)
    colour = levels.gather(2, last.to(x.device)[:, None].expand_as(levels))
    return place.to(x.device)[:, None].expand_as(levels), colour


def evolve(members: Tensor, scores: Tensor, noise: Noise, low: float, high: float, base: str) -> Tensor:
    """The next candidates, one for each member: ``base + F * (one - another)``.

    Args:
        members: (m, k, d) in [0, 1), k at least 4.
        scores: of the members (m, k), higher is better.
        noise: one stream per image.
        low: smallest factor F, which is drawn once per image.
        high: largest.
        base: "best" is the member with the highest score, "random" any.

    Returns:
        Candidates (m, k, d) in [0, 1); what the formula puts outside is drawn anew.
    """
    import torch

    images, count = members.shape[:2]
    order = noise.uniform(members.new_empty(images, count, count))
    order.diagonal(dim1=1, dim2=2).fill_(-1)  # no candidate is made of its own member
    chosen = order.topk(3, dim=2).indices  # (m, k, 3), all different
    every = torch.arange(images)[:, None]
    first, one, another = (members[every, chosen[:, :, which]] for which in range(3))
    start = members[every, scores.argmax(1, keepdim=True)] if base == "best" else first
    factor = noise.numbers()[:, :, None] * (high - low) + low
    candidates = start + factor * (one - another)
    inside = (candidates >= 0) & (candidates < 1)
    return candidates.where(inside, noise.uniform(candidates))


class OnePixel(AttackSettings):
    """Look for a few pixels whose colours matter most, by differential evolution without crossover.

    The loss is the margin for a classifier and the score for a quality metric; the oracle averages it over
    draws of the defence. All members of a population are asked about before any is replaced.

    It is no attack of a norm: ``epsilon`` bounds nothing, and the distances found are part of every result.

    Cost: ``queries`` forward passes per image and draw; less with ``early_stop``, whose questions about rounding are
        among them.

    Args:
        norm: has no meaning here.
        epsilon: bounds nothing; 1 and more are all images. The strength is ``pixels``.
        pixels: how many may change at most.
        queries: most questions per image, the first population among them.
        population: members.
        base: what the differences are added to: the "best" member, as in the quality benchmark, or a "random" one, as
            in Su et al.
        low: smallest weight of a difference, drawn anew for every generation.
        high: largest; 0.5 in Su et al.
        early_stop: a classifier's images leave as soon as most draws are broken, also of a second question. For a
            random defence this trusts these two: leave it off there.

    The defaults are those of the quality benchmark's code, 11 populations; its table 9 has 6. Su et al. have
    ``one_pixel:pixels=1,population=400,queries=40400,base=random,high=0.5``.

    Source: Su et al., arXiv:1710.08864, section 3.2; numbers of Gushchin et al., arXiv:2408.01541, table 9; Storn and
        Price, doi:10.1023/A:1008202821328.
    Differs: the first population is a Latin hypercube, in colours too, as in the benchmark. The benchmark has fewer
        members for more than 20 pixels, and its rows and columns may fall one past the image. What leaves the range
        is drawn anew. Pixels that fall on one place count as one.
    """

    name: ClassVar[str] = "one_pixel"
    source: ClassVar[str] = "arXiv:1710.08864, section 3.2"
    needs: ClassVar = "scores"
    strength: ClassVar[str] = "pixels"
    norm: Literal["linf"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride] settings are frozen
    epsilon: Number = Field(default=UNBOUNDED, ge=1)
    pixels: int = Field(default=10, ge=1)
    queries: int = Field(default=3300, ge=1)
    population: int = Field(default=300, ge=4)
    base: Literal["best", "random"] = "best"
    low: float = Field(default=0.5, gt=0, le=2)
    high: float = Field(default=1.0, gt=0, le=2)
    early_stop: bool = True

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        import torch

        from lustral.attacks.questions import Questions

        questions, point, candidates = (
            Questions(oracle, x, self.queries, self.early_stop),
            x.clone(),
            self._first(noise),
        )
        members, scores = candidates, torch.full(candidates.shape[:2], -torch.inf, dtype=torch.float64)
        while True:
            for index in range(self.population):
                place, colour = repaint(candidates[:, index], x)
                flat = point.flatten(2)
                before = flat.gather(2, place)
                flat.scatter_(2, place, colour)
                loss = questions.ask(point).cpu()
                flat.scatter_(2, place, before)
                won = loss >= scores[:, index]
                scores[won, index] = loss[won].to(scores)
                members[won, index] = candidates[won, index]
                if (stay := questions.leave()) is not None:
                    if not bool(stay.any()):
                        return questions.best.x
                    point, stay = point[stay], stay.cpu()
                    members, candidates, scores = members[stay], candidates[stay], scores[stay]
                    noise = noise.select(stay)
            candidates = evolve(members, scores, noise, self.low, self.high, self.base)

    def _first(self, noise: Noise) -> Tensor:
        """A Latin hypercube: of every number each of ``population`` equal parts of [0, 1) has one member."""
        import torch

        like = torch.empty(len(noise), 5 * self.pixels, self.population)
        part = noise.uniform(like).argsort(dim=2, stable=True)
        return ((part + noise.uniform(like)) / self.population).transpose(1, 2).contiguous()
