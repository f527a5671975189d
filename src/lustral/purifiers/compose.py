"""Purifiers made of purifiers: one after the other, again and again, or one at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, field_validator

from lustral.purifiers.base import Family, Gradient, PurifierSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.purifiers.module import Purifier
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Chain", "Part", "RandomChoice", "Repeat", "Series"]

_WEAKEST_FIRST: tuple[Gradient, ...] = ("none", "bpda", "exact")


def _read(part: Any) -> PurifierSettings:
    from lustral.purifiers import parse_purifier  # the list of purifiers contains this file

    return parse_purifier(part)


def _write(part: PurifierSettings) -> dict[str, Any]:
    return part.to_json()


Part = Annotated[PurifierSettings, BeforeValidator(_read), PlainSerializer(_write)]
"""Settings of a purifier; also read from ``{"name": ..., fields}`` and from text such as ``jpeg:quality=75``."""


def _weakest(parts: Sequence[PurifierSettings]) -> Gradient:
    return _WEAKEST_FIRST[min(_WEAKEST_FIRST.index(part.gradient) for part in parts)]


def _forks(noise: Noise, count: int) -> list[Noise]:
    """Independent noise for every part. Counts as one step, so that a second call with ``noise`` is a new draw."""
    forks = [noise.fork(str(index)) for index in range(count)]
    noise.step += 1
    return forks


class Series(PurifierSettings):
    """One purifier after the other; what leaves each of them is clamped to [0, 1].

    A subclass names its purifiers as it likes and lists them in ``stages``. The rest follows from them.
    """

    @property
    def stages(self) -> tuple[PurifierSettings, ...]:
        """The purifiers, first one first."""
        raise NotImplementedError

    @property
    def gradient(self) -> Gradient:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the parts
        """The weakest gradient among the parts."""
        return _weakest(self.stages)

    @property
    def is_random(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the parts
        """Whether any part is random."""
        return any(part.is_random for part in self.stages)

    @property
    def needs_target(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the parts
        """Whether any part needs the protected model."""
        return any(part.needs_target for part in self.stages)

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the parts
        """Network passes of all parts together."""
        return sum(part.passes for part in self.stages)

    def weights_used(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.stages for name in part.weights_used()))

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.purifiers.module import Purifier

        modules = [part.build(device, target) for part in self.stages]

        def run(x: Images, noise: Noise) -> Images:
            for module, own in zip(modules, _forks(noise, len(modules)), strict=True):
                x = module(x, own)
            return x

        return Purifier(self, run, *modules)


class Chain(Series):
    """One purifier after the other; what leaves each of them is clamped to [0, 1].

    Args:
        parts: at least one purifier, first one first.

    Source: composition; no paper.
    """

    name: ClassVar[str] = "chain"
    family: ClassVar[Family] = "composition"
    source: ClassVar[str] = "composition"
    parts: tuple[Part, ...] = Field(min_length=1)

    @property
    def stages(self) -> tuple[PurifierSettings, ...]:
        """The parts."""
        return self.parts


class Repeat(PurifierSettings):
    """The same purifier several times; if it is random, with new noise every time.

    Args:
        part: what to repeat; it is built once.
        times: how often, at least 1.

    Source: composition; (Compress and Restore)^N of paper 003 is a ``Repeat`` of ``compress_restore``.
    """

    name: ClassVar[str] = "repeat"
    family: ClassVar[Family] = "composition"
    source: ClassVar[str] = "composition"
    part: Part
    times: int = Field(ge=1, le=1000)

    @property
    def gradient(self) -> Gradient:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the part
        """The gradient of the part."""
        return self.part.gradient

    @property
    def is_random(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the part
        """Whether the part is random."""
        return self.part.is_random

    @property
    def needs_target(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the part
        """Whether the part needs the protected model."""
        return self.part.needs_target

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the part
        """Network passes of all repetitions together."""
        return self.times * self.part.passes

    def weights_used(self) -> tuple[str, ...]:
        return self.part.weights_used()

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.purifiers.module import Purifier

        module = self.part.build(device, target)

        def run(x: Images, noise: Noise) -> Images:
            for own in _forks(noise, self.times):
                x = module(x, own)
            return x

        return Purifier(self, run, module)


class RandomChoice(PurifierSettings):
    """For every image one of the parts, drawn anew at every purification.

    Args:
        parts: at least one purifier.
        weights: how likely each part is, up to a common factor; equally likely if not given.

    Source: composition; the random choice among transformations of Raff et al. (2019) without its chaining.
    """

    name: ClassVar[str] = "random_choice"
    family: ClassVar[Family] = "composition"
    source: ClassVar[str] = "composition"
    parts: tuple[Part, ...] = Field(min_length=1)
    weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None

    @field_validator("weights")
    @classmethod
    def _fits(cls, weights: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        parts = info.data.get("parts", ())  # absent if the parts themselves were wrong
        if weights is None or not parts:
            return weights
        if len(weights) != len(parts):
            raise ValueError(f"needs one weight per part, {len(parts)} in all")
        if sum(weights) <= 0:
            raise ValueError("at least one weight must exceed 0")
        return weights

    @property
    def _used(self) -> tuple[PurifierSettings, ...]:
        weights = self.weights or (1.0,) * len(self.parts)
        return tuple(part for part, weight in zip(self.parts, weights, strict=True) if weight > 0)

    @property
    def gradient(self) -> Gradient:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the parts
        """The weakest gradient among the parts that can be drawn."""
        return _weakest(self._used)

    @property
    def is_random(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the parts
        """Whether two different parts can be drawn, or a random one."""
        return len(set(self._used)) > 1 or any(part.is_random for part in self._used)

    @property
    def needs_target(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the parts
        """Whether any part needs the protected model."""
        return any(part.needs_target for part in self.parts)

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the parts
        """Network passes of the most expensive part: an image goes through one part only."""
        return max(part.passes for part in self._used)

    def weights_used(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.parts for name in part.weights_used()))

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        import torch

        from lustral.purifiers.module import Purifier

        modules = [part.build(device, target) for part in self.parts]
        shares = torch.tensor(self.weights or (1.0,) * len(modules), dtype=torch.float64)
        bounds = shares.cumsum(0)[:-1] / shares.sum()

        def run(x: Images, noise: Noise) -> Images:
            drawn = torch.bucketize(noise.numbers(1)[:, 0].double(), bounds, right=True)  # (n,)
            pieces: list[Tensor] = []
            order: list[Tensor] = []
            for index, (module, own) in enumerate(zip(modules, _forks(noise, len(modules)), strict=True)):
                rows = (drawn == index).nonzero()[:, 0]
                if len(rows):
                    pieces.append(module(x[rows.to(x.device)], own.select(rows)))
                    order.append(rows)
            return torch.cat(pieces)[torch.cat(order).argsort().to(x.device)]

        return Purifier(self, run, *modules)
