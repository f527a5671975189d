"""ScoreOpt: move the image, or its noisy copy, to where the score agrees with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from lustral.purifiers.diffusion import DiffusionPurifier

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.diffusion.samplers import Denoise, State
    from lustral.seeds import Noise

__all__ = ["ScoreOpt"]

_SPREAD = 0.1  # of the noise levels around sigma, variant "image"
_FIRST, _SECOND = 0.9, 0.999  # Adam's


def _adam(
    x: Tensor, mean: Tensor, square: Tensor, gradient: Tensor, count: int, rate: float, epsilon: float
) -> tuple[Tensor, ...]:
    """Step ``count`` of Adam: the new ``x`` and the two running averages, differentiable in all of them."""
    mean = _FIRST * mean + (1 - _FIRST) * gradient
    square = _SECOND * square + (1 - _SECOND) * gradient.square()
    # The square root has no derivative at 0, which a pixel without any gradient reaches; there it is a constant.
    moving = square > 0
    root = (square.where(moving, 1.0) / (1 - _SECOND**count)).sqrt().where(moving, 0.0)
    return x - rate / (1 - _FIRST**count) * mean / (root + epsilon), mean, square


class ScoreOpt(DiffusionPurifier):
    """A few steps of Adam on the denoising loss, then the result.

    Both losses are means over the pixels and channels of one image, in units of [-1, 1]:

    - "noise" (ScoreOpt-N): e is drawn once and ``x + sigma e`` is optimised until the noise that the denoiser
      finds, ``(x - D(x, sigma)) / sigma``, is e; the result is ``D(x, sigma)``.
    - "image" (ScoreOpt-O): the image itself is optimised for ``|D(x + s e, s) - x|^2``, with new e and a new level
      s from sigma - 0.1 to sigma + 0.1 in every step; the result is x.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        variant: "noise" or "image".
        sigma: noise level in units of [-1, 1]; the paper's t* = 0.25 is 0.25, and above 0.1 for "image".
        steps: steps of Adam.
        learning_rate: of Adam, in units of [-1, 1].
        adam_epsilon: Adam's epsilon. It is what ties a step to the scale of the loss, and with 1e-8 next to gradients
            of 1e-5 to 1e-3 the first step is nearly a sign: its exact derivative is small but for rare sharp peaks, and
            of little use to an attacker. Raise it for a smooth surrogate.

    Cost: a step is a forward and a backward pass, counted as 3 passes: ``3 steps``, and one more for "noise".
        Its exact gradient runs back through that backward pass as well.

    Source: Zhang et al., "Enhancing adversarial robustness via score-based optimization", arXiv:2307.04333, and
        the settings of its published code; paper 002 calls sigma 0.25 with 5 steps "iterative one-shot denoising".
    Differs: the level s is drawn for every image, not for the batch. The loss is that of one image, as in published
        code with batches of one. Gradients are exact, through all steps of Adam and the backward passes in them;
        published attacks replace the optimisation by one-shot denoising.
    """

    name: ClassVar[str] = "scoreopt"
    source: ClassVar[str] = "Zhang et al. 2023, arXiv:2307.04333"
    presets: ClassVar = (
        {"variant": "noise", "sigma": 0.25, "steps": 5, "learning_rate": 0.1},
        {"variant": "image", "sigma": 0.25, "steps": 20, "learning_rate": 0.01},
        {"variant": "noise", "sigma": 0.5, "steps": 20, "learning_rate": 0.1},
        {"variant": "image", "sigma": 0.5, "steps": 5, "learning_rate": 0.1},
    )
    variant: Literal["noise", "image"] = "noise"
    sigma: float = Field(default=0.25, gt=0, le=80)
    steps: int = Field(default=5, ge=1, le=1000)
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    adam_epsilon: float = Field(default=1e-8, gt=0, le=1)

    @field_validator("sigma")
    @classmethod
    def _levels_stay_positive(cls, sigma: float, info: ValidationInfo) -> float:
        if info.data.get("variant") == "image" and sigma <= _SPREAD:
            raise ValueError(f"must exceed {_SPREAD} for the variant 'image', whose levels are sigma +- {_SPREAD}")
        return sigma

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Network passes per image, a backward pass counted as two."""
        return 3 * self.steps + (self.variant == "noise")

    def clean(self, denoise: Denoise, x: State, noise: Noise) -> State:
        return (self._clean_noise if self.variant == "noise" else self._clean_image)(denoise, x, noise)

    def _clean_noise(self, denoise: Denoise, x: State, noise: Noise) -> State:
        from lustral.diffusion.samplers import one_shot
        from lustral.diffusion.schedules import Schedule
        from lustral.steps import show

        schedule = Schedule("scoreopt", (0.0, self.sigma), (1.0, 1.0))
        e = noise.normal(x)
        show("diffused", x=x, e=e, schedule=schedule, t=1)
        level = x.new_full((len(x),), self.sigma)

        def loss(x: State, e: State) -> Tensor:
            return ((x - denoise(x, level)) / self.sigma - e).square().flatten(1).mean(1)

        x = self._optimise(loss, x + self.sigma * e, lambda: (e,), lambda x: show("state", x=x, schedule=schedule, t=1))
        return one_shot(denoise, x, schedule, 1)

    def _clean_image(self, denoise: Denoise, x: State, noise: Noise) -> State:
        from lustral.diffusion.schedules import Schedule
        from lustral.steps import show

        schedule = Schedule("scoreopt", (0.0, self.sigma), (1.0, 1.0))

        def draw() -> tuple[Tensor, Tensor]:
            level = self.sigma + _SPREAD * (2 * noise.uniform(x[:, 0, 0, 0]) - 1)  # (n,)
            return level, noise.normal(x)

        def loss(x: State, level: Tensor, e: State) -> Tensor:
            guess = denoise(x + level[:, None, None, None] * e, level)
            return (guess - x).square().flatten(1).mean(1)

        return self._optimise(loss, x, draw, lambda x: show("state", x=x, schedule=schedule, t=0))

    def _optimise(
        self, loss: Callable[..., Tensor], x: State, draw: Callable[[], tuple[Tensor, ...]],
        watch: Callable[[State], None],
    ) -> State:  # fmt: skip
        """``steps`` steps of Adam from ``x`` on the sum of ``loss(x, *draw())`` over the batch."""
        from lustral.purifiers.guidance import slope
        from lustral.steps import step

        def move(count: int, x: Tensor, mean: Tensor, square: Tensor, *draws: Tensor) -> tuple[Tensor, ...]:
            return _adam(x, mean, square, slope(loss, x, *draws), count, self.learning_rate, self.adam_epsilon)

        mean = square = x.new_zeros(x.shape)
        for count in range(1, self.steps + 1):
            x, mean, square = step(partial(move, count), x, mean, square, *draw())
            watch(x)
        return x
