"""The no-reference quality network that ships with lustral."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lustral.targets.base import Kind, TargetSettings
from lustral.targets.checkpoint import checkpoint_digest, is_zoo_name, split_statistics
from lustral.weights import weight_card

if TYPE_CHECKING:
    from lustral.targets.module import Target

__all__ = ["PhotoQuality"]


class PhotoQuality(TargetSettings):
    """Quality of a photograph without a reference, about 0 (ruined) to 1 (pristine); higher is better.

    Args:
        weights: name in the zoo, or path of a safetensors file.
        sha256: what the file must hash to; None trusts the file that is there.
        low, high: range of the scores, by which attacks are measured; None takes it from the weight card.
            It was found as paper 000 does (A.3): the highest score of clean photographs, and the lowest of
            their JPEG versions of quality 10 and of uniform noise.

    Images need sides of at least 32 pixels.

    Source: ``lustral train photo-quality``.
    """

    name: ClassVar[str] = "photo_quality"
    source: ClassVar[str] = "lustral train photo-quality"
    weights: str = "photo_quality"
    sha256: str | None = None
    low: float | None = None
    high: float | None = None

    @property
    def kind(self) -> Kind:
        return "quality"

    @property
    def range(self) -> tuple[float, float]:
        if self.low is not None and self.high is not None:
            return (self.low, self.high)
        if not is_zoo_name(self.weights):
            raise ValueError(
                f"the score range of the local file {self.weights} is not known; give low and high, "
                "the scores that lustral train photo-quality reports as range_low and range_high"
            )
        scores = weight_card(self.weights).scores
        return (scores["range_low"], scores["range_high"])

    def weights_digest(self) -> str:
        return checkpoint_digest(self.weights, self.sha256)

    def build(self, device: str = "cpu") -> Target:
        from lustral.nets.quality import QualityNetwork
        from lustral.nets.residual import widths_of
        from lustral.targets.module import Target
        from lustral.weights import load_into, load_weights

        weights, mean, std = split_statistics(load_weights(self.weights, self.sha256))
        network = QualityNetwork(widths_of(weights.tensors))
        load_into(network, weights)
        return Target(self, network, mean, std).to(device)
