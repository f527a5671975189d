"""What the targets for published quality metrics share."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lustral.targets.base import Kind, TargetSettings, ordered_range
from lustral.targets.checkpoint import checkpoint_digest

__all__ = ["PublishedQuality"]


class PublishedQuality(TargetSettings):
    """A published no-reference metric with weights from a local file; nothing is ever downloaded.

    Args:
        weights: path of a safetensors file with the published parameter names.
        sha256: what the file must hash to; None trusts the file that is there.
        preprocessing: "original" is that of the metric's authors, "benchmark" that of the Guardians of image quality.
        low, high: range of the scores, by which attacks are measured. The defaults are those of the paper's table 7,
            found with its own preprocessing.
    """

    weights: str = Field(min_length=1)
    sha256: str | None = None
    preprocessing: Literal["original", "benchmark"] = "original"
    low: float
    high: float

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        ordered_range(self.low, self.high)
        return self

    @property
    def kind(self) -> Kind:
        return "quality"

    @property
    def range(self) -> tuple[float, float]:
        return (self.low, self.high)

    def weights_digest(self) -> str:
        return checkpoint_digest(self.weights, self.sha256)
