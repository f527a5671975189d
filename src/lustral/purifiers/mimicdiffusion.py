"""MimicDiffusion: generate an image from pure noise, guided to look like the input."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lustral.purifiers.diffusion import DiffusionPurifier
from lustral.settings import Number

if TYPE_CHECKING:
    from lustral.diffusion.samplers import Denoise, State
    from lustral.seeds import Noise

__all__ = ["MimicDiffusion"]

SCALE = 3000 / (16 * 32 * 32)  # 0.183: the published scale over its batch of 16 CIFAR-10 images


class MimicDiffusion(DiffusionPurifier):
    """Sample from pure noise by DDIM with eta 1; in the middle of the way every step is pulled towards the input.

    Two guidances descend the L1 distance between guess and input, one on the images ("long-range") and one on images
    upsampled four times by nearest neighbours ("short-range"). With the predicted noise held constant, as published,
    the gradient of either is a sign: nearest upsampling leaves a mean as it is, and the factors of the signal cancel.
    A guided step is therefore ``x - 2 scale sign(guess - input)``.

    The input enters through this sign only. Its exact derivative is zero almost everywhere, which is gradient masking
    and no robustness; ``backward`` says what stands in for it.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        steps: strides from time step 1,000 to 0.
        first: first guided stride, counted from 0.
        last: last guided stride.
        scale: how far one guidance moves a value of the state in one stride.
        backward: "surrogate" differentiates ``guess - input`` in place of its sign, as if the guidance descended half
            the squared distance; "identity" passes the gradient through the whole purifier unchanged.

    Cost: ``steps`` network passes per image.

    Source: Song and Lai, arXiv:2312.04802; strides, window and scale of the published code.
    Differs: the published scale of 3,000 acts on a mean over 16 images of 32 x 32 pixels, so that its strength depends
        on the batch; here 3000 / (16 * 1024) = 0.183 per value in any batch and at any size. No autograd is needed,
        the gradient is written down. Both backward modes are ours. The result is clamped to [0, 1].
    """

    name: ClassVar[str] = "mimicdiffusion"
    source: ClassVar[str] = "Song and Lai 2023, arXiv:2312.04802"
    gradient: ClassVar = "bpda"
    steps: int = Field(default=100, ge=1, le=1000)
    first: int = Field(default=21, ge=0)
    last: int = Field(default=89, ge=0)
    scale: Number = Field(default=SCALE, ge=0)
    backward: Literal["surrogate", "identity"] = "surrogate"

    @model_validator(mode="after")
    def _window(self) -> Self:
        if not self.first <= self.last < self.steps:
            raise ValueError(
                f"guided strides must lie within 0 to {self.steps - 1} (steps - 1) in rising order, "
                f"got first={self.first} and last={self.last}"
            )
        return self

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Network passes per image."""
        return self.steps

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        from lustral.diffusion.schedules import vp_linear
        from lustral.purifiers.substitute import needs_gradient, substitute
        from lustral.steps import show, step

        wanted = x.detach() if self.backward == "identity" else x
        schedule = vp_linear()
        y = noise.normal(x)
        for stride, (t, s) in enumerate(pairwise(schedule.times(schedule.steps, self.steps))):
            move = partial(_move, denoise, t=t, s=s, pull=2 * self.scale)
            target = (wanted,) if self.first <= stride <= self.last else ()
            y = step(move, y, noise.normal(x), *target)
            show("state", x=y, schedule=schedule, t=s)
        return substitute(y, x) if self.backward == "identity" and needs_gradient(x) else y


def _move(denoise: Denoise, y: State, z: State, *target: State, t: int, s: int, pull: float) -> State:
    """One stride, guided if there is a target; ancestral with the variance of the posterior is DDIM with eta 1."""
    from lustral.diffusion.samplers import ancestral_step
    from lustral.diffusion.schedules import vp_linear
    from lustral.purifiers.substitute import substitute

    moved, guess, _ = ancestral_step(denoise, y, vp_linear(), t, s, z, clip=False)
    for wanted in target:
        moved = moved - pull * substitute((guess - wanted).sign(), guess - wanted)
    return moved
