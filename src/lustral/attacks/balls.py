"""The set an attack may not leave: a norm ball around the clean image, inside [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lustral.seeds import Noise
from lustral.tensors import Images

__all__ = ["Ball", "Norm", "Region", "lengths", "normalise"]

Norm = Literal["linf", "l2"]
PerImage = Float[Tensor, " n"]
Flags = Bool[Tensor, " n"]


def lengths(d: Images, norm: Norm) -> PerImage:
    """Norm of every perturbation (n, 3, h, w) -> (n,), in units of the [0, 1] range."""
    flat = d.flatten(1)  # one pass each for the two ends is faster than abs, which needs memory
    return torch.maximum(flat.amax(1), -flat.amin(1)) if norm == "linf" else flat.norm(dim=1)


def normalise(g: Images, norm: Norm) -> Images:
    """Steepest ascent direction of unit length: the sign for Linf, the unit vector for L2 (zero stays zero)."""
    if norm == "linf":
        return g.sign()
    # A confident network has gradients so small that their squares are zero: scale them up first.
    scaled = g / lengths(g, "linf").clamp_min(torch.finfo(g.dtype).tiny)[:, None, None, None]
    return scaled.div_(lengths(scaled, "l2").clamp_min(1e-12)[:, None, None, None])


@dataclass(frozen=True)
class Ball:
    """All images within ``epsilon`` of a clean image, inside [0, 1].

    Args:
        norm: "linf" or "l2".
        epsilon: radius in units of the [0, 1] range (8/255 = 0.0314).
    """

    norm: Norm
    epsilon: float

    def shrink(self, d: Images) -> Images:
        """The nearest perturbation (n, 3, h, w) of length at most epsilon, without regard to [0, 1]."""
        if self.norm == "linf":
            return d.clamp(-self.epsilon, self.epsilon)
        factor = (self.epsilon / lengths(d, "l2").clamp_min(1e-12)).clamp_max(1.0)
        return d * factor[:, None, None, None]

    def project(self, x: Images, clean: Images) -> Images:
        """The nearest image inside; for L2 first onto the ball, then into [0, 1], which keeps it inside."""
        if self.norm == "linf":
            return torch.minimum(torch.maximum(x, clean - self.epsilon), clean + self.epsilon).clamp_(0, 1)
        return (clean + self.shrink(x - clean)).clamp_(0, 1)

    def to_8_bit(self, x: Images, clean: Images) -> Images:
        """The 8-bit image nearest to ``x`` (n, 3, h, w) that lies inside, as floats; ``clean`` must be 8-bit.

        Rounding can leave the ball by half a level. For Linf such values step back by one level; for L2 the
        perturbations that leave are shortened, by as little as a bisection finds, before they are rounded.
        """
        centre = clean.mul(255).round_()
        offset = x.clamp(0, 1).mul_(255).sub_(centre)  # in levels
        radius = self.epsilon * 255 + 1e-3  # the float error of a value that sits on the border
        if self.norm == "linf":
            limit = float(int(radius))
            return offset.round_().clamp_(-limit, limit).add_(centre).div_(255)
        outside = lengths(offset.round(), "l2") > radius
        short = torch.zeros(len(x), device=x.device, dtype=x.dtype)
        long = torch.ones_like(short)
        for _ in range(12 if bool(outside.any()) else 0):
            middle = (short + long) / 2
            fits = lengths((offset * middle[:, None, None, None]).round_(), "l2") <= radius
            short, long = torch.where(fits, middle, short), torch.where(fits, long, middle)
        scale = torch.where(outside, short, torch.ones_like(short))
        return (offset * scale[:, None, None, None]).round_().add_(centre).div_(255)

    def around(self, clean: Images) -> Region:
        """The ball around these clean images, for loops that project often."""
        return Region(self, clean)

    def contains(self, x: Images, clean: Images) -> Flags:
        """Whether each image lies inside, up to float error of 1e-5 of the range."""
        inside = lengths(x - clean, self.norm) <= self.epsilon * (1 + 1e-5) + 1e-5
        flat = x.flatten(1)
        return inside & (flat.amin(1) >= -1e-6) & (flat.amax(1) <= 1 + 1e-6)

    def random_start(self, clean: Images, noise: Noise) -> Images:
        """A point of the ball: uniform in the box for Linf; a Gaussian direction of uniform length for L2."""
        if self.norm == "linf":
            return self.project(clean + self.epsilon * (2 * noise.uniform(clean) - 1), clean)
        direction = normalise(noise.normal(clean), "l2")
        radius = self.epsilon * noise.numbers().to(clean)[:, :, None, None]
        return self.project(clean + radius * direction, clean)

    def random_border(self, clean: Images, noise: Noise) -> Images:
        """A random corner of the box for Linf, a random point of the sphere for L2, then clipped to [0, 1]."""
        if self.norm == "linf":
            return self.project(clean + self.epsilon * noise.signs(clean), clean)
        return self.project(clean + self.epsilon * normalise(noise.normal(clean), "l2"), clean)


class Region:
    """A ball around given clean images. Works in place: fresh memory costs more than the arithmetic.

    Args:
        ball: norm and radius.
        clean: its centres (n, 3, h, w).
    """

    def __init__(self, ball: Ball, clean: Images) -> None:
        self.ball, self.clean = ball, clean
        if ball.norm == "linf":
            self.low, self.high = (clean - ball.epsilon).clamp_(0, 1), (clean + ball.epsilon).clamp_(0, 1)

    def project_(self, x: Images) -> Images:
        """``Ball.project``, written into ``x``."""
        if self.ball.norm == "linf":
            return x.clamp_(self.low, self.high)
        factor = (self.ball.epsilon / lengths(x.sub_(self.clean), "l2").clamp_min(1e-12)).clamp_max_(1.0)
        return x.mul_(factor[:, None, None, None]).add_(self.clean).clamp_(0, 1)

    def ascend(self, x: Images, gradient: Images, step: float | Tensor) -> Images:
        """A new image: ``x`` moved by ``step`` in the direction of steepest ascent, projected."""
        direction = normalise(gradient, self.ball.norm)
        return self.project_(direction.mul_(step).add_(x))

    def select(self, rows: Tensor) -> Region:
        """The same around some of the images."""
        return Region(self.ball, self.clean[rows])
