"""Classifiers of torchvision with weights from a local file."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lustral.settings import SettingsError
from lustral.targets.base import Kind, TargetSettings
from lustral.targets.checkpoint import checkpoint_digest
from lustral.targets.extra import require_extra

if TYPE_CHECKING:
    from lustral.targets.module import Target

__all__ = ["TorchvisionClassifier"]


class TorchvisionClassifier(TargetSettings):
    """An architecture of ``torchvision.models`` with a safetensors checkpoint; nothing is ever downloaded.

    Normalisation and input size are those of torchvision's default weights of the architecture; images of
    another size are resized (bilinear, antialiased) unless ``any_size``.

    Args:
        architecture: name in ``torchvision.models.list_models(torchvision.models)``.
        weights: path of a safetensors file with torchvision's own parameter names.
        sha256: what the file must hash to; None trusts the file that is there.
        num_classes: logits.
        any_size: feed images at their own size instead of the one of the default weights.
    """

    name: ClassVar[str] = "torchvision"
    source: ClassVar[str] = "https://github.com/pytorch/vision"
    needs: ClassVar[str | None] = "classify"
    architecture: str
    weights: str
    sha256: str | None = None
    num_classes: int = Field(default=1000, ge=1)
    any_size: bool = False

    @property
    def kind(self) -> Kind:
        return "classifier"

    def weights_digest(self) -> str:
        return checkpoint_digest(self.weights, self.sha256)

    def build(self, device: str = "cpu") -> Target:
        from lustral.targets.module import Target
        from lustral.weights import load_into, load_weights

        models = require_extra("torchvision.models", "classify")
        known: list[str] = models.list_models(module=models)
        if self.architecture not in known:
            close = [name for name in known if name.startswith(self.architecture[:4])] or known
            raise SettingsError(
                f"torchvision.models has no classifier {self.architecture!r}; similar: {', '.join(close[:5])}"
            )
        # weights_backbone and friends exist only for detection models, so weights=None downloads nothing
        options = {"aux_logits": False} if self.architecture in ("googlenet", "inception_v3") else {}
        network = models.get_model(self.architecture, weights=None, num_classes=self.num_classes, **options)
        load_into(network, load_weights(self.weights, self.sha256))
        recipe = models.get_model_weights(self.architecture).DEFAULT.transforms()
        side: int = recipe.crop_size[0]
        return Target(self, network, recipe.mean, recipe.std, None if self.any_size else (side, side)).to(device)
