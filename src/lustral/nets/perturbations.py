"""Perturbations that are learnt once: one tile for all images, or a network that makes one per image in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.weights import WeightsError, load_weights

__all__ = ["PerturbationGenerator", "UniversalPerturbation", "load_perturbation"]

START = 1e-3  # every number of a new tile
LEVELS = 127  # a saved tile has 8 bits with sign


class UniversalPerturbation(nn.Module):
    """One rectangle of numbers, repeated over every image from its upper left corner.

    Args:
        height: of the rectangle in pixels.
        width: of the rectangle in pixels; None is ``height``.

    Shape: images (n, 3, h, w), of which nothing but the size matters -> perturbations (n, 3, h, w) in [-1, 1].
    """

    def __init__(self, height: int = 128, width: int | None = None) -> None:
        super().__init__()
        self.tile = nn.Parameter(torch.full((3, height, height if width is None else width), START))

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        height, width = x.shape[2:]
        down, across = (-(-side // step) for side, step in zip((height, width), self.tile.shape[1:], strict=True))
        return self.tile.repeat(1, down, across)[:, :height, :width].expand(len(x), -1, -1, -1)

    @torch.no_grad()
    def project_(self) -> None:
        """Move the numbers back into [-1, 1]; training does so after every step."""
        self.tile.clamp_(-1, 1)

    @torch.no_grad()
    def to_saved(self) -> dict[str, Tensor]:
        """What is saved: ``tile`` (3, h, w) in 8 bits."""
        return {"tile": self.tile.mul(LEVELS).round().to(torch.int8)}

    @classmethod
    def from_saved(cls, tensors: Mapping[str, Tensor]) -> UniversalPerturbation:
        """The perturbation that ``to_saved`` saved.

        Raises:
            ValueError: the tensors are something else.
        """
        tile = tensors.get("tile")
        if tile is None or len(tensors) > 1 or tile.dtype != torch.int8 or tile.ndim != 3 or len(tile) != 3:
            raise ValueError(f"expected one tensor tile (3, h, w) of int8, got {_described(tensors)}")
        if not tile.numel():
            raise ValueError(f"expected a tile of at least one pixel, got {tuple(tile.shape)}")
        found = cls(*tile.shape[1:])
        found.load_state_dict({"tile": tile.float().div(LEVELS).clamp(-1, 1)})
        return found


class PerturbationGenerator(nn.Module):
    """A U-Net that makes the perturbation of an image in one pass.

    Args:
        widths: channels after every halving of the resolution; (8, 16, 16, 24) has 32 thousand numbers.

    Shape: images (n, 3, h, w) in [0, 1] of any size -> perturbations (n, 3, h, w) in [-1, 1]. Sides are extended to
        multiples of ``2 ** len(widths)`` by reflection, and cut back.

    Source: Shumitskaya et al., arXiv:2305.15544 (FACPA): convolutions and transposed convolutions of 4 x 4 with stride
        2, instance normalisation, tanh at the end.
    Differs: 4 halvings instead of 8 and fewer channels; no dropout, so that nothing is random; the first and the
        innermost resolution have no normalisation, the innermost because one pixel has no deviation.
    """

    def __init__(self, widths: Sequence[int] = (8, 16, 16, 24)) -> None:
        super().__init__()
        before = (3, *widths[:-1])
        skips = (*widths[:-1], 0)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(before, widths, strict=True))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(b + skip, a, 4, 2, 1)
            for a, b, skip in reversed(list(zip(before, widths, skips, strict=True)))
        )

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        height, width = x.shape[2:]
        multiple = 2 ** len(self.down)
        rows, columns = (_reflected(side, side + -side % multiple, x.device) for side in (height, width))
        h = 2 * x[:, :, rows[:, None], columns] - 1
        skips: list[Tensor] = []
        for depth, halve in enumerate(self.down):
            h = halve(functional.leaky_relu(h, 0.2) if depth else h)
            h = functional.instance_norm(h) if 0 < depth < len(self.down) - 1 else h
            skips.append(h)
        h = skips.pop()
        for double in self.up:
            h = double(functional.relu(h))
            if skips:
                h = torch.cat([functional.instance_norm(h), skips.pop()], 1)
        return h.tanh()[:, :, :height, :width]

    def to_saved(self) -> dict[str, Tensor]:
        """What is saved: every tensor in half precision."""
        return {name: value.half() for name, value in self.state_dict().items()}

    @classmethod
    def from_saved(cls, tensors: Mapping[str, Tensor]) -> PerturbationGenerator:
        """The network that ``to_saved`` saved; its widths are those of the tensors.

        Raises:
            ValueError: the tensors are something else.
        """
        names = [f"down.{depth}.weight" for depth in range(len(tensors))]
        widths = [len(tensors[name]) for name in names if name in tensors and tensors[name].ndim == 4]
        with torch.device("meta"):  # neither memory nor random numbers for weights that are replaced at once
            found = cls(widths) if widths else None
        expected = {} if found is None else {name: value.shape for name, value in found.state_dict().items()}
        if found is None or expected != {name: value.shape for name, value in tensors.items()}:
            raise ValueError(f"expected a U-Net with down.0.weight and so on, got {_described(tensors)}")
        found.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
        return found


Kind = TypeVar("Kind", UniversalPerturbation, PerturbationGenerator)


def load_perturbation(name_or_path: str, kind: type[Kind]) -> Kind:
    """A perturbation in evaluation mode.

    Args:
        name_or_path: name of registered weights, or path of a safetensors file.
        kind: what it should be.

    Raises:
        WeightsError: the weights cannot be read, or are of something else.
    """
    weights = load_weights(name_or_path)
    try:
        found = kind.from_saved(weights.tensors)
    except ValueError as problem:
        raise WeightsError(f"cannot use weights {weights.name}: {problem}; use those that lustral train made") from None
    return found.eval().requires_grad_(False)


def _described(tensors: Mapping[str, Tensor]) -> str:
    parts = [f"{name} {tuple(value.shape)} of {value.dtype}" for name, value in sorted(tensors.items())[:3]]
    return ", ".join(parts) + (", ..." if len(tensors) > 3 else "")


def _reflected(side: int, wanted: int, device: torch.device) -> Tensor:
    """Positions (wanted,) that walk from 0 to ``side - 1`` and back, again and again."""
    places = torch.arange(wanted, device=device) % max(2 * side - 2, 1)
    return torch.minimum(places, 2 * side - 2 - places)
