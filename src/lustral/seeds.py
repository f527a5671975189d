"""Randomness by coordinates: nothing global, every image has its own generator, everything replays."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

__all__ = ["Noise", "seed_of"]

PerImage = Float[Tensor, "n ..."]


def seed_of(*coordinates: object) -> int:
    """63-bit seed that depends only on the coordinates given, not on order of execution.

    >>> seed_of("run", 0, "image-7") == seed_of("run", 0, "image-7")
    True
    """
    text = "\x1f".join(map(str, coordinates))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Noise:
    """The randomness of one batch, one independent stream per image.

    A stream is named by (seed, purpose, image key, step). Each sampling call is one step and advances
    the step by one, so a function that samples three times uses steps 0, 1 and 2 of its noise, and
    ``noise.replay()`` gives exactly those numbers again: a backward pass can redo its forward pass,
    and no result depends on which other images were in the batch, on order, workers or restarts.

    Numbers are drawn on the CPU in float32 and then moved and cast, so that they are the same on every
    device and in every precision.

    Args:
        seed: seed of the whole run.
        purpose: what the numbers are for ("attack", "score", ...); different purposes never share numbers.
        images: one key per row of the batch, normally the image ids of the data set.
        step: number of sampling calls already made.
    """

    def __init__(self, seed: int, purpose: str, images: Sequence[str], step: int = 0) -> None:
        self.seed = seed
        self.purpose = purpose
        self.images = tuple(images)
        self.step = step

    @classmethod
    def fresh(cls, n: int) -> Noise:
        """Unpredictable noise for ``n`` images in deployment: an attacker must not know the seed."""
        return cls(secrets.randbits(63), "deployment", [str(row) for row in range(n)])

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Noise(seed={self.seed}, purpose={self.purpose!r}, n={len(self)}, step={self.step})"

    def fork(self, purpose: str) -> Noise:
        """Independent noise for a part of the work; does not advance this one."""
        return Noise(self.seed, f"{self.purpose}/{purpose}@{self.step}", self.images)

    def replay(self, step: int = 0) -> Noise:
        """The same noise from ``step`` on."""
        return Noise(self.seed, self.purpose, self.images, step)

    def select(self, rows: Int64[Tensor, " m"] | Bool[Tensor, " n"] | Sequence[int]) -> Noise:
        """The noise of some rows, for images that stay in the batch while others leave it."""
        chosen = torch.arange(len(self))[torch.as_tensor(rows).cpu()].tolist()
        return Noise(self.seed, self.purpose, [self.images[row] for row in chosen], self.step)

    def draws(self, first: int, count: int) -> Noise:
        """Noise for ``count`` independent copies of every image, copies of one image side by side.

        Row ``i * count + k`` belongs to draw ``first + k`` of image ``i``, the order of
        ``x.repeat_interleave(count, 0)``. Draw numbers make the streams differ; step counts start at 0.
        """
        keys = [f"{image}#{draw}" for image in self.images for draw in range(first, first + count)]
        return Noise(self.seed, self.purpose, keys)

    def _generators(self) -> list[torch.Generator]:
        step, self.step = self.step, self.step + 1
        return [torch.Generator().manual_seed(seed_of(self.seed, self.purpose, image, step)) for image in self.images]

    def _match(self, like: Tensor) -> None:
        if len(like) != len(self):
            raise ValueError(f"noise was made for {len(self)} images, got a batch of {len(like)}")

    def _fill(self, like: Tensor, fill: str, *arguments: float) -> Tensor:
        self._match(like)
        out = torch.empty(like.shape, dtype=torch.float32)  # one buffer: torch.stack of pieces is ten times slower
        for row, generator in zip(out, self._generators(), strict=True):
            getattr(row, fill)(*arguments, generator=generator)
        return out.to(device=like.device, dtype=like.dtype)

    def normal(self, like: PerImage) -> PerImage:
        """Standard normal numbers of the shape, device and dtype of ``like`` (n, ...)."""
        return self._fill(like, "normal_", 0.0, 1.0)

    def uniform(self, like: PerImage) -> PerImage:
        """Uniform numbers in [0, 1) of the shape, device and dtype of ``like`` (n, ...)."""
        return self._fill(like, "uniform_", 0.0, 1.0)

    def signs(self, like: PerImage) -> PerImage:
        """Fair -1 / +1 of the shape, device and dtype of ``like`` (n, ...)."""
        return self.uniform(like).ge(0.5).to(like.dtype).mul_(2).sub_(1)

    def integers(self, low: int, high: int, count: int = 1) -> Int64[Tensor, "n count"]:
        """``count`` integers per image, uniform over low, ..., high - 1, on the CPU."""
        if high <= low:
            raise ValueError(f"high must exceed low, got low={low}, high={high}")
        rows = [torch.randint(low, high, (count,), generator=g) for g in self._generators()]
        return torch.stack(rows) if rows else torch.empty(0, count, dtype=torch.int64)

    def numbers(self, count: int = 1) -> Float[Tensor, "n count"]:
        """``count`` uniform numbers in [0, 1) per image, float32 on the CPU."""
        return self.uniform(torch.empty(len(self), count))

    def permutation(self, size: int) -> Int64[Tensor, "n size"]:
        """A random order of 0, ..., size - 1 per image, on the CPU."""
        rows = [torch.randperm(size, generator=g) for g in self._generators()]
        return torch.stack(rows) if rows else torch.empty(0, size, dtype=torch.int64)
