"""The no-reference quality networks that ship with lustral."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator

from lustral.targets.base import Kind, TargetSettings, ordered_range
from lustral.targets.checkpoint import checkpoint_digest, is_zoo_name, split_statistics
from lustral.weights import weight_card

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lustral.targets.module import Target

__all__ = ["PhotoQuality", "PlainQuality", "TrainedQuality", "TransformerQuality"]


class TrainedQuality(TargetSettings):
    """A no-reference quality network of ``lustral train``; a subclass says which.

    Args:
        weights: name in the zoo, or path of a safetensors file.
        sha256: what the file must hash to; None trusts the file that is there.
        low, high: range of the scores, by which attacks are measured; None takes it from the weight card.
            It was found as paper 000 does (A.3): the highest score of clean photographs, and the lowest of
            their JPEG versions of quality 10 and of uniform noise.
    """

    weights: str
    sha256: str | None = None
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.low is not None and self.high is not None:
            ordered_range(self.low, self.high)
        return self

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
                f"the scores that {self.source} reports as range_low and range_high"
            )
        scores = weight_card(self.weights).scores
        low = scores["range_low"] if self.low is None else self.low
        return ordered_range(low, scores["range_high"] if self.high is None else self.high)

    def weights_digest(self) -> str:
        return checkpoint_digest(self.weights, self.sha256)

    def network(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """The untrained network that the weights fit."""
        raise NotImplementedError

    def build(self, device: str = "cpu") -> Target:
        from lustral.targets.module import Target
        from lustral.weights import load_into, load_weights

        weights, mean, std = split_statistics(load_weights(self.weights, self.sha256))
        network = self.network(weights.tensors)
        load_into(network, weights)
        return Target(self, network, mean, std).to(device)


class PhotoQuality(TrainedQuality):
    """Quality of a photograph without a reference, about 0 (ruined) to 1 (pristine); higher is better.

    A convolutional network averages the scores of patches, which it sees as local contrast. Its settings are those
    of ``TrainedQuality``. Images need sides of at least 32 pixels.

    Source: ``lustral train photo-quality``.
    """

    name: ClassVar[str] = "photo_quality"
    source: ClassVar[str] = "lustral train photo-quality"
    weights: str = "photo_quality"

    def network(self, weights: Mapping[str, Tensor]) -> nn.Module:
        from lustral.nets.quality import QualityNetwork

        return QualityNetwork.fitting(weights)


class PlainQuality(TrainedQuality):
    """Quality of a photograph from global statistics of plain convolutions; about 0 (ruined) to 1 (pristine).

    It sees colours and brightness as they are, and the whole image at once. Its settings are those of
    ``TrainedQuality``. Images need sides of at least 32 pixels.

    Source: ``lustral train plain-quality``.
    """

    name: ClassVar[str] = "plain_quality"
    source: ClassVar[str] = "lustral train plain-quality"
    weights: str = "plain_quality"

    def network(self, weights: Mapping[str, Tensor]) -> nn.Module:
        from lustral.nets.plain_quality import PlainQualityNetwork

        return PlainQualityNetwork.fitting(weights)


class TransformerQuality(TrainedQuality):
    """Quality of a photograph by self-attention among its patches, about 0 (ruined) to 1 (pristine).

    Images with a side above 96 pixels are scored by the mean over a fixed grid of windows of that side. Its settings
    are those of ``TrainedQuality``. Images need sides of at least 32 pixels.

    Source: ``lustral train transformer-quality``.
    """

    name: ClassVar[str] = "transformer_quality"
    source: ClassVar[str] = "lustral train transformer-quality"
    weights: str = "transformer_quality"

    def network(self, weights: Mapping[str, Tensor]) -> nn.Module:
        from lustral.nets.transformer_quality import TransformerQualityNetwork

        return TransformerQualityNetwork.fitting(weights)
