"""The value of a setting at which a measured intensity is a level: bracket it, then bisect. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Found", "Status", "align"]

Status = Literal["reached", "nearest", "unreached"]

_FLAT = 5  # values, each twice the one before, that measure the same: a sixteenfold change of the setting has no effect
_SAME = 1e-4  # of an intensity
_CLOSEST = 1e-3  # ratio of two settings between which an intensity counts as jumping


@dataclass(frozen=True)
class Found:
    """What a search ended with.

    Attributes:
        position: the value tried whose intensity is nearest to the level.
        intensity: there.
        status: "reached" is within the tolerance, "nearest" the best of whole numbers, "unreached" neither.
        evaluations: different values that were measured.
        reason: why the level was not reached; empty if it was.
    """

    position: float
    intensity: float
    status: Status
    evaluations: int
    reason: str = ""


@dataclass(frozen=True)
class _Range:
    """Values that may be tried, and how to go from one to the next."""

    low: float
    high: float
    whole: bool = False

    def inside(self, value: float) -> float:
        return float(min(max(round(value) if self.whole else value, self.low), self.high))

    def farther(self, value: float, up: bool) -> float:
        """Twice or half of it, or the end of the range."""
        if self.whole:
            return self.inside(max(2 * value, value + 1) if up else value // 2)
        return self.inside(value * 2 if up else value / 2)

    def following(self, weak: float | None, strong: float | None) -> float | None:
        """What to try next, given a value that is too weak, one that is too strong, or both; None is nothing."""
        if weak is not None and strong is not None:
            return self.between(weak, strong)
        known = weak if weak is not None else strong or 0.0
        following = self.farther(known, up=weak is not None)
        return None if following in (known, 0.0) else following

    def between(self, weak: float, strong: float) -> float | None:
        """The middle of a bracket, by ratio; None where no value worth trying lies inside."""
        if self.whole:
            return None if strong - weak <= 1 else float((weak + strong) // 2)
        return None if strong <= weak * (1 + _CLOSEST) else math.sqrt(weak * strong)


def align(
    measure: Callable[[float], float],
    start: float,
    level: float,
    *,
    tolerance: float,
    rising: bool = True,
    low: float = 0.0,
    high: float = math.inf,
    whole: bool = False,
    evaluations: int = 20,
) -> Found:
    """Look for the value at which ``measure`` gives ``level``.

    The value is doubled or halved from ``start`` until two measured intensities bracket the level, then the bracket
    is halved by ratio. The function need not be smooth or quite monotone: the bracket holds measured points, the
    tolerance is asked of a measured point, and of all points tried the nearest is returned.

    Args:
        measure: value -> intensity; asked at most once for each value.
        start: first value, above 0.
        level: the intensity that is wanted.
        tolerance: largest difference from ``level``, in units of the intensity.
        rising: whether larger values have larger intensities, as Linf, or smaller ones, as PSNR.
        low: smallest value that may be tried.
        high: largest value that may be tried.
        whole: whether values are whole numbers; then the nearer of two neighbours around the level is found.
        evaluations: most values to measure.

    Raises:
        ValueError: ``start`` is not above 0, or a number makes no sense.
    """
    if not (start > 0 and low <= high and tolerance >= 0 and evaluations >= 1):
        raise ValueError(f"expected start above 0 and low <= high, got start={start:g}, low={low:g}, high={high:g}")
    grid = _Range(math.ceil(low), math.floor(high) if high < math.inf else high, True) if whole else _Range(low, high)
    tried: dict[float, float] = {}
    weak: float | None = None
    strong: float | None = None
    position, following, reason = grid.inside(start), None, ""
    while not reason:
        tried[position] = intensity = measure(position)
        if abs(intensity - level) <= tolerance:
            return Found(position, intensity, "reached", len(tried))
        weak, strong = (position, strong) if (intensity < level) == rising else (weak, position)
        following = grid.following(weak, strong)
        if following is None:
            reason = _no_more(tried, weak, strong)
        elif len(tried) >= evaluations:
            reason = f"{evaluations} evaluations were not enough"
        elif (weak is None or strong is None) and _is_flat(list(tried.values())):
            reason = f"it hardly changes from {next(iter(tried)):.6g} to {position:.6g}"
        else:
            position = following
    best = min(tried, key=lambda value: abs(tried[value] - level))
    settled = whole and following is None and weak is not None and strong is not None
    return Found(best, tried[best], "nearest" if settled else "unreached", len(tried), reason)


def _no_more(tried: dict[float, float], weak: float | None, strong: float | None) -> str:
    if weak is None or strong is None:
        return f"{list(tried)[-1]:.6g} is the last value that may be tried"
    return f"between {weak:.6g} and {strong:.6g} it jumps from {tried[weak]:.4g} to {tried[strong]:.4g}"


def _is_flat(values: list[float]) -> bool:
    last = values[-_FLAT:]
    return len(last) == _FLAT and max(last) - min(last) <= _SAME * max(map(abs, last))
