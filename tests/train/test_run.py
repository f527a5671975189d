"""From a name to registered weights with a card that says how to make them again."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lustral.nets.residual import ResidualClassifier
from lustral.settings import SettingsError
from lustral.targets import TARGETS, ResidualTarget
from lustral.train import TRAININGS, ClassifierTraining, register_result, run_training
from lustral.weights import list_weights, load_weights, weight_card
from tests.train.test_loop import Stop, stripes

TINY = {"widths": "4+8", "epochs": "2", "seed": 3}


def test_scenes_from_the_name_to_the_target(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    card = run_training("scenes-classifier", out=tmp_path, settings=TINY, progress=rows.append)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert card == weight_card("scenes_classifier", tmp_path)
    assert card.command == "lustral train scenes-classifier --seed 3 --set widths=4+8 --set epochs=2"
    assert card.architecture["widths"] == [4, 8]
    assert card.scores == {"test_accuracy": pytest.approx(rows[-1]["test_accuracy"], abs=1e-6)}
    assert card.cost["parameters"] == sum(p.numel() for p in ResidualClassifier(10, (4, 8)).parameters())
    assert float(card.cost["seconds"]) > 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["registry.json", "scenes_classifier.safetensors"]
    target = ResidualTarget(weights=str(tmp_path / card.file), sha256=card.sha256).build()
    assert target(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_a_killed_run_goes_on_and_ends_with_the_same_file(tmp_path: Path) -> None:
    def stop(row: dict[str, Any]) -> None:
        raise Stop

    whole = run_training("scenes-classifier", out=tmp_path / "whole", settings=TINY)
    with pytest.raises(Stop):
        run_training("scenes-classifier", out=tmp_path / "killed", settings=TINY, progress=stop)
    rows: list[dict[str, Any]] = []
    card = run_training("scenes-classifier", out=tmp_path / "killed", settings=TINY, progress=rows.append)
    assert [row["epoch"] for row in rows] == [2]
    assert card.sha256 == whole.sha256


@pytest.mark.slow
def test_sigkill_amid_a_training_changes_nothing(tmp_path: Path) -> None:
    settings = {**TINY, "epochs": "6"}
    whole = run_training("scenes-classifier", out=tmp_path / "whole", settings=settings)
    overrides = [part for name, value in settings.items() if name != "seed" for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "lustral.cli", "train", "scenes-classifier", "--seed", "3", *overrides]
    command += ["--out", str(tmp_path / "killed")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None and not list(tmp_path.glob("killed/*.checkpoint")):
            time.sleep(0.02)
        running.kill()
    assert running.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("killed/*.safetensors"))
    subprocess.run(command, check=True, capture_output=True)
    assert weight_card("scenes_classifier", tmp_path / "killed").sha256 == whole.sha256


def test_photo_quality_card_states_range_data_and_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUSTRAL_DATA", raising=False)
    tiny = {"widths": "4", "epochs": 1, "crops": 1, "kinds": "white_noise+jpeg", "window": 32}
    card = run_training("photo-quality", out=tmp_path, settings=tiny)
    assert card.scores["range_low"] < card.scores["range_high"]
    assert "live_srocc" not in card.scores
    assert "score range on the built-in photographs" in card.data
    assert "scikit-image" in card.data
    assert card.command.endswith(
        "--set widths=4 --set epochs=1 --set kinds=white_noise+jpeg --set crops=1 --set window=32"
    )


def test_result_of_a_finished_run_gets_its_card(tmp_path: Path) -> None:
    weights = {**ResidualClassifier(2, (4, 8)).state_dict(), "mean": torch.zeros(3), "std": torch.ones(3)}
    record = {"history": [{"epoch": 1, "loss": 1.0, "test_accuracy": 0.91}], "test_accuracy": 0.91, "test_images": 4}
    card = register_result(
        "cifar10-classifier",
        weights,
        record,
        out=tmp_path,
        settings=ClassifierTraining(widths=(4, 8)),
        data=(stripes(8), stripes(4)),
        cost={"seconds": 1900.0, "cpu_seconds": 1800.0},
    )
    assert card.scores == {"test_accuracy": 0.91}
    assert card.cost["seconds"] == 1900.0
    assert stripes(8).fingerprint() in card.data
    assert torch.equal(load_weights("cifar10_classifier", zoo=tmp_path).tensors["head.bias"], weights["head.bias"])


def test_unknown_names_and_overrides_list_the_known(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"known trainings: scenes-classifier, photo-quality, .*cifar100-classifier, denoiser"
    ):
        run_training("scenes", out=tmp_path)
    with pytest.raises(SettingsError, match=r"unknown setting 'epoch' of classifier; known settings: .*epochs"):
        run_training("scenes-classifier", out=tmp_path, settings={"epoch": 1})


@pytest.mark.parametrize("name", TRAININGS)
def test_every_training_says_which_weights_it_makes(name: str) -> None:
    job = TRAININGS[name]
    assert job.weights(job.settings) in list_weights()
    makes_targets = name.endswith(("-classifier", "-quality"))
    assert (job.weights(job.settings) in TARGETS) == makes_targets
