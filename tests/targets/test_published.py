"""Targets for published quality metrics: preprocessing, ranges, directions, and how pyiqa is called."""

import logging
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional

from lustral.settings import SettingsError
from lustral.targets import FPR, SPAQ, KonCept512, Linearity, PyIQA, parse_target
from lustral.targets.iqa import _say_licence
from lustral.weights import WeightsError
from tests.targets.examples import example, save
from tests.targets.fake_pyiqa import CALLS, install_fake_pyiqa


def images(n: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(height))


@pytest.mark.parametrize(
    ("cls", "low", "high", "direction"),
    [
        (KonCept512, 26.403, 66.869, "up"),
        (SPAQ, 21.749, 77.755, "up"),
        (Linearity, 25.780, 83.226, "up"),
        (FPR, 47.225, 77.047, "down"),
    ],
)
def test_ranges_are_those_of_the_paper_and_can_be_set(cls: type, low: float, high: float, direction: str) -> None:
    settings = cls(weights="w.safetensors")
    assert settings.range == pytest.approx((low, high), abs=2e-3)
    assert settings.direction == direction
    assert cls(weights="w.safetensors", low=-1.0, high=2).range == (-1.0, 2.0)
    with pytest.raises(SettingsError, match=r"expected low < high, got low=90.0"):
        parse_target({"name": cls.name, "weights": "w.safetensors", "low": 90.0})


@pytest.mark.parametrize(("preprocessing", "size"), [("original", (384, 512)), ("benchmark", (512, 384))])
def test_koncept_normalises_and_resizes(preprocessing: str, size: tuple[int, int], tmp_path: Path) -> None:
    target = example("koncept512", tmp_path).model_copy(update={"preprocessing": preprocessing}).build()
    x = images(1, 40, 60)
    resized = functional.interpolate(x, size, mode="bilinear", antialias=True)
    torch.testing.assert_close(target(x), target.network(2 * resized - 1))


def test_linearity_resizes_unless_as_the_benchmark(tmp_path: Path) -> None:
    settings = example("linearity", tmp_path)
    x = images(1, 50, 70)
    mean, std = (torch.tensor(three)[:, None, None] for three in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    native = settings.build()
    torch.testing.assert_close(native(x), native.network((x - mean) / std))
    original = settings.model_copy(update={"preprocessing": "original"}).build()
    resized = functional.interpolate(x, (498, 664), mode="bilinear", antialias=True)
    torch.testing.assert_close(original(x), original.network((resized - mean) / std))


def test_spaq_and_fpr_cut_as_they_are_told(tmp_path: Path) -> None:
    spaq = example("spaq", tmp_path)
    assert spaq.build().network.resize
    assert not spaq.model_copy(update={"preprocessing": "benchmark"}).build().network.resize
    fpr = example("fpr", tmp_path)
    x = images(1, 128, 192)
    benchmark = fpr.model_copy(update={"preprocessing": "benchmark"}).build()
    assert not torch.allclose(fpr.build()(x), benchmark(x))


@pytest.mark.parametrize(
    ("metric", "extra", "span"),
    [
        ("topiq_nr", {"backbone_pretrain": False}, (0.215, 0.822)),
        ("paq2piq", {}, (58.3804, 84.1711)),
        ("maniqa", {}, (0.0, 1.0)),
        ("metaiqa", {}, (0.0, 1.0)),
        ("clipiqa+", {}, (0.0, 1.0)),
    ],
)
def test_pyiqa_is_asked_for_gradients_single_scores_and_no_weights(
    metric: str, extra: dict[str, bool], span: tuple[float, float], tmp_path: Path
) -> None:
    settings = example("iqa", tmp_path).model_copy(update={"metric": metric})
    before = torch.random.get_rng_state()
    target = settings.build()
    assert torch.equal(torch.random.get_rng_state(), before)
    asked = {"metric": metric, "as_loss": True, "device": "cpu", "loss_reduction": "none", "pretrained": False}
    assert [asked | extra] == CALLS
    assert settings.range == span
    x = images(3, 20, 24)
    torch.testing.assert_close(target(x), target.network.metric.net(x)[:, 0])


def test_pyiqa_range_can_be_set() -> None:
    assert PyIQA(metric="topiq_nr", weights="w.safetensors", low=0.1).range == (0.1, 0.822)
    assert PyIQA(metric="topiq_nr", weights="w.safetensors", high=2.0).range == (0.215, 2.0)
    with pytest.raises(SettingsError, match=r"expected low < high, got low=0.9, high=0.822; .*direction=down"):
        parse_target("iqa:metric=topiq_nr,weights=w.safetensors,low=0.9")


def test_pyiqa_weights_must_fit(tmp_path: Path) -> None:
    settings = example("iqa", tmp_path)
    weights = save(tmp_path, torch.nn.Linear(2, 2))
    with pytest.raises(WeightsError, match="do not fit TinyNetwork"):
        settings.model_copy(update={"weights": weights}).build()


def test_a_score_for_the_whole_batch_is_refused(tmp_path: Path) -> None:
    target = example("iqa", tmp_path).build()
    target.network.metric.loss_reduction = "mean"
    with pytest.raises(ValueError, match="expected one score for each of 3 images"):
        target(images(3, 20, 24))


def test_licence_of_pyiqa_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = example("iqa", tmp_path)
    _say_licence.cache_clear()
    with caplog.at_level(logging.WARNING):
        settings.build()
        settings.build()
    assert [record.message for record in caplog.records if "non-commercial" in record.message] == [
        "pyiqa is for non-commercial use only (PolyForm-Noncommercial-1.0.0, parts under the S-Lab licence)"
    ]


def test_without_pyiqa_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install_fake_pyiqa()
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(ImportError, match=r'^pyiqa cannot be imported .*; pip install "lustral\[iqa\]"$'):
        parse_target("iqa:metric=maniqa,weights=w.safetensors").build()
    with pytest.raises(SettingsError, match=r"iqa\.metric: .*'topiq_nr'"):
        parse_target("iqa:metric=niqe,weights=w.safetensors")
