"""Residual classifiers: those that ship with lustral, and any other that ``lustral train`` made."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lustral.targets.base import Kind, TargetSettings
from lustral.targets.checkpoint import checkpoint_digest, split_statistics

if TYPE_CHECKING:
    from lustral.targets.module import Target

__all__ = ["Cifar10Classifier", "Cifar100Classifier", "ResidualTarget", "ScenesClassifier"]


class ResidualTarget(TargetSettings):
    """A ``ResidualClassifier``; widths, classes and normalisation are read from its weights.

    Args:
        weights: name in the zoo, or path of a safetensors file.
        sha256: what the file must hash to; None trusts the file that is there.

    Source: ``lustral train cifar10-classifier``, ``lustral train scenes-classifier``.
    """

    name: ClassVar[str] = "residual"
    source: ClassVar[str] = "lustral train"
    weights: str
    sha256: str | None = None

    @property
    def kind(self) -> Kind:
        return "classifier"

    def weights_digest(self) -> str:
        return checkpoint_digest(self.weights, self.sha256)

    def build(self, device: str = "cpu") -> Target:
        from lustral.nets.residual import ResidualClassifier, widths_of
        from lustral.targets.module import Target
        from lustral.weights import load_into, load_weights

        weights, mean, std = split_statistics(load_weights(self.weights, self.sha256))
        classes = len(weights.tensors.get("head.bias", (None,)))  # of another network: load_into says what is missing
        network = ResidualClassifier(classes, widths_of(weights.tensors))
        load_into(network, weights)
        return Target(self, network, mean, std).to(device)


class Cifar10Classifier(ResidualTarget):
    """The CIFAR-10 classifier of the zoo; logits in the order airplane, automobile, bird, cat, ..."""

    name: ClassVar[str] = "cifar10_classifier"
    weights: str = "cifar10_classifier"


class Cifar100Classifier(ResidualTarget):
    """The CIFAR-100 classifier of the zoo, from few images: for transfer of purifiers, not to compare accuracies."""

    name: ClassVar[str] = "cifar100_classifier"
    weights: str = "cifar100_classifier"


class ScenesClassifier(ResidualTarget):
    """The scenes classifier of the zoo; logits in the order of ``lustral.data.builtin.PHOTOGRAPHS``."""

    name: ClassVar[str] = "scenes_classifier"
    weights: str = "scenes_classifier"
