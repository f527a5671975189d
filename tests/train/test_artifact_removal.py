"""Training against JPEG artefacts: resume, whose gradient is whose, and the scores on the weight card."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lustral.nets.restorers import restoration_network
from lustral.settings import SettingsError
from lustral.train import TRAININGS, ArtifactRemovalTraining, DenoiserTraining, register_result
from lustral.train.artifact_removal import Game, artifact_scores, decoded, game_loss, train_artifact_removal
from lustral.train.loop import as_tensor
from lustral.weights import load_into, load_weights
from tests.train.test_loop import Stop, equal, stripes

TINY: dict[str, Any] = {"widths": (8,), "blocks": 1, "discriminator": 4, "epochs": 2, "batch": 8, "quality": 20}


def train(checkpoint: Path | None = None, stop_after: int | None = None, **changes: Any) -> dict[str, Any]:
    def progress(row: dict[str, Any]) -> None:
        if row["epoch"] == stop_after:
            raise Stop

    settings = ArtifactRemovalTraining.make(**TINY | changes)
    weights, record = train_artifact_removal(settings, stripes(16), stripes(6), checkpoint, progress)
    return weights | {"losses": torch.tensor([row["loss"] for row in record["history"]])}


@pytest.mark.parametrize("data", ["cifar10", "photographs"])
def test_resumed_training_equals_an_uninterrupted_one(data: str, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    whole = train(data=data, epochs=3)
    with pytest.raises(Stop):
        train(tmp_path / "c", 2, data=data, epochs=3)
    assert equal(train(tmp_path / "c", data=data, epochs=3), whole)
    assert not equal(train(data=data, epochs=3, seed=1), whole)
    assert torch.equal(before, torch.get_rng_state())


def test_each_player_has_the_gradient_of_its_own_loss_only() -> None:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        game = Game(ArtifactRemovalTraining.make(**TINY)).double()
    for value in game.parameters():
        value.data.add_(0.05 * torch.sin(torch.arange(value.numel()).view(value.shape)))  # the last layer is zero
    x = as_tensor(stripes(4)).double() / 255
    compressed = decoded(x, 20)

    def features(images: torch.Tensor) -> torch.Tensor:
        return images[:, :, ::2, 1::2].square()

    game_loss(game, x, compressed, features, 0.3, 0.7).backward()
    found = {name: value.grad for name, value in game.named_parameters()}

    y = game.generator(compressed)
    distance = (features(y) - features(x)).square().sum() / features(x).square().sum()
    believed = torch.sigmoid(game.discriminator(y, compressed))
    generator = functional.l1_loss(y, x) + 0.3 * distance - 0.7 * believed.log().mean()
    known = torch.sigmoid(game.discriminator(x, compressed))
    discriminator = -known.log().mean() - (1 - torch.sigmoid(game.discriminator(y.detach(), compressed))).log().mean()
    for prefix, loss in (("generator", generator), ("discriminator", discriminator)):
        player = getattr(game, prefix)
        for (name, _), expected in zip(
            player.named_parameters(), torch.autograd.grad(loss, list(player.parameters())), strict=True
        ):
            assert expected.any(), name
            torch.testing.assert_close(found[f"{prefix}.{name}"], expected, rtol=1e-6, atol=1e-9)


def test_card_rebuilds_the_generator_and_states_both_scores(tmp_path: Path) -> None:
    settings = ArtifactRemovalTraining.make(**TINY | {"epochs": 1})
    sets = stripes(16), stripes(6)
    weights, record = train_artifact_removal(settings, *sets)
    card = register_result("artifact-removal", weights, record, out=tmp_path, settings=settings, data=sets)
    assert card.file == "artifact_removal_cifar10_q20.safetensors"
    assert set(card.scores) == {"psnr_jpeg", "psnr_restored", "ssim_jpeg", "ssim_restored"}
    assert "--set quality=20" in card.command
    network = restoration_network(card.architecture)
    load_into(network, load_weights(tmp_path / card.file))
    found = artifact_scores({"restored": network}, as_tensor(sets[1]), 20)
    assert found["psnr_restored"] == pytest.approx(card.scores["psnr_restored"], abs=1e-4)


def test_network_learns_to_beat_plain_jpeg() -> None:
    settings = ArtifactRemovalTraining.make(
        **TINY | {"epochs": 16, "learning_rate": 5e-3, "halving": 8, "average": 0.9}
    )
    _, record = train_artifact_removal(settings, stripes(48), stripes(8))
    assert record["psnr_restored"] > record["psnr_jpeg"] + 0.1
    assert record["ssim_restored"] > record["ssim_jpeg"]


def test_scores_are_those_of_scikit_image_on_pillow_jpeg() -> None:
    images = stripes(5)
    truth = images.stack() / 255
    coded = decoded(as_tensor(images).double() / 255, 30).permute(0, 2, 3, 1).numpy()
    found = artifact_scores({"jpeg": lambda x: x}, as_tensor(images), 30, batch=2)
    psnr = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(truth, coded, strict=True)]
    wang: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = [
        structural_similarity(a, b, data_range=1, channel_axis=2, **wang) for a, b in zip(truth, coded, strict=True)
    ]
    assert found["psnr_jpeg"] == pytest.approx(np.mean(psnr), abs=1e-4)
    assert found["ssim_jpeg"] == pytest.approx(np.mean(ssim), abs=1e-4)


def test_learning_rate_halves_as_in_the_paper_and_other_trainings_keep_theirs() -> None:
    settings = ArtifactRemovalTraining(learning_rate=1e-4)
    rates = [settings.rate(epoch, (epoch + 0.5) / 20) for epoch in range(20)]
    assert rates == [1e-4 / 2 ** (epoch // 5) for epoch in range(20)]
    assert settings.rate(0, settings.warm_up / 2) == pytest.approx(5e-5)
    plain = DenoiserTraining()
    assert plain.rate(9, 0.525) == pytest.approx(plain.learning_rate * 0.5)


def test_data_and_names_follow_the_settings() -> None:
    job = TRAININGS["artifact-removal"]
    assert [part.name for part in job.data(ArtifactRemovalTraining())] == ["cifar10", "cifar10"]
    settings = ArtifactRemovalTraining.make(data="photographs", quality="60", sources="builtin+kodak")
    train_set, test_set = job.data(settings)
    assert (train_set.split, test_set.split, test_set.sources) == ("train", "test", ("kodak",))
    assert job.weights(settings) == "artifact_removal_photographs_q60"
    assert "Kodak" in job.data_licence(settings)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="window=40 must not exceed the images of side 32"):
        train(window=40)
    with pytest.raises(SettingsError, match="quality"):
        ArtifactRemovalTraining.make(quality=0)
    with pytest.raises(SettingsError, match="data"):
        ArtifactRemovalTraining.make(data="imagenet")
