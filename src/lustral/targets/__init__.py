"""All targets. To add one: write a file, add one line here, add one golden value. No torch here."""

from __future__ import annotations

from collections.abc import Mapping

from lustral.settings import choose
from lustral.targets.base import TargetSettings
from lustral.targets.fpr import FPR
from lustral.targets.iqa import PyIQA
from lustral.targets.koncept512 import KonCept512
from lustral.targets.linearity import Linearity
from lustral.targets.quality import PhotoQuality, PlainQuality, TransformerQuality
from lustral.targets.residual import Cifar10Classifier, Cifar100Classifier, ResidualTarget, ScenesClassifier
from lustral.targets.spaq import SPAQ
from lustral.targets.timm import TimmClassifier
from lustral.targets.torchvision import TorchvisionClassifier

__all__ = [
    "FPR",
    "SPAQ",
    "TARGETS",
    "Cifar10Classifier",
    "Cifar100Classifier",
    "KonCept512",
    "Linearity",
    "PhotoQuality",
    "PlainQuality",
    "PyIQA",
    "ResidualTarget",
    "ScenesClassifier",
    "TargetSettings",
    "TimmClassifier",
    "TorchvisionClassifier",
    "TransformerQuality",
    "parse_target",
]

TARGETS: dict[str, type[TargetSettings]] = {
    cls.name: cls
    for cls in (
        ScenesClassifier,
        Cifar10Classifier,
        Cifar100Classifier,
        PhotoQuality,
        PlainQuality,
        TransformerQuality,
        ResidualTarget,
        TimmClassifier,
        TorchvisionClassifier,
        KonCept512,
        SPAQ,
        Linearity,
        FPR,
        PyIQA,
    )
}


def parse_target(value: str | Mapping[str, object] | TargetSettings) -> TargetSettings:
    """Read a target as people write it in recipes and on the command line.

    Args:
        value: text such as ``timm:architecture=resnet18,weights=w.safetensors``, a table with the key
            ``name`` (what ``to_json`` gives), or finished settings.

    Raises:
        SettingsError: unknown name (the known ones are listed) or bad settings.

    >>> parse_target("scenes_classifier") == parse_target({"name": "scenes_classifier"}) == ScenesClassifier()
    True
    """
    return value if isinstance(value, TargetSettings) else choose(value, TARGETS, "target")
