"""AutoAttack: several parameter-free attacks, one after the other, on the images that the ones before left."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.apgd import APGD
from lustral.attacks.base import AttackSettings
from lustral.attacks.fab import FAB
from lustral.attacks.square import Square

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["AutoAttack"]

_PUBLISHED_QUERIES = 5000


class AutoAttack(AttackSettings):
    """APGD on cross-entropy, targeted APGD on DLR, targeted FAB and Square; or two APGD for random defences.

    Every point is judged as an 8-bit image. An image that an attack breaks takes no part in the next ones.

    Cost: that of its parts for images that survive them all (at the published settings about 1,000 gradients
    and 1,000 losses of APGD, 900 and 900 of FAB, and 5,000 of Square, per draw), and ``evaluations`` forward
    passes for the clean image and after each part; with ``evaluation`` "multiple" also ``reselection`` for each part.

    Args:
        variant: "standard", or "rand", which is APGD on cross-entropy and on DLR with the access's ``eot`` (20
            as published).
        steps: steps of APGD and FAB.
        targets: classes of the targeted attacks, at most all wrong ones.
        queries: of Square.
        restarts: of APGD and FAB.
        evaluation: "single" is the published protocol: an image that one draw of the defence finds broken drops
            out and its point stands, so that luck ends the attack too early. "multiple" repairs this: attacks
            on random defences run to their end, most of ``evaluations`` draws must be broken, and of the end
            points the one with the largest margin over ``reselection`` fresh draws stands. Without randomness the
            two are the same.
        evaluations: draws that decide, for "multiple".
        reselection: draws over which end points are compared, for "multiple".

    Source: Croce and Hein, arXiv:2003.01690, section 5; repair: Liu et al., arXiv:2404.14309 (20 evaluations).
    Differs: inside APGD, FAB and Square the mean over draws counts (published: the last draw); Square shrinks
        its windows in proportion if ``queries`` is below the published 5,000, and else as published.
    """

    name: ClassVar[str] = "autoattack"
    source: ClassVar[str] = "arXiv:2003.01690"
    needs: ClassVar = "gradients"
    kinds: ClassVar = ("classifier",)
    variant: Literal["standard", "rand"] = "standard"
    steps: int = Field(default=100, ge=1)
    targets: int = Field(default=9, ge=1)
    queries: int = Field(default=_PUBLISHED_QUERIES, ge=1)
    restarts: int = Field(default=1, ge=1)
    evaluation: Literal["single", "multiple"] = "multiple"
    evaluations: int = Field(default=10, ge=1)
    reselection: int = Field(default=20, ge=1)

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.attacks.best import Best

        self._check(oracle)
        repaired = self.evaluation == "multiple" and oracle.is_random
        draws = self.evaluations if repaired else 1
        best = Best(x)
        tries: list[tuple[Tensor, Tensor]] = []
        rows = (oracle.judge(x, draws=draws).rate <= 0.5).nonzero().flatten()
        for index, attack in enumerate(self.parts(early_stop=not repaired)):
            if not len(rows):
                break
            part = oracle.part(rows)
            point = part.rounded(attack.run(part, x[rows], noise.fork(str(index)).select(rows)))
            rate, margin = part.judge(point, draws=draws)
            best.offer(rows, point, margin, rate > 0.5)
            tries.append((rows, point))
            rows = rows[rate <= 0.5]
        return self._reselected(oracle, x, tries) if repaired else best.x

    def parts(self, early_stop: bool) -> tuple[AttackSettings, ...]:
        """The attacks in their order."""
        ball = {"norm": self.norm, "epsilon": self.epsilon}
        climb = {**ball, "steps": self.steps, "restarts": self.restarts, "early_stop": early_stop}
        if self.variant == "rand":
            return APGD.make(loss="ce", **climb), APGD.make(loss="dlr", **climb)
        rescale = self.queries < _PUBLISHED_QUERIES
        return (
            APGD.make(loss="ce", **climb),
            APGD.make(loss="targeted_dlr", targets=self.targets, **climb),
            FAB.make(targets=self.targets, **climb),
            Square.make(queries=self.queries, rescale=rescale, early_stop=early_stop, **ball),
        )

    def _check(self, oracle: Oracle) -> None:
        least = {"standard": 4, "rand": 3}[self.variant]
        if oracle.goal.kind != "classifier" or oracle.classes < least:
            raise ValueError(
                f"autoattack {self.variant!r} needs a classifier of at least {least} classes, which its DLR loss "
                "compares; use apgd"
            )

    def _reselected(self, oracle: Oracle, x: Tensor, tries: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Per image the best of its end points over fresh draws."""
        from lustral.attacks.best import Best

        best = Best(x)
        for rows, point in tries:
            rate, margin = oracle.judge(point, rows, self.reselection)
            best.offer(rows, point, margin, rate > 0.5)
        return best.x
