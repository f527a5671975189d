"""What the weight cards of the zoo promise, recomputed from the shipped weights."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lustral.data.base import ImageSet
from lustral.data.cifar import Cifar10
from lustral.data.live import LiveSubset
from lustral.data.photos import Photos
from lustral.data.scenes import Scenes
from lustral.measures.correlation import srocc
from lustral.targets import Cifar10Classifier, PhotoQuality, ScenesClassifier, TargetSettings
from lustral.tensors import from_uint8
from lustral.weights import ZOO, list_weights, weight_card

needs_data = pytest.mark.skipif("LUSTRAL_DATA" not in os.environ, reason="LUSTRAL_DATA is not set: no downloaded data")


@torch.no_grad()
def outputs(settings: TargetSettings, images: ImageSet) -> torch.Tensor:
    target = settings.build()
    return torch.cat([target(x) for x in from_uint8(images.stack()).split(100)])


def share_correct(settings: TargetSettings, images: ImageSet) -> float:
    return float((outputs(settings, images).argmax(1).numpy() == images.truth).mean())


def test_scenes_accuracy_is_that_of_the_card() -> None:
    accuracy = share_correct(ScenesClassifier(), Scenes(split="test").load())
    assert accuracy >= 0.90
    assert accuracy == pytest.approx(weight_card("scenes_classifier").scores["test_accuracy"], abs=0.004)


def test_scenes_card_names_the_data_as_they_are_now() -> None:
    card = weight_card("scenes_classifier")
    for split in ("train", "test"):
        assert Scenes(split=split).load().fingerprint() in card.data
    assert card.architecture["classes"] == list(Scenes().load().classes)


@needs_data
@pytest.mark.data
def test_cifar10_accuracy() -> None:
    if "cifar10_classifier" not in list_weights():
        pytest.fail("the zoo has no cifar10_classifier: lustral train cifar10-classifier")
    accuracy = share_correct(Cifar10Classifier(), Cifar10(count=1000).load())
    assert accuracy >= 0.89  # 1,000 of the 10,000 test images: two standard errors below the card
    assert weight_card("cifar10_classifier").scores["test_accuracy"] >= 0.90


@needs_data
@pytest.mark.data
def test_quality_agrees_with_people_on_live() -> None:
    live = LiveSubset().load()
    assert len(live) == 25
    agreement = -srocc(outputs(PhotoQuality(), live).double().numpy(), live.truth)
    assert agreement >= 0.80
    assert agreement == pytest.approx(weight_card("photo_quality").scores["live_srocc"], abs=1e-3)


def test_quality_orders_graded_distortions() -> None:
    images = Photos(split="test", kinds=("gaussian_blur", "white_noise", "jpeg")).load()
    scores = outputs(PhotoQuality(), images).double().numpy()
    assert srocc(scores, images.truth) >= 0.75
    assert scores.min() < np.median(scores) < scores.max()


def test_quality_range_holds_pristine_and_ruined_images() -> None:
    low, high = PhotoQuality().range
    noise = ImageSet("noise", ("a",), [np.random.default_rng(1).integers(0, 256, (96, 96, 3), np.uint8)], np.zeros(1))
    assert low < high
    assert outputs(PhotoQuality(), noise).item() < (low + high) / 2


@pytest.mark.parametrize("name", list_weights())
def test_cards_are_complete_and_files_small(name: str) -> None:
    card = weight_card(name)
    assert card.command.startswith("lustral train ")
    assert f"--seed {card.seed}" in card.command
    assert "fingerprint" in card.data
    assert {"epochs", "parameters", "threads", "seconds"} <= set(card.cost)
    assert card.licence
    assert card.scores
    assert (Path(ZOO) / card.file).stat().st_size < 15 * 2**20
