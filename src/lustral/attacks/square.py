"""The Square attack: random search over square windows, without gradients."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.attacks.base import AttackSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.balls import Region
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Square", "bump", "window_share"]

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 iterations: arXiv:1912.00049, section 4


def window_share(iteration: int, iterations: int, first: float, rescale: bool) -> float:
    """Share of the image that the window covers: ``first``, halved at fixed iterations.

    Args:
        iteration: 1, 2, ..., iterations.
        iterations: length of the run.
        first: share at the start, in (0, 1].
        rescale: whether the halvings, given for 10,000 iterations, are scaled to the length of the run.
    """
    when = int(iteration * 10_000 / iterations) if rescale else iteration
    return first / 2 ** sum(when > at for at in _HALVINGS)


@functools.lru_cache(maxsize=64)
def bump(side: int) -> Tensor:
    """Unit-length window (side, side) of the L2 attack: a positive pyramid over a negative one.

    Source: arXiv:1912.00049, equation 2.
    """
    import torch

    def pyramid(height: int, width: int) -> Tensor:
        n = height // 2
        far = torch.maximum(
            (torch.arange(1, height + 1) - n - 1).abs()[:, None], (torch.arange(1, width + 1) - width // 2 - 1).abs()
        )
        terms = torch.tensor([1 / (n + 1 - k) ** 2 for k in range(n + 1)], dtype=torch.float64)
        return terms.cumsum(0)[n - far]

    half = side // 2
    window = torch.cat([pyramid(side, half), -pyramid(side, side - half)], 1)
    return window / window.norm()


class Square(AttackSettings):
    """Change one random square window at a time and keep what raises the loss.

    The loss is the margin for a classifier and the score for a quality metric; the oracle averages it over
    draws of the defence. Windows and signs are drawn per image.

    Cost: ``queries`` forward passes per image and draw; less with ``early_stop``.

    Args:
        queries: questions per image, the first point among them.
        first_share: share of the image that the first windows cover ("p"); 0.8 in AutoAttack, 0.05 and
            (L2) 0.1 in the paper.
        rescale: scale the schedule of window sizes to ``queries``. Without it, as in AutoAttack, a run of
            a few hundred queries never leaves large windows and is weak.
        early_stop: a classifier's images leave as soon as most draws are broken, as in the paper, and stay
            broken after rounding to 8 bits. For a random defence this trusts one question: leave it off there.

    Source: Andriushchenko et al., arXiv:1912.00049, algorithms 1 to 3.
    Differs: windows reach the last row and column, as in the paper but not in AutoAttack; each image has
        its own windows, as in the paper; quality metrics are attacked by their score.
    """

    name: ClassVar[str] = "square"
    source: ClassVar[str] = "arXiv:1912.00049"
    needs: ClassVar = "scores"
    queries: int = Field(5000, ge=1)
    first_share: float = Field(0.8, gt=0, le=1)
    rescale: bool = True
    early_stop: bool = True

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        import torch

        from lustral.attacks.best import leaving, may_stop

        name, stop = "margin" if oracle.goal.kind == "classifier" else None, may_stop(oracle, self.early_stop)
        result, rows = x.clone(), torch.arange(len(x), device=x.device)
        current = self._stripes(x, noise) if self.norm == "linf" else self._tiles(x, noise)
        region, candidate = self.ball().around(x), torch.empty_like(current)
        numbers = noise.numbers((self.queries - 1) * 8).view(len(x), -1, 8).to(x.device)
        loss, broken = oracle.loss(current, rows, name)
        for index in range(self.queries - 1):
            if stop and bool((leave := leaving(oracle, current, rows, broken)).any()):
                result[rows[leave]] = current[leave]
                stay = ~leave
                rows, region, current, loss = rows[stay], region.select(stay), current[stay], loss[stay]
                candidate, numbers = candidate[stay], numbers[stay]
                if not len(rows):
                    return result
            draw = numbers[:, index]  # (m, 8)
            propose = self._recolour if self.norm == "linf" else self._move_mass
            propose(current, region, draw, self.side(index + 1, x), candidate)
            new, broken = oracle.loss(candidate, rows, name)
            better = new > loss
            broken = broken & better
            loss = new.where(better, loss)
            where = better.nonzero().flatten()
            current.index_copy_(0, where, candidate.index_select(0, where))
        if stop:
            leaving(oracle, current, rows, broken)
        result[rows] = current
        return result

    def side(self, iteration: int, like: Images) -> int:
        """Side of the window in pixels at iteration 1, 2, ...; odd and at least 3 for L2."""
        height, width = like.shape[2:]
        share = window_share(iteration, max(self.queries - 1, 1), self.first_share, self.rescale)
        side = max(round(math.sqrt(share * height * width)), 1)
        if self.norm == "l2":
            side = max(side, 3) | 1
        return min(side, height, width)

    def _stripes(self, x: Images, noise: Noise) -> Tensor:
        """Vertical stripes of plus or minus epsilon."""
        return self.ball().project(x + self.epsilon * noise.signs(x[:, :, :1]), x)

    def _tiles(self, x: Images, noise: Noise) -> Tensor:
        """A grid of about 5 by 5 bumps with random signs and directions, of length epsilon in all."""
        import torch

        from lustral.attacks.balls import normalise

        height, width = x.shape[2:]
        side = max(min(height, width) // 5, 1)
        down, across = height // side, width // side
        signs = noise.signs(x.new_empty(len(x), 3, down, 1, across, 1))
        turned = noise.uniform(x.new_empty(len(x), 1, down, 1, across, 1)) < 0.5
        one = bump(side).to(x)[None, None, None, :, None, :]  # (1, 1, 1, side, 1, side)
        tiles = (one.where(turned, one.transpose(3, 5)) * signs).reshape(len(x), 3, down * side, across * side)
        top, left = (height - down * side) // 2, (width - across * side) // 2
        right, bottom = width - across * side - left, height - down * side - top
        d = normalise(torch.nn.functional.pad(tiles, (left, right, top, bottom)), "l2")
        return self.ball().project(x + self.epsilon * d, x)

    def _recolour(self, current: Tensor, region: Region, draw: Tensor, side: int, out: Tensor) -> None:
        """Linf: every channel of the window moves as far up or down as is allowed."""
        import torch

        height, width = current.shape[2:]
        rows, columns = (torch.arange(size, device=current.device) for size in (height, width))
        top, left = ((draw[:, k] * (size - side + 1)).floor()[:, None] for k, size in enumerate((height, width)))
        inside = ((rows >= top) & (rows < top + side))[:, None, :, None]  # (m, 1, h, 1)
        inside = inside & ((columns >= left) & (columns < left + side))[:, None, None]  # (m, 1, h, w)
        shift = (draw[:, 2:5] >= 0.5).to(current) * (2 * self.epsilon) - self.epsilon
        torch.add(region.clean, shift[:, :, None, None], out=out).clamp_(0, 1)
        torch.where(inside, out, current, out=out)

    def _move_mass(self, current: Tensor, region: Region, draw: Tensor, side: int, out: Tensor) -> None:
        """L2: move the budget of one window, and what is unused, into a bump in another."""
        import torch

        from lustral.attacks.balls import lengths

        clean, (height, width) = region.clean, current.shape[2:]
        span = torch.arange(side, device=clean.device)
        channels = torch.arange(3, device=clean.device)[None, :, None, None]
        images = torch.arange(len(clean), device=clean.device)[:, None, None, None]

        def window(k: int) -> tuple[Tensor, ...]:
            top, left = ((draw[:, k + axis] * (size - side + 1)).long() for axis, size in enumerate((height, width)))
            return images, channels, (top[:, None] + span)[:, None, :, None], (left[:, None] + span)[:, None, None]

        d = torch.sub(current, clean, out=out)
        unused = (self.epsilon**2 - lengths(d, "l2") ** 2).clamp_min(0)[:, None]
        here, there = window(0), window(2)
        old = d[here]
        d[here] = 0
        moved = old.square().sum((2, 3)) + d[there].square().sum((2, 3)) + unused / 3  # (m, 3)
        d[there] = 0
        shape = bump(side).to(clean).expand(len(clean), side, side)
        shape = shape.where(draw[:, 7, None, None] < 0.5, shape.transpose(1, 2))[:, None]
        signs = (draw[:, 4:7] >= 0.5).to(clean)[:, :, None, None] * 2 - 1
        new = shape * signs + old / old.norm(dim=(2, 3), keepdim=True).clamp_min(1e-12)
        new = new / new.norm(dim=(2, 3), keepdim=True).clamp_min(1e-12)
        d[here] = new * moved.sqrt()[:, :, None, None]
        region.project_(d.add_(clean))
