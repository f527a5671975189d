"""What every target promises: what is attacked and defended, and what the attacker wants from it. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from lustral.settings import Settings

if TYPE_CHECKING:
    from lustral.targets.module import Target

__all__ = ["Direction", "Kind", "TargetSettings", "ordered_range"]

Kind = Literal["classifier", "quality"]
Direction = Literal["up", "down", "both"]


def ordered_range(low: float, high: float) -> tuple[float, float]:
    """The range of a quality metric; attacks divide by its width, so one the wrong way round would turn them around.

    Raises:
        ValueError: ``low`` is not below ``high``.
    """
    if not low < high:
        raise ValueError(
            f"expected low < high, got low={low}, high={high}; for a metric where less is better, "
            "set direction=down instead"
        )
    return (low, high)


class TargetSettings(Settings):
    """Settings of a target; ``build`` loads the network.

    Class attributes:
        source: where the network comes from.
        needs: the extra that must be installed, or None.
        higher_is_better: whether better images get higher scores; of a quality target.

    ``kind`` is "classifier" (images -> logits (n, k)) or "quality" (images -> scores (n,)); a quality
    target also states its range and what its attacker wants: ``direction`` "up" raises the score, and an
    attack has succeeded once the score moved by ``success`` of the range ``high - low``.
    """

    source: ClassVar[str]
    needs: ClassVar[str | None] = None
    higher_is_better: ClassVar[bool] = True
    success: float = 0.1
    direction: Direction = "up"

    @property
    def kind(self) -> Kind:
        """Classifier or quality metric."""
        raise NotImplementedError

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest score of a quality target; (0, 1) for a classifier."""
        return (0.0, 1.0)

    @property
    def sign(self) -> int:
        """Which way the attacker moves the score: 1 is up, -1 down, 0 whichever way is farther."""
        return {"up": 1, "down": -1, "both": 0}[self.direction]

    def weights_digest(self) -> str:
        """sha256 of the weights, part of a cell's identity; must not load torch."""
        raise NotImplementedError

    def build(self, device: str = "cpu") -> Target:
        """Load the network in evaluation mode with frozen parameters."""
        raise NotImplementedError
