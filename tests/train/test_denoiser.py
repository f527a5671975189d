"""Training a denoiser: it learns, resumes exactly, and its card says what purification costs a classifier."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lustral.diffusion import load_denoiser
from lustral.diffusion.preconditioned import PreconditionedDenoiser
from lustral.train import DenoiserTraining, denoiser, run_training
from lustral.train.denoiser import LARGEST, SMALLEST, _levels, denoising_psnr, train_denoiser
from lustral.weights import WeightsError
from tests.train.test_loop import Stop, stripes

TINY: dict[str, Any] = {"widths": (8, 8), "blocks": 1, "patch": 2, "embedding": 8, "batch": 8, "epochs": 3}


def test_it_learns_to_remove_noise() -> None:
    settings = DenoiserTraining(**(TINY | {"widths": (16, 16), "epochs": 12, "learning_rate": 5e-3}))
    train, test = stripes(64), stripes(20)
    weights, record = train_denoiser(settings, train, test)
    images = torch.from_numpy(test.stack().transpose(0, 3, 1, 2).copy())
    untrained = PreconditionedDenoiser.of(settings.model_dump())
    trained = PreconditionedDenoiser.of(settings.model_dump())
    trained.load_state_dict(weights)
    for sigma, gain in ((0.25, 0.3), (1.0, 0.7)):
        assert denoising_psnr(trained, images, sigma) > denoising_psnr(untrained, images, sigma) + gain
    assert record["psnr_0.25"] == pytest.approx(denoising_psnr(trained, images, 0.25))


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    settings, sets = DenoiserTraining(**TINY), (stripes(24), stripes(8))

    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise Stop

    whole, _ = train_denoiser(settings, *sets)
    with pytest.raises(Stop):
        train_denoiser(settings, *sets, tmp_path / "checkpoint", stop)
    resumed, record = train_denoiser(settings, *sets, tmp_path / "checkpoint")
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_noise_levels_cover_the_whole_range() -> None:
    generator = torch.Generator().manual_seed(0)
    levels = _levels(DenoiserTraining(), 20_000, generator)
    assert levels.min() >= SMALLEST
    assert levels.max() <= LARGEST
    assert (levels > 20).float().mean() > 0.01  # inpainting starts from pure noise
    assert 0.2 < levels.median() < 0.5


def test_denoising_psnr_of_a_perfect_and_of_a_lazy_denoiser() -> None:
    images = torch.from_numpy(stripes(8).stack().transpose(0, 3, 1, 2).copy())

    class Lazy(torch.nn.Module):
        def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            return x

    expected = -20 * np.log10(0.25 / 2)  # noise of 0.25 where the range is 2, a little less after clamping
    assert denoising_psnr(Lazy(), images, 0.25) == pytest.approx(expected, abs=0.3)


def test_from_the_command_to_a_denoiser_with_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoiser, "JUDGED_IMAGES", 10)
    card = run_training("denoiser", out=tmp_path, settings={"data": "scenes", **TINY, "batch": 512, "epochs": 1})
    assert card.command.startswith("lustral train denoiser --seed 0 --set widths=8+8 --set epochs=1")
    assert "--set data=scenes" in card.command
    assert set(card.scores) >= {"psnr_0.1", "psnr_1.0", "accuracy_clean", "accuracy_one_shot_0.25"}
    assert card.scores["accuracy_clean"] > 0.9
    assert card.architecture["widths"] == [8, 8]
    denoise = load_denoiser(str(tmp_path / card.file))
    x = torch.randn(2, 3, 32, 32)
    assert denoise(x, torch.tensor([0.1, 80.0])).shape == x.shape


def test_photographs_of_a_folder(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for index in range(12):
        Image.fromarray(random.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    settings = {"data": "folder", "folder": str(tmp_path), "side": 16, **TINY, "batch": 8, "epochs": 1}
    card = run_training("denoiser", out=tmp_path / "zoo", settings=settings)
    assert card.file == "folder_denoiser.safetensors"
    assert card.architecture["side"] == 16
    with pytest.raises(ValueError, match="side=64 must not exceed the training images"):
        run_training("denoiser", out=tmp_path / "other", settings=settings | {"side": 64})


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(WeightsError):
        load_denoiser("cifar10_classifier")
