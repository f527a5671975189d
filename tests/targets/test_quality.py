"""The quality targets that ship: their identity, and what their weight cards promise."""

import os

import numpy as np
import pytest
import torch

from lustral.data.live import LiveSubset
from lustral.data.photos import Photos
from lustral.measures.correlation import srocc
from lustral.settings import SettingsError, digest
from lustral.targets import PhotoQuality, PlainQuality, TargetSettings, TransformerQuality, parse_target
from lustral.tensors import from_uint8
from lustral.weights import ZOO, WeightsError, weight_card

needs_data = pytest.mark.skipif("LUSTRAL_DATA" not in os.environ, reason="LUSTRAL_DATA is not set: no downloaded data")
ADDED = (PlainQuality, TransformerQuality)
ALL = (PhotoQuality, *ADDED)


@torch.no_grad()
def scores_of(settings: TargetSettings, images: list[np.ndarray]) -> np.ndarray:
    target = settings.build()
    return torch.cat([target(x) for x in from_uint8(np.stack(images)).split(50)]).double().numpy()


def test_identity_of_the_first_one_is_what_it_was() -> None:
    assert list(PhotoQuality().to_json()) == ["name", "success", "direction", "weights", "sha256", "low", "high"]
    assert digest(PhotoQuality().to_json()) == "54b7c22f0b071a944f2ac37982887b26"


@pytest.mark.parametrize("kind", ALL)
def test_card_promises_agreement_with_people_and_a_range(kind: type[TargetSettings]) -> None:
    card = weight_card(kind.name)
    assert card.command.startswith(f"{kind.source} --seed")
    assert card.scores["live_srocc"] >= 0.80
    assert card.scores["test_srocc"] >= 0.70
    low, high = kind().range
    assert (low, high) == (card.scores["range_low"], card.scores["range_high"])
    assert 0 < high - low < 2
    assert "never trained on" in card.data


def test_either_end_of_the_range_can_be_set() -> None:
    low, high = PhotoQuality().range
    assert PhotoQuality(low=low - 1).range == (low - 1, high)
    assert PhotoQuality(high=high + 1).range == (low, high + 1)
    for text in ("photo_quality:low=1,high=0", "plain_quality:low=1,high=1"):
        with pytest.raises(SettingsError, match="expected low < high"):
            parse_target(text)
    with pytest.raises(ValueError, match="expected low < high, got low=9"):
        _ = PhotoQuality(low=9).range


@pytest.mark.parametrize("kind", ADDED)
def test_files_are_small(kind: type[TargetSettings]) -> None:
    assert (ZOO / weight_card(kind.name).file).stat().st_size <= 250_000


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("kind", ADDED)
def test_agreement_with_people_is_that_of_the_card(kind: type[TargetSettings]) -> None:
    live = LiveSubset().load()
    agreement = -srocc(scores_of(kind(), live.images), live.truth)
    assert agreement >= 0.80
    assert agreement == pytest.approx(weight_card(kind.name).scores["live_srocc"], abs=1e-3)


@pytest.mark.parametrize("kind", ADDED)
def test_graded_distortions_are_ordered_and_lie_in_the_range(kind: type[TargetSettings]) -> None:
    images = Photos(split="test", kinds=("gaussian_blur", "white_noise", "jpeg")).load()
    scores = scores_of(kind(), images.images)
    assert srocc(scores, images.truth) >= 0.75
    low, high = kind().range
    middle = (low + high) / 2
    noise = np.random.default_rng(1).integers(0, 256, (96, 96, 3), np.uint8)
    assert scores_of(kind(), [noise]) < middle < scores[images.truth == 1].mean()


@pytest.mark.parametrize("kind", ADDED)
@pytest.mark.parametrize("size", [(33, 57), (299, 299), (500, 500)])
def test_any_size_gives_a_score_and_a_gradient(kind: type[TargetSettings], size: tuple[int, int]) -> None:
    target = kind().build()
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(target(x).sum(), x)
    assert gradient.isfinite().all()
    assert (gradient != 0).double().mean() > 0.99


def test_weights_of_another_quality_network_are_refused() -> None:
    with pytest.raises(WeightsError, match="do not fit QualityNetwork"):
        PhotoQuality(weights="plain_quality").build()
    with pytest.raises(ValueError, match="expected weights of a quality transformer"):
        TransformerQuality(weights="plain_quality").build()
    with pytest.raises(ValueError, match="lustral train plain-quality reports as range_low"):
        _ = PlainQuality(weights="some/file.safetensors").range
