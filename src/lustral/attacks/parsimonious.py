"""The Parsimonious attack: which blocks of the image go up and which go down."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from lustral.attacks.base import AttackSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Parsimonious", "improve"]

Asking = Generator[None, float, float]


def improve(flip: Callable[[int], None], blocks: Iterable[int], loss: float) -> Asking:
    """Lazy greedy: flip those blocks that raise the loss, the one that raises it most first.

    What a flip gains is asked once for every block. It is asked anew only when a block is about to be flipped, as
    gains shrink while others are flipped; the block is flipped if it still gains more than any other is known to.

    Args:
        flip: flips one block, or flips it back.
        blocks: numbers of the blocks.
        loss: of the image as it is.

    Yields:
        Whenever the loss of the image as it then is must be sent.

    Returns:
        The loss at the end.
    """
    queue: list[tuple[float, int]] = []  # what flips lose, smallest first
    for block in blocks:
        flip(block)
        queue.append((loss - (yield), block))
        flip(block)
    heapq.heapify(queue)
    known = True  # nothing was flipped since the gains were asked
    while queue and queue[0][0] < 0:
        loses, block = heapq.heappop(queue)
        flip(block)
        new = loss - loses if known else (yield)
        known = False
        if new > loss and (not queue or loss - new <= queue[0][0]):
            loss = new
        else:
            flip(block)
            heapq.heappush(queue, (loss - new, block))
    return loss


class Parsimonious(AttackSettings):
    """Local search over the corners of the ball, block by block: first large blocks, then smaller ones.

    All values start at the lower end of what is allowed. A block is a square of one channel that is at the upper or
    at the lower end. In turns, random groups of blocks are searched: those that raise the loss most go up, then
    those that raise it most go down again. After all groups the blocks are halved, down to one pixel.

    The loss is the margin for a classifier and the score for a quality metric; the oracle averages it over
    draws of the defence. Each image is searched on its own; the questions of all images are asked together.

    Cost: ``queries`` forward passes per image and draw; less with ``early_stop``, whose questions about rounding are
        among them.

    Args:
        queries: most questions per image.
        block: side of the first blocks in pixels, a power of two.
        group: blocks that are searched together; each group costs a question about the image as it stands, one for
            each block, and one for each that is reconsidered.
        early_stop: a classifier's images leave as soon as most draws are broken and stay broken after rounding to 8
            bits. For a random defence this trusts two questions: leave it off there.

    Source: Moon et al., arXiv:1905.06635, algorithms 1 to 3; a first block of 32 and 10,000 questions as in its
        section 5 for ImageNet.
    Differs: blocks lie on the pixels of the image, not on a grid of 256 by 256 that is stretched over it, and the last
        ones are cut off at its edges. A block moves only if that raises the loss: the authors' code moves the best
        block of a group in any case. A block whose last known gain is not positive is not asked about again. What
        stands is the best image, not the last one.
    """

    name: ClassVar[str] = "parsimonious"
    source: ClassVar[str] = "arXiv:1905.06635"
    needs: ClassVar = "scores"
    norm: Literal["linf"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride] settings are frozen
    queries: int = Field(default=10_000, ge=1)
    block: int = Field(default=32, ge=1)
    group: int = Field(default=64, ge=1)
    early_stop: bool = True

    @field_validator("block")
    @classmethod
    def _halves_to_one(cls, block: int) -> int:
        if block & (block - 1):
            raise ValueError(f"block must be a power of two, got {block}; blocks are halved until they are one pixel")
        return block

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.attacks.questions import Questions

        questions, region = Questions(oracle, x, self.queries, self.early_stop), self.ball().around(x)
        current = region.low.clone()
        searches = [
            self._search(current[row], region.low[row], region.high[row], noise.select([row])) for row in range(len(x))
        ]
        for search in searches:
            next(search)
        while len(rows := questions.rows):
            losses = questions.ask(current if len(rows) == len(x) else current[rows]).tolist()
            answers = dict(zip(rows.tolist(), losses, strict=True))
            questions.leave()
            for row in questions.rows.tolist():
                searches[row].send(answers[row])
        return questions.best.x

    def _search(self, image: Tensor, low: Tensor, high: Tensor, noise: Noise) -> Generator[None, float, None]:
        """Change ``image`` (3, h, w) in place for ever; at each ``yield`` its loss must be sent."""
        import numpy as np

        side = self.block
        grid = [-(-size // side) for size in image.shape[1:]]
        up = np.zeros((3, *grid), dtype=bool)

        def flip(block: int) -> None:
            channel, row, column = (int(index) for index in np.unravel_index(block, up.shape))
            up[channel, row, column] ^= True
            where = channel, slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)
            image[where] = (high if up[channel, row, column] else low)[where]

        while True:
            order = noise.permutation(up.size)[0].split(self.group)
            for group in (part.tolist() for part in order):
                loss = yield
                loss = yield from improve(flip, [block for block in group if not up.flat[block]], loss)
                yield from improve(flip, [block for block in group if up.flat[block]], loss)
            if side > 1:
                side //= 2
                height, width = (-(-size // side) for size in image.shape[1:])
                up = up.repeat(2, 1).repeat(2, 2)[:, :height, :width].copy()
