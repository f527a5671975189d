"""What an attacker may ask. The threat model is this object, not a flag inside an attack."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from lustral.attacks.answers import Answer, BudgetSpent, Forbidden, Selection, Slope, Verdict
from lustral.attacks.balls import Ball
from lustral.attacks.base import Access
from lustral.attacks.deviation import Deviation
from lustral.attacks.goals import Goal
from lustral.attacks.memory import Memory
from lustral.attacks.passes import in_groups, slopes
from lustral.attacks.selection import select
from lustral.seeds import Noise
from lustral.steps import checkpointing
from lustral.tensors import Images, quantise

__all__ = ["Answer", "BudgetSpent", "Forbidden", "Oracle", "Selection", "Slope", "Verdict"]

Rows = Int64[Tensor, " m"]
Flags = Bool[Tensor, " m"]
Purify = Callable[[Images, Noise], Images]

_KEPT_STEPS = 8
_KEPT_VALUES = 2**20  # of the images in all kept steps; their graph takes about 1 KiB for each in a small U-Net


class Oracle:
    """Answers questions about an attacked system within a threat model, and remembers the best points.

    Args:
        target: images -> outputs; the bare target.
        goal: what the attacker wants from the outputs.
        x: clean images (n, 3, h, w) of the chunk.
        noise: the attacker's own draws of the defence's randomness (for "known_noise": the defence's).
        access: the threat model.
        purifier: the deployed purifier; None is the undefended target.
        surrogate: the purifier that "surrogate" differentiates.
        ball: the set of allowed images; points outside are answered but never remembered.
        keep: how many best points per image to remember for re-selection.
        batch: most images in one pass, draws included; larger questions are split by images, then by draws.
        checkpoint: recompute the steps of a purifier on the way back, but for the first few (at most 8) of small
            images, which bounds memory, changes no number and makes gradients of long purifiers about 1.5 times as
            expensive.

    Attributes:
        queries: forward passes per image (n,), every draw counted; gradient passes are among them.
        gradients: backward passes per image (n,), every draw counted.
        dead: per image (n, 2), whether the gradient was zero or not finite at its 1st and at its 11th gradient.
        trace: best margin so far (n,) after every question.

    Raises:
        Forbidden: a gradient or loss is asked of a threat model that does not grant it.
        BudgetSpent: a question would exceed ``access.budget``.
    """

    def __init__(
        self,
        target: Callable[[Images], Tensor],
        goal: Goal,
        x: Images,
        noise: Noise,
        access: Access,
        *,
        purifier: Purify | None = None,
        surrogate: Purify | None = None,
        ball: Ball | None = None,
        keep: int = 4,
        batch: int = 256,
        checkpoint: bool = True,
    ) -> None:
        if access.knowledge == "surrogate" and surrogate is None:
            raise ValueError("knowledge 'surrogate' needs the surrogate purifier to differentiate")
        self.target, self.goal, self.clean, self.access, self.ball = target, goal, x.detach(), access, ball
        self.noise, self.batch, self.checkpoint = noise, batch, checkpoint
        self.deviation: Deviation | None = None
        self.purifier = None if access.knowledge == "blind" else purifier
        self.surrogate = surrogate
        n = len(x)
        self.queries = torch.zeros(n, dtype=torch.int64)
        self.gradients = torch.zeros(n, dtype=torch.int64)
        self.asked = torch.zeros(n, dtype=torch.int64)
        self.dead = torch.zeros(n, 2, dtype=torch.bool)
        self.trace: list[Tensor] = []
        self.memory = Memory(self.clean, ball, keep)
        self._chunk = goal  # of the whole chunk, where ``goal`` and ``clean`` may be of a part
        self._everyone: Tensor | None = None

    @property
    def is_random(self) -> bool:
        """Whether answers may differ from draw to draw: there is a defence and its noise is not known."""
        return self.purifier is not None and self.access.knowledge != "known_noise"

    @property
    def eot(self) -> int:
        """Draws per question: one where nothing is random, and one where the noise is known."""
        return self.access.eot if self.is_random else 1

    def part(self, rows: Rows) -> Oracle:
        """This oracle about some of its images (m,), which are numbered from 0; it counts and remembers for all.

        ``queries``, ``gradients``, ``dead``, ``trace`` and ``select`` stay those of the whole chunk.
        """
        part = copy.copy(self)
        part._everyone = rows if self._everyone is None else self._everyone[rows]
        part.clean, part.goal = self.clean[rows], self.goal.select(rows)
        return part

    def deviating(self, deviation: Deviation) -> Oracle:
        """This oracle with a term in every loss that rewards reverse states far from the diffused image."""
        other = copy.copy(self)
        other.deviation = deviation
        return other

    @property
    def classes(self) -> int:
        """Number of classes of a classifier; costs one forward pass that is not counted."""
        with torch.no_grad():
            return self.target(self.clean[:1]).shape[-1]

    @property
    def best(self) -> Images:
        """The allowed point with the largest margin so far per image; what stands when the budget is spent."""
        best = self.memory.best()
        return best if self._everyone is None else best[self._everyone]

    def loss(
        self, x: Images, rows: Rows | None = None, name: str | None = None, wanted: Tensor | None = None
    ) -> Answer:
        """Objective at ``x``, without gradient.

        Args:
            x: images (m, 3, h, w) in [0, 1].
            rows: which images of the chunk these are (m,), each at most once; all by default.
            name: classifier loss "ce", "margin" or "dlr"; None is the goal's natural one.
            wanted: class per image (m,) for the targeted losses "dlr" (the natural one) and "difference".
        """
        loss, _, rate, _ = self._ask(x, rows, name, wanted, self.eot, gradient=False)
        return Answer(loss, rate > 0.5)

    def gradient(
        self, x: Images, rows: Rows | None = None, name: str | None = None, wanted: Tensor | None = None
    ) -> Slope:
        """Objective and gradient at ``x``; arguments as in ``loss``."""
        if self.access.knowledge == "scores":
            raise Forbidden("this attacker sees scores only; gradients need knowledge bpda, surrogate, exact or blind")
        loss, _, rate, slope = self._ask(x, rows, name, wanted, self.eot, gradient=True)
        return Slope(loss, rate > 0.5, slope)

    def gaps(self, x: Images, wanted: Tensor, rows: Rows | None = None) -> tuple[Tensor, Tensor]:
        """Logits of several classes ``wanted`` (m, c) above the label's (m, c), and gradients (m, c, 3, h, w).

        Cost: one forward and c backward passes per image and draw.
        """
        slope = self.gradient(x, rows, "difference", wanted)
        return slope.loss, slope.gradient

    def settle(self, x: Images, rows: Rows | None = None) -> None:
        """Of all points only ``x`` (m, 3, h, w) may be selected: for attacks that look for the nearest."""
        self.memory.replace(x.detach(), self._rows(x, rows))

    def broken(self, x: Images, rows: Rows | None = None) -> Flags:
        """Whether each image breaks the system in more than half of the draws."""
        return self.loss(x, rows).broken

    def judge(self, x: Images, rows: Rows | None = None, draws: int = 1) -> Verdict:
        """How often and how far images are broken over ``draws`` draws (one where nothing is random), charged."""
        _, margin, rate, _ = self._ask(x, rows, None, None, draws if self.is_random else 1, gradient=False)
        return Verdict(rate, margin)

    def logits(self, x: Images, rows: Rows | None = None) -> Tensor:
        """Outputs at ``x`` averaged over draws, (m, k) or (m,), counted as a question."""
        rows = self._rows(x, rows)
        noise = self._charge(rows, self.eot)

        def look(part: Tensor, some: Noise, draws: int) -> tuple[Tensor, ...]:
            outputs = self.target(self._purified(x[part].repeat_interleave(draws, 0), some))
            return (outputs.unflatten(0, (-1, draws)).mean(1),)

        with torch.no_grad():
            return in_groups(look, x, self.eot, noise, self.batch)[0]

    def _rows(self, x: Tensor, rows: Tensor | None) -> Tensor:
        """Rows of the chunk."""
        rows = torch.arange(len(self.clean), device=x.device) if rows is None else rows
        if len(rows) != len(x):
            raise ValueError(f"{len(x)} images but {len(rows)} rows; pass rows for a part of the chunk")
        return rows if self._everyone is None else self._everyone[rows]

    def _charge(self, rows: Tensor, draws: int, gradients: int = 0) -> Noise:
        """Count the question and return its draws, numbered per image, so that they are the same in any batch."""
        chosen = rows.cpu()
        before = self.queries[chosen]
        if self.access.budget is not None and bool((before + draws > self.access.budget).any()):
            raise BudgetSpent(f"budget of {self.access.budget} passes per image is spent")
        self.queries[chosen] = before + draws
        self.gradients[chosen] += draws * gradients
        if self.purifier is None:
            return self.noise
        first = before.tolist() if self.is_random else [0] * len(chosen)
        noise = self.noise.select(chosen)
        if len(set(first)) <= 1:
            return noise.draws(first[0] if first else 0, draws)
        keys = [key for row, number in enumerate(first) for key in noise.select([row]).draws(number, draws).images]
        return Noise(noise.seed, noise.purpose, keys)

    def _purified(self, x: Images, noise: Noise) -> Images:
        """What the attacker takes for the images that the target sees."""
        if self.purifier is None:
            return x
        if self.access.knowledge == "bpda":
            with torch.no_grad():
                purified = self.purifier(x.detach(), noise)
            return purified + (x - x.detach())
        if self.access.knowledge == "surrogate" and self.surrogate is not None:
            return self.surrogate(x, noise)
        return self.purifier(x, noise)

    def _ask(
        self, x: Tensor, rows: Tensor | None, name: str | None, wanted: Tensor | None, draws: int, *, gradient: bool
    ) -> tuple[Tensor, ...]:
        """Losses, margins, broken shares and gradients (zeros if not asked) of any number of images."""
        rows = self._rows(x, rows)
        noise = self._charge(rows, draws, (1 if wanted is None else wanted.shape[1:].numel()) if gradient else 0)

        def ask(part: Tensor, some: Noise, draws: int) -> tuple[Tensor, ...]:
            aim = None if wanted is None else wanted[part]
            whole = len(part) == len(x)
            return self._ask_part(x if whole else x[part], rows[part], some, name, aim, draws, gradient)

        losses, margins, votes, slope = in_groups(ask, x, draws, noise, self.batch)
        if gradient:
            slope = self._watch(slope, rows)
        self.memory.offer(x.detach(), rows, margins)
        self.trace.append(self.memory.margins.amax(1).cpu())
        return losses, margins, votes, slope

    def _ask_part(
        self, x: Tensor, rows: Tensor, noise: Noise, name: str | None, wanted: Tensor | None, draws: int, gradient: bool
    ) -> tuple[Tensor, ...]:
        """Losses, margins, broken shares and gradients of a few images, averaged over draws."""

        def mean(values: Tensor) -> Tensor:
            return values if draws == 1 else values.unflatten(0, (-1, draws)).mean(1)

        copies = rows if draws == 1 else rows.repeat_interleave(draws)
        aims = None if wanted is None else wanted.repeat_interleave(draws, 0)
        with torch.set_grad_enabled(gradient):
            leaf = x.detach().requires_grad_(gradient)
            with checkpointing(self.checkpoint, keep=min(_KEPT_STEPS, _KEPT_VALUES // (x.numel() * draws))):
                outputs, extra = self._look(leaf.repeat_interleave(draws, 0) if draws > 1 else leaf, noise)
            loss = self._chunk.loss(outputs, copies, name, aims)
            loss = mean(loss if extra is None else loss + extra.view(-1, *[1] * (loss.ndim - 1)))
            # A purifier without derivative leaves no graph: a zero gradient, which the indicators report.
            slope = torch.zeros((), dtype=x.dtype, device=x.device).expand(*loss.shape, *x.shape[1:])
            if gradient and loss.requires_grad:
                slope = slopes(loss, leaf)
        outputs, loss = outputs.detach(), loss.detach()
        votes = mean(self._chunk.broken(outputs, copies).float())
        # The loss called "margin" is the margin.
        known = name == "margin" and wanted is None and extra is None
        return loss, loss if known else mean(self._chunk.margin(outputs, copies)), votes, slope

    def _look(self, x: Images, noise: Noise) -> tuple[Tensor, Tensor | None]:
        """Outputs, and the deviation of the states if it is part of the objective and has a derivative."""
        if self.deviation is None or self.purifier is None or self.access.knowledge == "bpda":
            return self.target(self._purified(x, noise)), None
        purified, extra = self.deviation.follow(self._purified, x, noise)
        return self.target(purified), extra

    def _watch(self, slopes: Tensor, rows: Tensor) -> Tensor:
        """Note zero or non-finite gradients at an image's 1st and 11th gradient; return finite ones."""
        chosen = rows.cpu()
        asked = self.asked[chosen]
        for column, when in enumerate((0, 10)):
            due = asked == when
            if bool(due.any()):
                flat = slopes[due.to(slopes.device)].flatten(1)
                bad = (flat == 0).all(1) | ~flat.isfinite().all(1)
                self.dead[chosen[due], column] = bad.cpu()
        self.asked[chosen] = asked + 1
        return slopes.nan_to_num(0.0, 0.0, 0.0)

    def rounded(self, x: Images, rows: Rows | None = None) -> Images:
        """The nearest allowed 8-bit images of ``x`` (m, 3, h, w); an attack is judged by these."""
        if self.ball is None:
            return quantise(x)
        return self.ball.to_8_bit(x, self.clean if rows is None else self.clean[rows])

    def select(self, final: Images, noise: Noise, draws: int = 20, *, only_final: bool = False) -> Selection:
        """Choose the best 8-bit image per row over fresh draws; see ``lustral.attacks.selection.select``."""
        return select(self, final, noise, draws, only_final=only_final)
