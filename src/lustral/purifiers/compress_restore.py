"""(Compress and Restore)^N: JPEG at a random quality, then the network that undoes that quality best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lustral.purifiers.base import Family, PurifierSettings
from lustral.purifiers.jpeg import JPEG

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lustral.purifiers.module import Purifier
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["CompressRestore"]

Quality = Annotated[int, Field(ge=1, le=100)]
Restorer = tuple[Quality, Annotated[str, Field(min_length=1)]]


def _read(value: Any) -> Any:
    """Let people write ``restorers=20:NAME+40:NAME``."""
    return tuple(part.split(":", 1) for part in value.split("+") if part) if isinstance(value, str) else value


def _shipped(data: str) -> tuple[Restorer, ...]:
    return tuple((quality, f"artifact_removal_{data}_q{quality}") for quality in (20, 40, 60))


class CompressRestore(PurifierSettings):
    """One round: draw a JPEG quality for every image, compress, restore with the network nearest to that quality.

    N rounds, each with new qualities, are a ``Repeat`` of this. Without restorers it is JPEG at a random quality.
    With one restorer, or with ``low == high``, the network never changes.

    The attacks of table 1, with the access that belongs to them:

    - generalised BPDA, identity for JPEG only: the defaults, one draw per gradient (``eot=1``);
    - EOT-BPDA: the defaults and ``eot=10``;
    - BPDA-ID, identity for JPEG and restorer: ``restorer_backward="identity"``, or access "bpda", which also takes the
      identity for the clamping to [0, 1] and saves the backward pass.

    Args:
        low, high: smallest and largest JPEG quality; every integer from one to the other is equally likely.
        restorers: pairs of the quality a network was trained for and its weights (a registered name, or a path, see
            ``lustral.nets.restoration.load_restorer``); may be typed ``20:NAME+40:NAME``. Of two that are equally
            near, the one for the lower quality is taken.
        backward: what stands in for the derivative of JPEG, see ``JPEG``.
        restorer_backward: "exact" is the true derivative of the network; "identity" passes the gradient by it.

    Cost: one network pass, none without restorers.

    Source: paper 003, section 3.2; qualities 20 to 60, networks for 20, 40 and 60, three rounds (section 4.2.2).
    Differs: small networks for 32 px and for photographs, see ``lustral.nets.artifact_removal``; "surrogate" is an
        attack that the paper did not run. What JPEG and ties between networks do is not stated there.
    """

    name: ClassVar[str] = "compress_restore"
    family: ClassVar[Family] = "restoration"
    source: ClassVar[str] = "(Compress and Restore)^N, section 3.2"
    gradient: ClassVar = "bpda"
    presets: ClassVar = (
        {"restorers": ()},
        {"low": 40, "high": 40, "restorers": _shipped("cifar10")[1:2]},
        {"restorers": _shipped("cifar10")[1:2]},
        {"restorers": _shipped("cifar10")},
        {"restorers": _shipped("photographs")},
    )
    low: Quality = 20
    high: Quality = 60
    restorers: Annotated[tuple[Restorer, ...], BeforeValidator(_read)] = _shipped("cifar10")
    backward: Literal["identity", "surrogate"] = "identity"
    restorer_backward: Literal["exact", "identity"] = "exact"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low must not exceed high, got low={self.low} and high={self.high}")
        qualities = [quality for quality, _ in self.restorers]
        if len(set(qualities)) < len(qualities):
            raise ValueError(f"every restorer needs a quality of its own, got {'+'.join(map(str, qualities))}")
        return self

    @property
    def is_random(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the range
        """Whether there is more than one quality to draw."""
        return self.low < self.high

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the restorers
        """One: an image goes through one network; none without restorers."""
        return min(1, len(self.restorers))

    def weights_used(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(weights for _, weights in self.restorers))

    def nearest(self, quality: int) -> int:
        """Index of the restorer for images of this JPEG quality."""
        return min(
            range(len(self.restorers)),
            key=lambda index: (abs(self.restorers[index][0] - quality), self.restorers[index][0]),
        )

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.nets.restoration import load_restorer
        from lustral.purifiers.module import Purifier

        networks = [load_restorer(weights, device) for _, weights in self.restorers]

        def run(x: Images, noise: Noise) -> Images:
            qualities = noise.integers(self.low, self.high + 1)[:, 0]  # (n,)
            compressed = self._compress(x, qualities, noise)
            return self._restore(compressed, qualities, networks) if networks else compressed

        return Purifier(self, run, *networks)

    def _compress(self, x: Images, qualities: Tensor, noise: Noise) -> Images:
        """JPEG of every image at its own quality (n,)."""
        from lustral.steps import step

        def at(quality: int, part: Images) -> Images:
            jpeg = JPEG(quality=quality, backward=self.backward)
            return step(partial(jpeg.purify, noise=noise), part)

        return _by_group(at, x, qualities)

    def _restore(self, compressed: Images, qualities: Tensor, networks: Sequence[nn.Module]) -> Images:
        """The nearest network for every image."""
        from lustral.purifiers.substitute import needs_gradient, substitute
        from lustral.steps import step

        def by(index: int, part: Images) -> Images:
            network = networks[index].to(part.dtype)
            if self.restorer_backward == "exact":
                return step(network, part)
            value = step(network, part.detach()).clamp(0, 1)  # here, so that the backward pass meets no clamp
            return substitute(value, part) if needs_gradient(part) else value

        choice = qualities.new_tensor([self.nearest(quality) for quality in qualities.tolist()])
        return _by_group(by, compressed, choice)


def _by_group(function: Callable[[int, Images], Images], x: Images, groups: Tensor) -> Images:
    """``function`` of each group of images; ``groups`` (n,) says which one an image belongs to."""
    import torch

    pieces: list[Tensor] = []
    order: list[Tensor] = []
    for group in groups.unique().tolist():
        rows = (groups == group).nonzero()[:, 0]
        # Of one layout: for single images strides are ambiguous, and convolutions choose their arithmetic by them.
        pieces.append(function(group, x[rows.to(x.device)].contiguous()))
        order.append(rows)
    return torch.cat(pieces)[torch.cat(order).argsort().to(x.device)]
