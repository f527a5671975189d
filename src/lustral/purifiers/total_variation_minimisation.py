"""Total variation minimisation: forget random pixels and fill in the smoothest image that fits the others."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["TotalVariationMinimisation", "minimise"]

_SCALE = 0.1  # primal over dual step: how far values move while the dual moves by 1; tuned on photographs
_SEGMENT = 20  # iterations between two states that a checkpointed backward pass keeps


class TotalVariationMinimisation(PurifierSettings):
    """Minimise ``|kept (y - x)|^2 / (2 strength) + TV(y)``, ``kept`` being 1 at random pixels and 0 elsewhere.

    Every channel of every pixel is kept or dropped on its own. TV is isotropic, per channel, of forward differences.

    Args:
        keep: probability of keeping a value.
        strength: weight of the total variation, in units of the [0, 1] range.
        iterations: of the solver. On photographs at the default settings 100 bring the mean distance to the minimiser
            below a third of an 8-bit level.

    Cost: no network; about 8 ms for an image of 32 x 32 pixels on one core, 2 ms in larger batches;
        the derivative three times as much, and 12 MB of memory per image unless ``checkpointing`` is on.

    Source: Guo et al., "Countering adversarial images using input transformations", ICLR 2018, "total variance
        minimization", keep 0.5, strength 0.03; solved as in Chambolle and Pock 2011, algorithm 1.
    Differs: the squared misfit over 2 and the isotropic variation are those of the published code; the paper writes the
        norm of the misfit and norms of rows and columns. Its split Bregman steps have no useful derivative; the
        solver here is unrolled, and the gradient is the true one of what it computes. Values that are 0 can be dropped;
        the published code always keeps them. ``total_variation`` drops nothing.
    """

    name: ClassVar[str] = "total_variation_minimisation"
    family: ClassVar[Family] = "filtering"
    source: ClassVar[str] = "Guo et al. 2018, total variance minimization"
    gradient: ClassVar = "exact"
    is_random: ClassVar[bool] = True
    presets: ClassVar = ({"keep": 0.5, "strength": 0.03},)
    keep: Number = Field(default=0.5, gt=0, lt=1)
    strength: Number = Field(default=0.03, gt=0, le=10)
    iterations: int = Field(default=100, ge=1, le=100_000)

    def purify(self, x: Images, noise: Noise) -> Images:
        kept = noise.uniform(x).lt(self.keep).to(x.dtype)
        return minimise(x, kept, self.strength, self.iterations)


def minimise(x: Tensor, kept: Tensor, strength: float, iterations: int) -> Tensor:
    """The primal-dual iteration from local means of the kept values.

    Args:
        x: (n, c, h, w).
        kept: 0 or 1, same shape.
        strength: weight of the total variation, above 0.
        iterations: how many, at least 1.
    """
    from lustral.steps import step

    ratio = _SCALE / 8**0.5 / strength  # the squared norm of the differences is at most 8

    def some(
        count: int, x: Tensor, kept: Tensor, y: Tensor, ahead: Tensor, dual: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        pull, give = ratio * kept * x, 1 / (1 + ratio * kept)
        for _ in range(count):
            dual = _shorten(dual + _differences(ahead) / (_SCALE * 8**0.5))
            moved = (y - _adjoint(dual) * (_SCALE / 8**0.5) + pull) * give
            y, ahead = moved, 2 * moved - y
        return y, ahead, dual

    y = step(_fill, x, kept)
    ahead, dual = y, x.new_zeros(2, *x.shape)
    for done in range(0, iterations, _SEGMENT):
        count = min(_SEGMENT, iterations - done)
        y, ahead, dual = step(partial(some, count), x, kept, y, ahead, dual)
    return y


def _fill(x: Tensor, kept: Tensor) -> Tensor:
    """Kept values, and in between the mean of those in a window of 5 x 5 (grey where there are none)."""
    from torch.nn.functional import avg_pool2d

    grey = 1e-3
    total, count = (avg_pool2d(values, 5, stride=1, padding=2) * 25 for values in (kept * x, kept))
    return kept * x + (1 - kept) * (total + 0.5 * grey) / (count + grey)


def _differences(y: Tensor) -> Tensor:
    """Forward differences (2, n, c, h, w) down and to the right, 0 at the border."""
    import torch
    from torch.nn.functional import pad

    return torch.stack((pad(y.diff(dim=2), (0, 0, 0, 1)), pad(y.diff(dim=3), (0, 1))))


def _adjoint(dual: Tensor) -> Tensor:
    from torch.nn.functional import pad

    down, right = dual[0, :, :, :-1], dual[1, :, :, :, :-1]
    return pad(down, (0, 0, 1, 0)) - pad(down, (0, 0, 0, 1)) + pad(right, (1, 0)) - pad(right, (0, 1))


def _shorten(dual: Tensor) -> Tensor:
    """Vectors longer than 1 are shortened to 1; clamped before the root, whose slope at 0 is infinite."""
    return dual / dual.square().sum(dim=0).clamp(min=1).sqrt()
