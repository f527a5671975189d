"""Classifiers of timm with weights from a local file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lustral.settings import SettingsError
from lustral.targets.base import Kind, TargetSettings
from lustral.targets.checkpoint import checkpoint_digest
from lustral.targets.extra import require_extra

if TYPE_CHECKING:
    from lustral.targets.module import Target

__all__ = ["TimmClassifier"]


class TimmClassifier(TargetSettings):
    """A timm architecture with a safetensors checkpoint; nothing is ever downloaded.

    Normalisation and input size are those of the architecture's pretrained configuration in timm; images
    of another size are resized (bilinear, antialiased) unless the network takes any size.

    Args:
        architecture: name in ``timm.list_models()``, with its pretrained tag if one is meant.
        weights: path of a safetensors file with timm's own parameter names.
        sha256: what the file must hash to; None trusts the file that is there.
        num_classes: logits; None takes the number of the pretrained configuration.
        any_size: feed images at their own size instead of the configured one.
    """

    name: ClassVar[str] = "timm"
    source: ClassVar[str] = "https://github.com/huggingface/pytorch-image-models"
    needs: ClassVar[str | None] = "classify"
    architecture: str
    weights: str
    sha256: str | None = None
    num_classes: int | None = Field(default=None, ge=1)
    any_size: bool = False

    @property
    def kind(self) -> Kind:
        return "classifier"

    def weights_digest(self) -> str:
        return checkpoint_digest(self.weights, self.sha256)

    def build(self, device: str = "cpu") -> Target:
        from lustral.targets.module import Target
        from lustral.weights import load_into, load_weights

        timm = require_extra("timm", "classify")
        if not timm.is_model(self.architecture):
            close = timm.list_models(f"*{self.architecture.split('.')[0][:6]}*")[:5]
            raise SettingsError(
                f"timm has no architecture {self.architecture!r}; similar: {', '.join(close) or 'none'}"
            )
        classes = {} if self.num_classes is None else {"num_classes": self.num_classes}
        network = timm.create_model(self.architecture, pretrained=False, **classes)
        load_into(network, load_weights(self.weights, self.sha256))
        config: dict[str, Any] = network.pretrained_cfg
        size = None if self.any_size else (config["input_size"][1], config["input_size"][2])
        return Target(self, network, config["mean"], config["std"], size).to(device)
