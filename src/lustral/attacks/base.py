"""What every attack promises, and what an attacker may know. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from lustral.settings import Number, Settings, canonical

if TYPE_CHECKING:
    from lustral.attacks.balls import Ball
    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Access", "AttackSettings", "Knowledge", "Needs"]

Knowledge = Literal["blind", "scores", "bpda", "surrogate", "exact", "known_noise"]
Needs = Literal["nothing", "scores", "gradients"]


class Access(Settings):
    """The threat model: what the attacker may know of the defence.

    Args:
        knowledge: "blind" sees only the bare target; "scores" sees outputs of the defended target;
            "bpda" also gradients with the purifier taken as the identity backwards; "surrogate"
            differentiates another purifier (``surrogate``); "exact" differentiates the deployed
            configuration; "known_noise" also knows the noise that the defence will use.
        eot: draws of the defence's randomness over which losses and gradients are averaged.
        budget: most forward passes of the attacked system per image, every draw counted; None is unlimited.
        surrogate: JSON of the purifier that "surrogate" differentiates.
    """

    name: ClassVar[str] = "access"
    knowledge: Knowledge = "exact"
    eot: int = Field(default=1, ge=1)
    budget: int | None = Field(default=None, ge=1)
    surrogate: dict[str, Any] | None = None

    def __hash__(self) -> int:
        """Of the canonical text: a mapping among the fields has no hash of its own."""
        return hash(canonical(self.to_json()))

    @property
    def is_adaptive(self) -> bool:
        """Whether the attack depends on the defence, so that it must be made anew for each."""
        return self.knowledge != "blind"


class AttackSettings(Settings):
    """Settings of an attack; a subclass is one file with one function ``run``.

    An attack never sees a model, only an ``Oracle``. It must stay inside ``ball``; the oracle refuses to
    remember points outside.

    Class attributes:
        source: paper, section, algorithm.
        needs: what it asks of the oracle; images of one that asks nothing stand as they are.
        kinds: targets it has a meaning for.
        strength: the setting that says how much it may do; not epsilon where no norm bounds it.
    """

    source: ClassVar[str]
    needs: ClassVar[Needs]
    kinds: ClassVar[tuple[str, ...]] = ("classifier", "quality")
    strength: ClassVar[str] = "epsilon"
    norm: Literal["linf", "l2"] = "linf"
    epsilon: Number = Field(default=8 / 255, gt=0)

    def ball(self) -> Ball:
        """The set that the attack may not leave."""
        from lustral.attacks.balls import Ball

        return Ball(self.norm, self.epsilon)

    def weights_used(self) -> tuple[str, ...]:
        """Names or paths of the weights that ``run`` opens; their hashes are part of a result's identity."""
        return ()

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        """Attack clean images ``x`` (n, 3, h, w) in [0, 1]; the result has the same shape and lies in ``ball``."""
        raise NotImplementedError
