"""All trainings: ``lustral train NAME`` runs one and registers its weights. No torch until one runs."""

from __future__ import annotations

from lustral.train.jobs import CIFAR10, PHOTO_QUALITY, SCENES, Job
from lustral.train.run import register_result, run_training
from lustral.train.settings import ClassifierTraining, LoopSettings, Progress, QualityTraining

__all__ = [
    "TRAININGS",
    "ClassifierTraining",
    "Job",
    "LoopSettings",
    "Progress",
    "QualityTraining",
    "register_result",
    "run_training",
]

TRAININGS: dict[str, Job] = {
    "scenes-classifier": SCENES,
    "photo-quality": PHOTO_QUALITY,
    "cifar10-classifier": CIFAR10,
}
