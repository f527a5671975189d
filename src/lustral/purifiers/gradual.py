"""Gradual noise scheduling: several rounds of noising and denoising, each further than the last."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from lustral.purifiers.diffusion import DiffusionPurifier

if TYPE_CHECKING:
    from lustral.diffusion.samplers import Denoise, State
    from lustral.seeds import Noise

__all__ = ["Gradual", "Round", "read_rounds"]

_ROUND = re.compile(r"(\d+)(?:/(\d+))?(?:x(\d+))?")


def _check_round(value: tuple[int, int]) -> tuple[int, int]:
    time, steps = value
    if not 1 <= steps <= time <= 1000:
        raise ValueError(f"a round needs a time of 1 to 1000 and 1 to as many steps, got time {time} and steps {steps}")
    return value


def read_rounds(value: object) -> object:
    """Read ``time/steps x count`` joined by ``+``; without steps every time step is taken. Leave the rest to pydantic.

    >>> read_rounds("30x2+125/5")
    ((30, 30), (30, 30), (125, 5))
    """
    if not isinstance(value, str):
        return value
    rounds: list[tuple[int, int]] = []
    for piece in value.split("+"):
        found = _ROUND.fullmatch(piece.strip())
        if found is None:
            raise ValueError(f"expected rounds such as 30x4+125/5 (time/steps x count), got {piece!r}")
        time, steps, count = found.groups()
        rounds += [(int(time), int(steps or time))] * int(count or 1)
    return tuple(rounds)


Round = Annotated[tuple[int, int], AfterValidator(_check_round)]
"""Time step out of 1,000 and strides back to 0."""


class Gradual(DiffusionPurifier):
    """Rounds of diffusing to a time step and going back by DDIM with eta 1, without clipping.

    The paper decides by a majority vote over ten purifications: ``Defended(target, purifier, votes=10)``, in a recipe
    ``votes = 10`` of its protocol. Its surrogate attack purifies by the second preset instead of the first.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        rounds: (time, steps) of each round, or text such as ``30x4+50x2+125x2`` or ``30/1+50/1+125/5``.

    Cost: the steps of all rounds together, 470 network passes per image by default.

    Source: Lee and Kim, arXiv:2303.09051, gradual noise scheduling; schedules of the published code for CIFAR-10
        (``30x4+50x2+200x2`` is that of ImageNet, ``30x4+50x2+80x2`` that of SVHN).
    Differs: strides are as even as integers allow where ``steps`` does not divide ``time``; the result is clamped to
        [0, 1].
    """

    name: ClassVar[str] = "gradual"
    source: ClassVar[str] = "Lee and Kim 2023, arXiv:2303.09051"
    presets: ClassVar = ({"rounds": "30/1+50/1+125/5"}, {"rounds": "30x4+50x2+125x2"})
    rounds: Annotated[tuple[Round, ...], BeforeValidator(read_rounds)] = Field(
        default=((30, 30),) * 4 + ((50, 50),) * 2 + ((125, 125),) * 2, min_length=1
    )

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Network passes per image."""
        return sum(steps for _, steps in self.rounds)

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        from lustral.diffusion.samplers import ddim, diffuse
        from lustral.diffusion.schedules import vp_linear

        schedule = vp_linear()
        for time, steps in self.rounds:
            x = diffuse(x, schedule, time, noise)
            x = ddim(denoise, x, schedule, schedule.times(time, steps), noise, eta=1.0)
        return x
