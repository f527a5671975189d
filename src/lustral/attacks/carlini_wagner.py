"""The attack of Carlini and Wagner: the shortest perturbation by descent on length plus a hinge."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.attacks.budgets import UNBOUNDED
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.nearest import Nearest
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["CarliniWagner"]


class CarliniWagner(AttackSettings):
    """Adam on the squared L2 length plus ``c`` times how far the image is from misclassified, with a search for c.

    Minimises ``|d|^2 + c * max(-margin, -confidence)`` over w, where the image is ``(tanh(w) + 1) / 2``. Of all
    points that were broken the nearest stands; without a budget it is checked as an 8-bit image and made longer
    where rounding undoes it.

    Cost: ``searches * steps`` gradients per image and draw, and at the end about 1 to 9 forward passes.

    Args:
        norm: in which ``epsilon`` is measured; the length that is minimised is always L2.
        epsilon: longest perturbation that counts as success; the default bounds nothing, and the length found
            is part of every result. A budget normalised by the size of images goes through ``l2_of_normalised``.
        steps: of each descent.
        searches: descents, each with its own c per image: 10 times as large after a failure as long as none
            succeeded, then halfway between the smallest that succeeded and the largest that failed. 1 is a fixed c.
        c: weight of the misclassification in the first descent.
        rate: learning rate of Adam, in units of w.
        confidence: margin between the logits that a broken point must have ("kappa"), before rounding.

    The (Compress and Restore)^N paper (doi:10.1145/3524619, section 4.3) takes ``searches=1,c=0.1``.

    Source: Carlini and Wagner, arXiv:1608.04644, section VI-A, untargeted.
    Differs: the margin is averaged over draws; the published code takes 10,000 steps, 9 searches from c = 0.001 and
        ends a descent early when no image gains any more. With a budget the result is the nearest point or, with a
        larger margin, the point beyond it on the border of the ball.
    """

    name: ClassVar[str] = "carlini_wagner"
    source: ClassVar[str] = "arXiv:1608.04644, section VI-A"
    needs: ClassVar = "gradients"
    kinds: ClassVar = ("classifier",)
    norm: Literal["linf", "l2"] = "l2"
    epsilon: Number = Field(default=UNBOUNDED, gt=0)
    steps: int = Field(default=200, ge=1)
    searches: int = Field(default=5, ge=1)
    c: float = Field(default=0.1, gt=0)
    rate: float = Field(default=0.01, gt=0)
    confidence: float = Field(default=0.0, ge=0)

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.attacks.nearest import conclude

        return conclude(self, oracle, x, self.nearest(oracle, x))

    def nearest(self, oracle: Oracle, x: Images) -> Nearest:
        """The nearest points that are broken with ``confidence``, however far they are and not rounded."""
        import torch

        from lustral.attacks.nearest import Nearest

        found = Nearest(x.clone(), x.new_full((len(x),), float("inf")))
        c, failed, succeeded = (x.new_full((len(x),), value) for value in (self.c, 0.0, float("inf")))
        for _ in range(self.searches):
            won = self._descend(oracle, x, c, found)
            failed, succeeded = c.where(~won, failed), c.where(won, succeeded)
            c = torch.where(succeeded.isinf(), 10 * c, (failed + succeeded) / 2)
        return found

    def _descend(self, oracle: Oracle, x: Tensor, c: Tensor, found: Nearest) -> Tensor:
        """One descent from the clean images; offers broken points and says which images had any (n,)."""
        import torch

        from lustral.attacks.balls import lengths
        from lustral.attacks.squashing import squash, unsquash

        w, rows = unsquash(x), torch.arange(len(x), device=x.device)
        adam = torch.optim.Adam([w], lr=self.rate)
        won = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for _ in range(self.steps):
            point = squash(w)
            margin, broken, gradient = oracle.gradient(point, rows, "margin")
            success = broken & (margin >= self.confidence)
            d = point - x
            found.offer(rows, point, lengths(d, "l2"), success)
            won |= success
            pull = c * (margin < self.confidence)
            slope = d.mul_(2).addcmul_(gradient, pull[:, None, None, None], value=-1)
            w.grad = slope.mul_(point * (1 - point)).mul_(2)  # of tanh
            adam.step()
        return won
