"""The training loop: exact resume, seeds, augmentation that keeps what it must keep."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lustral.data.base import ImageSet
from lustral.train.classifier import train_classifier
from lustral.train.loop import as_tensor, channel_statistics, shift_and_mirror
from lustral.train.quality import quality_scores, score_range, train_quality
from lustral.train.settings import ClassifierTraining, QualityTraining

SMALL: dict[str, Any] = {"widths": (4, 8), "epochs": 2, "batch": 8}


class Stop(Exception):
    """The process dies here."""


def stripes(n: int, side: int = 32, quality: bool = False) -> ImageSet:
    """Horizontal and vertical stripes in noise: two classes, or two qualities."""
    random = np.random.default_rng(n)
    labels = np.arange(n) % 2
    images = []
    for label in labels:
        wave = 60 * np.sin(np.arange(side) + random.uniform(0, 6))
        picture = wave[:, None] if label else wave[None, :]
        noisy = 128 + picture[..., None] + random.normal(0, 15, (side, side, 3))
        images.append(np.clip(noisy, 0, 255).astype(np.uint8))
    truth = labels * 0.5 + 0.25 if quality else labels.astype(np.int64)
    classes = () if quality else ("vertical", "horizontal")
    return ImageSet("stripes", tuple(f"stripes/{row}" for row in range(n)), images, truth, classes)


def train(kind: str, seed: int = 0, checkpoint: Path | None = None, stop_after: int | None = None) -> dict[str, Any]:
    def progress(row: dict[str, Any]) -> None:
        if row["epoch"] == stop_after:
            raise Stop

    if kind == "classifier":
        settings = ClassifierTraining(seed=seed, learning_rate=0.05, **SMALL)
        weights, record = train_classifier(settings, stripes(48), stripes(20), checkpoint, progress)
    else:
        quality = QualityTraining(seed=seed, window=32, **SMALL)
        sets = stripes(48, quality=True), stripes(20, quality=True)
        weights, record = train_quality(quality, *sets, checkpoint, progress)
    return weights | {"losses": torch.tensor([row["loss"] for row in record["history"]])}


def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("kind", ["classifier", "quality"])
def test_resumed_training_equals_an_uninterrupted_one(kind: str, tmp_path: Path) -> None:
    whole = train(kind)
    checkpoint = tmp_path / "run.checkpoint"
    with pytest.raises(Stop):
        train(kind, checkpoint=checkpoint, stop_after=1)
    assert checkpoint.exists()
    assert equal(train(kind, checkpoint=checkpoint), whole)
    assert equal(train(kind, checkpoint=checkpoint), whole), "a finished run is only read back"
    assert [file.name for file in tmp_path.iterdir()] == ["run.checkpoint"]


@pytest.mark.parametrize("kind", ["classifier", "quality"])
def test_seed_decides_and_the_global_generator_is_not_touched(kind: str) -> None:
    before = torch.get_rng_state()
    first = train(kind, seed=0)
    assert torch.equal(before, torch.get_rng_state())
    assert equal(first, train(kind, seed=0))
    assert not equal(first, train(kind, seed=1))


def test_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    train("classifier", checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match="made with other settings; delete it"):
        train("classifier", seed=1, checkpoint=tmp_path / "c")


def test_classifier_learns_stripes() -> None:
    settings = ClassifierTraining(widths=(4, 8), epochs=6, batch=8, learning_rate=0.05, mirror=False, shift=2)
    _, record = train_classifier(settings, stripes(96), stripes(40))
    assert record["test_accuracy"] >= 0.95
    assert record["history"][-1]["loss"] < record["history"][0]["loss"]


def test_quality_learns_two_levels() -> None:
    settings = QualityTraining(widths=(4, 8), epochs=6, batch=8, window=32, mirror=False)
    _, record = train_quality(settings, stripes(96, quality=True), stripes(40, quality=True))
    assert record["test_srocc"] >= 0.8


def test_too_few_images_and_too_large_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one batch of 64 images, got 10"):
        train_classifier(ClassifierTraining(batch=64), stripes(10), stripes(4))
    with pytest.raises(ValueError, match="window=64 must not exceed"):
        train_quality(QualityTraining(batch=8), stripes(16, quality=True), stripes(4, quality=True))


def test_shift_and_mirror_only_moves_pixels() -> None:
    x = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).view(2, 3, 8, 8)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(shift_and_mirror(x, 0, False, generator), x)
    candidates = {bytes(view.numpy().tobytes()) for view in (x[0], x[0].flip(2))}
    seen = {bytes(shift_and_mirror(x, 0, True, generator)[0].numpy().tobytes()) for _ in range(20)}
    assert seen == candidates
    moved = shift_and_mirror(x.float(), 2, False, generator)
    padded = torch.nn.functional.pad(x.float(), [2] * 4, mode="reflect")
    windows = [padded[0, :, down : down + 8, right : right + 8] for down in range(5) for right in range(5)]
    assert any(torch.equal(moved[0], window) for window in windows)


def test_channel_statistics_are_those_of_numpy() -> None:
    images = stripes(6)
    mean, std = channel_statistics(as_tensor(images))
    pixels = images.stack().reshape(-1, 3) / 255
    assert mean == pytest.approx(pixels.mean(0))
    assert std == pytest.approx(pixels.std(0, ddof=1))


def test_score_range_follows_its_definition() -> None:
    class Brightness(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2, 3))

    dark, bright = np.full((40, 40, 3), 200, np.uint8), np.full((40, 40, 3), 250, np.uint8)
    low, high = score_range(Brightness(), [dark, bright], torch.zeros(3), torch.ones(3))
    assert high == pytest.approx(250 / 255)
    assert low == pytest.approx(0.5, abs=0.02)  # uniform noise is darker than both photographs
    low, _ = score_range(Brightness(), [dark // 4], torch.zeros(3), torch.ones(3))
    assert low == pytest.approx(50 / 255, abs=0.01)  # and brighter than this one and its JPEG version


def test_quality_scores_take_different_sizes() -> None:
    class Area(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, 0, 0, 0] * 0 + x.shape[2] * x.shape[3]

    sizes = [np.zeros((4, 5, 3), np.uint8), np.zeros((7, 3, 3), np.uint8)]
    assert quality_scores(Area(), sizes, torch.zeros(3), torch.ones(3)).tolist() == [20, 21]
