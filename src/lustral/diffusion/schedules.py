"""Noise schedules: how much of the image and how much noise there is at every integer time step.

Time step 0 is the image without noise, time step ``steps`` the most noise. Published code counts from
index 0, so that its index ``i`` is our time step ``i + 1``, and its ``t* = 100`` is our time step 100.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BETA_MAX",
    "BETA_MIN",
    "Schedule",
    "edm_sigmas",
    "variance_exploding",
    "vp_beta",
    "vp_continuous",
    "vp_linear",
]

BETA_MIN, BETA_MAX = 0.1, 20.0


@dataclass(frozen=True)
class Schedule:
    """Levels of a diffusion by integer time step: ``x_t = scale_t (x_0 + sigma_t e)`` with e standard normal.

    Images are in [-1, 1], and so are the units of sigma.

    Attributes:
        name: of the family.
        sigmas: noise over signal (steps + 1,), rising from 0.
        scales: factor of the image (steps + 1,); all 1 for a variance-exploding schedule.
    """

    name: str
    sigmas: tuple[float, ...]
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.sigmas) != len(self.scales) or len(self.sigmas) < 2:
            raise ValueError("a schedule needs one scale per sigma and at least one step")
        if self.sigmas[0] != 0 or not all(a < b for a, b in pairwise(self.sigmas)):
            raise ValueError("the sigmas of a schedule must start at 0 and rise")

    @property
    def steps(self) -> int:
        """Largest time step."""
        return len(self.sigmas) - 1

    @property
    def is_variance_preserving(self) -> bool:
        """Whether images of unit variance keep it: ``scale**2 * (1 + sigma**2) = 1``."""
        return abs(self.scales[-1] ** 2 * (1 + self.sigmas[-1] ** 2) - 1) < 1e-6

    @property
    def is_unscaled(self) -> bool:
        """Whether noise is added to the image as it is."""
        return all(scale == 1 for scale in self.scales)

    @cached_property
    def _table(self) -> NDArray[np.float64]:
        return np.asarray(self.sigmas)

    def nearest(self, sigma: float) -> int:
        """Time step of at least 1 whose sigma is nearest on a logarithmic scale.

        Raises:
            ValueError: ``sigma`` is not positive.
        """
        if not sigma > 0:
            raise ValueError(f"expected sigma > 0, got {sigma}")
        return 1 + int(np.abs(np.log(self._table[1:]) - np.log(sigma)).argmin())

    def times(self, start: int, count: int | None = None) -> tuple[int, ...]:
        """Time steps from ``start`` down to 0 in ``count`` strides as even as integers allow; all of them by default.

        >>> vp_linear().times(10, 4)
        (10, 8, 5, 2, 0)

        Raises:
            ValueError: ``start`` is not a time step, or there are more strides than steps.
        """
        count = start if count is None else count
        if not 1 <= start <= self.steps:
            raise ValueError(f"expected a time step of 1 to {self.steps}, got {start}")
        if not 1 <= count <= start:
            raise ValueError(f"from time step {start} there are 1 to {start} strides to 0, got {count}")
        return tuple(round(start * (count - k) / count) for k in range(count + 1))


def _from_abar(name: str, abar: NDArray[np.float64]) -> Schedule:
    """``abar``: share of signal power, from 1 down."""
    return Schedule(name, tuple(np.sqrt((1 - abar) / abar).tolist()), tuple(np.sqrt(abar).tolist()))


@lru_cache
def vp_linear(steps: int = 1000) -> Schedule:
    """Variance-preserving schedule of DDPM: ``beta`` rises linearly from 1e-4 to 2e-2 over 1,000 steps.

    Source: Ho, Jain, Abbeel, arXiv:2006.11239, section 4. Differs: for other numbers of steps the ends scale
        with 1000 / steps, as in guided-diffusion.

    Raises:
        ValueError: so few steps that the last ones would remove more than all of the image.
    """
    if steps <= BETA_MAX:
        raise ValueError(f"vp_linear needs more than {BETA_MAX:.0f} steps, got {steps}; take strides over more steps")
    beta = np.linspace(BETA_MIN / steps, BETA_MAX / steps, steps)
    return _from_abar("vp_linear", np.concatenate([[1.0], np.cumprod(1 - beta)]))


def vp_beta(time: float) -> float:
    """Rate of the continuous variance-preserving SDE at ``time`` in [0, 1]."""
    return BETA_MIN + (BETA_MAX - BETA_MIN) * time


@lru_cache
def vp_continuous(steps: int = 1000) -> Schedule:
    """The continuous twin of ``vp_linear``, sampled at ``t / steps``; they differ in the third or fourth decimal.

    Source: Song et al., arXiv:2011.13456, equation 33.
    """
    time = np.arange(steps + 1) / steps
    return _from_abar("vp_continuous", np.exp(-0.5 * (BETA_MAX - BETA_MIN) * time**2 - BETA_MIN * time))


@lru_cache
def variance_exploding(steps: int = 1000, sigma_min: float = 0.02, sigma_max: float = 80.0) -> Schedule:
    """Variance-exploding schedule: a geometric sequence from ``sigma_min`` at step 1 to ``sigma_max``.

    Source: Song et al., arXiv:2011.13456, appendix C. Differs: images are in [-1, 1], so both ends are twice
        theirs (0.01 and 50 there); 80 instead of 100 is the limit of EDM.
    """
    sigmas = sigma_min * (sigma_max / sigma_min) ** (np.arange(steps) / max(1, steps - 1))
    return Schedule("variance_exploding", (0.0, *sigmas.tolist()), (1.0,) * (steps + 1))


@lru_cache
def edm_sigmas(count: int, sigma_max: float = 80.0, sigma_min: float = 0.002, rho: float = 7.0) -> Schedule:
    """The discretisation of EDM with ``count`` network levels, as a schedule without scaling.

    Source: Karras et al., arXiv:2206.00364, equation 5.
    """
    part = np.arange(count) / max(1, count - 1)
    levels = (sigma_max ** (1 / rho) + part * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    return Schedule("edm", (0.0, *levels[::-1].tolist()), (1.0,) * (count + 1))
