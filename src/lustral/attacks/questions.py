"""What each image of a chunk may still ask, and the best it has found: for attacks that see scores only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lustral.attacks.best import Best, leaving, may_stop
from lustral.tensors import Images

if TYPE_CHECKING:
    from lustral.attacks.oracle import Oracle

__all__ = ["Questions"]


class Questions:
    """The images that are still attacked; every question is counted, also those about rounding.

    The loss is the margin for a classifier and the score for a quality metric.

    Args:
        oracle: of the attacked system.
        x: clean images (n, 3, h, w).
        queries: most questions per image; fewer where the oracle's budget allows fewer.
        early_stop: whether a classifier's broken images leave.

    Attributes:
        best: the best image that was asked about, for all n.
        rows: which images of the chunk are left (m,).
        left: questions that each of them may still ask (m,), on the CPU.
    """

    def __init__(self, oracle: Oracle, x: Images, queries: int, early_stop: bool) -> None:
        if oracle.access.budget is not None:  # else the first image that spends it would stop the others
            queries = min(queries, oracle.access.budget // oracle.eot)
        self.oracle, self.best = oracle, Best(x)
        self.rows = torch.arange(len(x), device=x.device)
        self.left = torch.full((len(x),), queries)
        self._name = "margin" if oracle.goal.kind == "classifier" else None
        self._stops = may_stop(oracle, early_stop)
        self._untried = torch.zeros_like(self.rows, dtype=torch.bool)  # broken, but perhaps not after rounding

    def ask(self, x: Images, who: Tensor | None = None) -> Tensor:
        """Losses (m,) of images ``x`` (m, 3, h, w), one for each that is left.

        Args:
            x: images; kept as copies where they are the best so far.
            who: which of them to ask about (m,), on the CPU; all by default. The others' losses are 0.
        """
        if who is not None and not bool(who.all()):
            where = who.nonzero().flatten()
            self.left[where] -= 1
            where = where.to(x.device)
            losses = x.new_zeros(len(x))
            if len(where):
                losses[where] = self._ask(x[where], where).to(losses)
            return losses
        self.left -= 1
        return self._ask(x, None)

    def leave(self, least: int = 1) -> Tensor | None:
        """Let go of images that stay broken after rounding to 8 bits and of those that may ask too little.

        Costs one question about every image whose best is newly broken.

        Args:
            least: an image stays as long as it may ask so many questions.

        Returns:
            Which images stay (m,), on their device; None if all do.
        """
        out = self.left < least
        if self._stops and bool(self._untried.any()):
            where = (self._untried & ~out.to(self.rows.device)).nonzero().flatten()
            rows, chosen = self.rows[where], where.cpu()
            found = self.best.x[rows]
            held = leaving(self.oracle, found, rows, torch.ones_like(rows, dtype=torch.bool))
            self.best.x[rows] = found
            self.left[chosen] -= 1
            self._untried[where] = False
            out |= self.left < least
            out[chosen[held.cpu()]] = True
        if not bool(out.any()):
            return None
        stay = ~out
        self.left = self.left[stay]
        stay = stay.to(self.rows.device)
        self.rows, self._untried = self.rows[stay], self._untried[stay]
        return stay

    def _ask(self, x: Images, where: Tensor | None) -> Tensor:
        rows = self.rows if where is None else self.rows[where]
        loss, broken = self.oracle.loss(x, rows, self._name)
        before = self.best.loss[rows] if self._stops else loss
        self.best.offer(rows, x, loss, broken)
        if self._stops:
            fresh = broken & (self.best.loss[rows] != before)
            if where is None:
                self._untried |= fresh
            else:
                self._untried[where] |= fresh
        return loss
