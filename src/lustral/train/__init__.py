"""All trainings: ``lustral train NAME`` runs one and registers its weights. No torch until one runs."""

from __future__ import annotations

from lustral.train.jobs import (
    ARTIFACT_REMOVAL,
    CIFAR10,
    CIFAR100,
    DENOISER,
    PHOTO_QUALITY,
    PLAIN_QUALITY,
    SCENES,
    SUPER_RESOLUTION,
    TRANSFORMER_QUALITY,
    Job,
)
from lustral.train.perturbation_jobs import FACPA, UAP
from lustral.train.perturbation_settings import GeneratorTraining, UniversalTraining
from lustral.train.purifier_jobs import MAEP, PURIFIER
from lustral.train.purifier_settings import PurifierTraining
from lustral.train.run import register_result, run_training
from lustral.train.settings import (
    ArtifactRemovalTraining,
    ClassifierTraining,
    DenoiserTraining,
    LoopSettings,
    Progress,
    QualityTraining,
    SuperResolutionTraining,
)

__all__ = [
    "TRAININGS",
    "ArtifactRemovalTraining",
    "ClassifierTraining",
    "DenoiserTraining",
    "GeneratorTraining",
    "Job",
    "LoopSettings",
    "Progress",
    "PurifierTraining",
    "QualityTraining",
    "SuperResolutionTraining",
    "UniversalTraining",
    "register_result",
    "run_training",
]

TRAININGS: dict[str, Job] = {
    "scenes-classifier": SCENES,
    "photo-quality": PHOTO_QUALITY,
    "plain-quality": PLAIN_QUALITY,
    "transformer-quality": TRANSFORMER_QUALITY,
    "cifar10-classifier": CIFAR10,
    "cifar100-classifier": CIFAR100,
    "denoiser": DENOISER,
    "super-resolution": SUPER_RESOLUTION,
    "artifact-removal": ARTIFACT_REMOVAL,
    "maep": MAEP,
    "purifier": PURIFIER,
    "uap": UAP,
    "facpa": FACPA,
}
