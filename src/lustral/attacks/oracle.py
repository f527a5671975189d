"""What an attacker may ask. The threat model is this object, not a flag inside an attack."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from lustral.attacks.answers import Answer, BudgetSpent, Forbidden, Selection, Slope
from lustral.attacks.balls import Ball
from lustral.attacks.base import Access
from lustral.attacks.goals import Goal
from lustral.attacks.memory import Memory
from lustral.seeds import Noise
from lustral.tensors import Images, quantise

__all__ = ["Answer", "BudgetSpent", "Forbidden", "Oracle", "Selection", "Slope"]

Rows = Int64[Tensor, " m"]
Flags = Bool[Tensor, " m"]
Purify = Callable[[Images, Noise], Images]


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
        batch: most images in one pass, draws included; larger questions are split by whole images.

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
    ) -> None:
        if access.knowledge == "surrogate" and surrogate is None:
            raise ValueError("knowledge 'surrogate' needs the surrogate purifier to differentiate")
        self.target, self.goal, self.clean, self.access, self.ball = target, goal, x.detach(), access, ball
        self.noise, self.batch = noise, batch
        self.purifier = None if access.knowledge == "blind" else purifier
        self.surrogate = surrogate
        n = len(x)
        self.queries = torch.zeros(n, dtype=torch.int64)
        self.gradients = torch.zeros(n, dtype=torch.int64)
        self.asked = torch.zeros(n, dtype=torch.int64)
        self.dead = torch.zeros(n, 2, dtype=torch.bool)
        self.trace: list[Tensor] = []
        self.memory = Memory(self.clean, ball, keep)

    @property
    def eot(self) -> int:
        """Draws per question: one where nothing is random, and one where the noise is known."""
        return 1 if self.purifier is None or self.access.knowledge == "known_noise" else self.access.eot

    @property
    def classes(self) -> int:
        """Number of classes of a classifier; costs one forward pass that is not counted."""
        with torch.no_grad():
            return self.target(self.clean[:1]).shape[-1]

    @property
    def best(self) -> Images:
        """The allowed point with the largest margin so far per image; what stands when the budget is spent."""
        return self.memory.best()

    def loss(
        self, x: Images, rows: Rows | None = None, name: str | None = None, wanted: Tensor | None = None
    ) -> Answer:
        """Objective at ``x``, without gradient.

        Args:
            x: images (m, 3, h, w) in [0, 1].
            rows: which images of the chunk these are (m,), each at most once; all by default.
            name: classifier loss "ce", "margin" or "dlr"; None is the goal's natural one.
            wanted: class per image (m,) for the targeted DLR loss.
        """
        loss, broken, _ = self._ask(x, rows, name, wanted, gradient=False)
        return Answer(loss, broken)

    def gradient(
        self, x: Images, rows: Rows | None = None, name: str | None = None, wanted: Tensor | None = None
    ) -> Slope:
        """Objective and gradient at ``x``; arguments as in ``loss``."""
        if self.access.knowledge == "scores":
            raise Forbidden("this attacker sees scores only; gradients need knowledge bpda, surrogate, exact or blind")
        return Slope(*self._ask(x, rows, name, wanted, gradient=True))

    def broken(self, x: Images, rows: Rows | None = None) -> Flags:
        """Whether each image breaks the system in more than half of the draws."""
        return self.loss(x, rows).broken

    def logits(self, x: Images, rows: Rows | None = None) -> Tensor:
        """Outputs at ``x`` averaged over draws, (m, k) or (m,), counted as a question."""
        rows = self._rows(x, rows)
        noise = self._charge(rows, gradient=False)
        parts: list[Tensor] = []
        with torch.no_grad():
            for part, some in self._parts(len(x), self.eot, noise):
                outputs = self._outputs(x[part].repeat_interleave(self.eot, 0), some)
                parts.append(outputs.unflatten(0, (len(part), self.eot)).mean(1))
        return torch.cat(parts)

    def _rows(self, x: Tensor, rows: Tensor | None) -> Tensor:
        rows = torch.arange(len(self.clean), device=x.device) if rows is None else rows
        if len(rows) != len(x):
            raise ValueError(f"{len(x)} images but {len(rows)} rows; pass rows for a part of the chunk")
        return rows

    def _charge(self, rows: Tensor, *, gradient: bool) -> Noise:
        """Count the question and return its draws, numbered per image, so that they are the same in any batch."""
        chosen = rows.cpu()
        before = self.queries[chosen]
        if self.access.budget is not None and bool((before + self.eot > self.access.budget).any()):
            raise BudgetSpent(f"budget of {self.access.budget} passes per image is spent")
        self.queries[chosen] = before + self.eot
        if gradient:
            self.gradients[chosen] += self.eot
        if self.purifier is None:
            return self.noise
        first = [0] * len(chosen) if self.access.knowledge == "known_noise" else before.tolist()
        noise = self.noise.select(chosen)
        if len(set(first)) <= 1:
            return noise.draws(first[0] if first else 0, self.eot)
        keys = [key for row, number in enumerate(first) for key in noise.select([row]).draws(number, self.eot).images]
        return Noise(noise.seed, noise.purpose, keys)

    def _parts(self, count: int, draws: int, noise: Noise) -> Iterator[tuple[Tensor, Noise]]:
        """Split ``count`` images into groups of at most ``batch`` passes, each with its rows of the noise."""
        for part in torch.arange(count, device=self.clean.device).split(max(1, self.batch // draws)):
            if self.purifier is None or len(part) == count:
                yield part, noise
            else:
                places = part[:, None] * draws + torch.arange(draws, device=part.device)
                yield part, noise.select(places.flatten())

    def _outputs(self, x: Images, noise: Noise) -> Tensor:
        if self.purifier is None:
            return self.target(x)
        if self.access.knowledge == "bpda":
            with torch.no_grad():
                purified = self.purifier(x.detach(), noise)
            return self.target(purified + (x - x.detach()))
        if self.access.knowledge == "surrogate" and self.surrogate is not None:
            return self.target(self.surrogate(x, noise))
        return self.target(self.purifier(x, noise))

    def _ask(
        self, x: Tensor, rows: Tensor | None, name: str | None, wanted: Tensor | None, *, gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, verdicts and gradients (zeros if not asked) of any number of images."""
        rows = self._rows(x, rows)
        noise = self._charge(rows, gradient=gradient)
        parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for part, some in self._parts(len(x), self.eot, noise):
            aim = None if wanted is None else wanted[part]
            whole = len(part) == len(x)
            parts.append(self._ask_part(x if whole else x[part], rows[part], some, name, aim, gradient=gradient))
        columns = zip(*parts, strict=True)
        losses, margins, votes, slopes = parts[0] if len(parts) == 1 else map(torch.cat, columns)
        if gradient:
            slopes = self._watch(slopes, rows)
        self.memory.offer(x.detach(), rows, margins)
        self.trace.append(self.memory.margins.amax(1).cpu())
        return losses, votes > 0.5, slopes

    def _ask_part(
        self, x: Tensor, rows: Tensor, noise: Noise, name: str | None, wanted: Tensor | None, *, gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Losses, margins, broken shares and gradients of a few images, averaged over draws."""
        copies = rows if self.eot == 1 else rows.repeat_interleave(self.eot)
        aims = None if wanted is None else wanted.repeat_interleave(self.eot)
        slope = torch.zeros((), dtype=x.dtype, device=x.device).expand_as(x)
        with torch.set_grad_enabled(gradient):
            leaf = x.detach().requires_grad_(gradient)
            outputs = self._outputs(leaf.repeat_interleave(self.eot, 0) if self.eot > 1 else leaf, noise)
            loss = self._mean(self.goal.loss(outputs, copies, name, aims))
            # A purifier without derivative leaves no graph: a zero gradient, which the indicators report.
            if gradient and loss.requires_grad:
                # Only with respect to the image: weights that somebody left unfrozen cost nothing.
                found = torch.autograd.grad(loss.sum(), leaf, allow_unused=True, materialize_grads=True)
                slope = found[0]
        outputs, loss = outputs.detach(), loss.detach()
        votes = self._mean(self.goal.broken(outputs, copies).float())
        # The loss called "margin" is the margin.
        margins = loss if name == "margin" and wanted is None else self._mean(self.goal.margin(outputs, copies))
        return loss, margins, votes, slope

    def _mean(self, values: Tensor) -> Tensor:
        return values if self.eot == 1 else values.unflatten(0, (-1, self.eot)).mean(1)

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

    @torch.no_grad()
    def select(self, final: Images, noise: Noise, draws: int = 20) -> Selection:
        """Choose per image among the clean image, the last iterate and the remembered points.

        Every candidate is rounded to 8 bits without leaving the ball, then judged
        over ``draws`` fresh draws of the defence (one if it is not random): most draws broken first, then
        the largest mean margin. These passes belong to the protocol and are not charged to the attack.

        Args:
            final: the attack's last iterate (n, 3, h, w).
            noise: draws that were not used during the attack.
            draws: judgements per candidate.

        Raises:
            ValueError: ``final`` lies outside the ball.
        """
        if self.ball is not None and not bool(self.ball.contains(final, self.clean).all()):
            raise ValueError("the attack left its ball; project its result")
        if self.access.knowledge == "known_noise":
            noise, draws = self.noise, 1
        draws = 1 if self.purifier is None else draws
        candidates = torch.cat([self.clean[:, None], final.detach()[:, None], self.memory.points], 1)
        rounded = torch.empty_like(candidates)
        rates: list[Tensor] = []
        margins: list[Tensor] = []
        for index in range(candidates.shape[1]):
            rounded[:, index] = x = self.rounded(candidates[:, index])
            rate, mean = self._judge(x, noise.draws(0, draws), draws)
            rates.append(rate)
            margins.append(mean)
        rate, mean = torch.stack(rates, 1), torch.stack(margins, 1)  # (n, candidates)
        best = mean.masked_fill(rate < rate.amax(1, keepdim=True), -torch.inf).argmax(1)
        everyone = torch.arange(len(final), device=final.device)
        share, final_share = rate[everyone, best], rate[:, 1]
        rescued = (share > 0.5) & (final_share <= 0.5)
        return Selection(rounded[everyone, best], candidates[everyone, best], share, final_share, rescued)

    def _judge(self, x: Images, noise: Noise, draws: int) -> tuple[Tensor, Tensor]:
        """Share of draws broken and mean margin of one candidate per image, under the deployed defence."""
        rates: list[Tensor] = []
        margins: list[Tensor] = []
        for part, some in self._parts(len(x), draws, noise):
            rows = part.repeat_interleave(draws)
            copies = x[part].repeat_interleave(draws, 0)
            outputs = self.target(copies if self.purifier is None else self.purifier(copies, some))
            rates.append(self.goal.broken(outputs, rows).float().unflatten(0, (-1, draws)).mean(1))
            margins.append(self.goal.margin(outputs, rows).unflatten(0, (-1, draws)).mean(1))
        return torch.cat(rates), torch.cat(margins)
