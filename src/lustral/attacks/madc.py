"""MADC: move the score while the squared error stays what it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["MADC", "tangent"]


def tangent(gradient: Tensor, d: Images) -> Images:
    """The part of a gradient (n, 3, h, w) along which the squared error of the perturbation ``d`` does not change.

    It is the gradient itself where there is no perturbation yet, and zero where nothing but rounding is left of it.

    Source: Wang and Simoncelli 2008, doi:10.1167/8.12.8, the projected gradient, for the squared error.
    """
    import torch

    from lustral.attacks.balls import lengths

    radial, slope = d.flatten(1), gradient.flatten(1)
    square = radial.square().sum(1).clamp_min_(torch.finfo(d.dtype).tiny)
    along = (slope * radial).sum(1) / square
    rest = torch.addcmul(slope, along[:, None], radial, value=-1).view_as(d)
    # The largest values, not the L2 lengths: the squares of a confident classifier's gradient are zero.
    real = lengths(rest, "linf") > math.sqrt(torch.finfo(d.dtype).eps) * lengths(gradient, "linf")
    return rest.mul_(real[:, None, None, None])


class MADC(AttackSettings):
    """Steps along the surface of equal squared error, on which the objective rises fastest.

    The first step follows the gradient itself, as the clean image has no such surface. Every later step has a
    length of its own and so leaves the surface a little to the outside, which is how the perturbation grows.

    Cost: ``steps`` gradients and one loss per image and draw.

    Args:
        steps: number of steps.
        step: root mean square of a step in units of the [0, 1] range, and with ``signed`` the change of every value;
            None is ``epsilon / steps``, the strength levels of the paper.
        cap: largest root mean square of the perturbation, in the same units.
        signed: only the signs of the projected gradient count, as in the published code; else it is scaled.

    Source: Guardians of image quality (arXiv:2408.01541), appendix on attacks; Wang and Simoncelli 2008, "Maximum
        differentiation (MAD) competition", doi:10.1167/8.12.8.
    Differs: signs leave the tangent, so only ``signed=False`` keeps to the formula; the default is what the benchmark
        runs. A perturbation beyond ``cap`` is scaled back at once, where the benchmark's code walks back in signed
        steps of 5e-4. ``epsilon`` bounds every value, the benchmark nothing but ``cap``: that is ``epsilon=1`` with
        ``step`` given. An image whose gradient has no tangent part stays where it is. Wang and Simoncelli start from a
        noisy image and return to its surface after every step.
    """

    name: ClassVar[str] = "madc"
    source: ClassVar[str] = "arXiv:2408.01541; doi:10.1167/8.12.8"
    needs: ClassVar = "gradients"
    norm: Literal["linf"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride] settings are frozen
    steps: int = Field(default=8, ge=1)
    step: Number | None = Field(default=None, gt=0)
    cap: Number = Field(default=10 / 255, gt=0)
    signed: bool = True

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        from lustral.attacks.balls import Ball, normalise
        from lustral.attacks.budgets import l2_of_normalised

        step = self.epsilon / self.steps if self.step is None else self.step
        length = step if self.signed else l2_of_normalised(step, *x.shape[2:])
        sphere = Ball("l2", l2_of_normalised(self.cap, *x.shape[2:]))
        region, point, d = self.ball().around(x), x, x.new_zeros(x.shape)
        for _ in range(self.steps):
            slope = tangent(oracle.gradient(point).gradient, d)
            direction = normalise(slope, "linf" if self.signed else "l2")
            d = sphere.shrink(region.project_(direction.mul_(length).add_(point)).sub_(x))
            point = region.project_(x + d)  # against rounding
        oracle.loss(point)
        return point
