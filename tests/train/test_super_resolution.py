"""Training for super-resolution: resume, what a step sees, and the score on the weight card."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from lustral.nets.restorers import super_resolution_network
from lustral.nets.upscaling import bicubic
from lustral.settings import SettingsError
from lustral.train import TRAININGS, SuperResolutionTraining, register_result
from lustral.train.loop import as_tensor
from lustral.train.super_resolution import architecture, reduced, train_super_resolution, upscaling_psnr
from lustral.weights import load_into, load_weights
from tests.train.test_loop import Stop, equal, stripes

TINY: dict[str, Any] = {"widths": (8,), "blocks": 1, "epochs": 2, "batch": 8, "window": 16}


def train(checkpoint: Path | None = None, stop_after: int | None = None, **changes: Any) -> dict[str, Any]:
    def progress(row: dict[str, Any]) -> None:
        if row["epoch"] == stop_after:
            raise Stop

    settings = SuperResolutionTraining.make(**TINY | changes)
    weights, record = train_super_resolution(settings, stripes(16), stripes(6), checkpoint, progress)
    return weights | {"losses": torch.tensor([row["loss"] for row in record["history"]])}


@pytest.mark.parametrize("network", ["edsr", "mdsr"])
def test_resumed_training_equals_an_uninterrupted_one(network: str, tmp_path: Path) -> None:
    whole = train(network=network, scale=4)
    with pytest.raises(Stop):
        train(tmp_path / "c", 1, network=network, scale=4)
    assert equal(train(tmp_path / "c", network=network, scale=4), whole)
    assert not equal(train(network=network, scale=4, seed=1), whole)


@pytest.mark.parametrize("network", ["edsr", "mdsr", "rrdb", "drln"])
def test_card_rebuilds_the_network_and_states_both_scores(network: str, tmp_path: Path) -> None:
    settings = SuperResolutionTraining.make(**TINY | {"network": network, "scale": 4, "epochs": 1})
    sets = stripes(16), stripes(6)
    weights, record = train_super_resolution(settings, *sets)
    card = register_result("super-resolution", weights, record, out=tmp_path, settings=settings, data=sets)
    assert card.file == f"{network}_x4.safetensors"
    ratios = ("x2", "x4") if network == "mdsr" else ("x4",)
    assert set(card.scores) == {f"psnr_{who}{ratio}" for ratio in ratios for who in ("", "bicubic_")}
    assert "scikit-image" in card.data
    assert "Kodak" in card.data
    load_into(super_resolution_network(card.architecture), load_weights(tmp_path / card.file))


def test_network_learns_to_beat_bicubic_upscaling() -> None:
    settings = SuperResolutionTraining.make(**TINY | {"epochs": 12, "scale": 4, "learning_rate": 5e-3})
    _, record = train_super_resolution(settings, stripes(48), stripes(8))
    assert record["psnr_x4"] > record["psnr_bicubic_x4"] + 0.1


def test_score_is_the_peak_signal_to_noise_ratio_of_scikit_image() -> None:
    images = as_tensor(stripes(5))
    x = images.float() / 255
    y = bicubic(reduced(x, 2), 2).clamp(0, 1)
    pairs = zip(x.numpy(), y.numpy(), strict=True)
    expected = np.mean([peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs])
    assert upscaling_psnr(bicubic, images, 2, batch=2) == pytest.approx(expected, abs=1e-4)


def test_mdsr_learns_every_power_of_two_up_to_its_scale() -> None:
    found = {
        scale: architecture(SuperResolutionTraining.make(network="mdsr", scale=scale))["scales"] for scale in (2, 8)
    }
    assert found == {2: [2], 8: [2, 4, 8]}


def test_held_out_pictures_are_other_photographs_where_there_are_any() -> None:
    job = TRAININGS["super-resolution"]
    train_set, test_set = job.data(SuperResolutionTraining())
    assert (train_set.split, test_set.split, test_set.sources) == ("train", "test", ("kodak",))
    assert job.data(SuperResolutionTraining(sources=("builtin",)))[1].sources == ("builtin",)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="window=40 must not exceed the crops of side 32"):
        train(window=40)
    with pytest.raises(SettingsError, match="window"):
        SuperResolutionTraining.make(window=20)
    with pytest.raises(SettingsError, match="widths"):
        SuperResolutionTraining.make(widths="8+16")
