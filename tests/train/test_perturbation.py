"""Trainings of UAP and FACPA: the optimum of a linear score, resume, and what stands on the card."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from lustral.nets.perturbations import PerturbationGenerator, UniversalPerturbation, load_perturbation
from lustral.settings import SettingsError
from lustral.targets import TARGETS, TargetSettings
from lustral.targets.module import Target
from lustral.train import TRAININGS, GeneratorTraining, UniversalTraining, register_result
from lustral.train.perturbation import judge_perturbation, train_perturbation
from tests.train.test_loop import Stop, equal, stripes

SIDE, TILE = 16, 8
Trained = UniversalTraining | GeneratorTraining


def settings_of(kind: str, **changes: Any) -> Trained:
    if kind == "uap":
        return UniversalTraining.make(**{"target": "linear", "epochs": 2, "tile": TILE} | changes)
    tiny = {"target": "linear", "epochs": 2, "widths": (4, 4), "learning_rate": 0.02}
    return GeneratorTraining.make(**tiny | changes)


def weight() -> torch.Tensor:
    """One number per pixel and channel of a crop."""
    return torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


class _Sum(torch.nn.Module):
    def __init__(self, curved: bool = False) -> None:
        super().__init__()
        self.curved = curved

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * weight()
        return (y * 9).sin().sum((1, 2, 3)) if self.curved else y.sum((1, 2, 3))


class Linear(TargetSettings):
    """A linear score of crops, or one whose slope depends on the crop."""

    name: ClassVar[str] = "linear"
    source: ClassVar[str] = "this test"
    kind: ClassVar[str] = "quality"  # pyright: ignore[reportIncompatibleVariableOverride]
    curved: bool = False
    range: ClassVar[tuple[float, float]] = (-20.0, 60.0)  # pyright: ignore[reportIncompatibleVariableOverride]

    def weights_digest(self) -> str:
        return "0" * 64

    def build(self, device: str = "cpu") -> Target:
        return Target(self, _Sum(self.curved))


@pytest.fixture(autouse=True)
def linear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "linear", Linear)


def train(
    settings: Trained, checkpoint: Path | None = None, stop_after: int | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    def progress(row: dict[str, Any]) -> None:
        if row["epoch"] == stop_after:
            raise Stop

    return train_perturbation(settings, stripes(48, SIDE), stripes(6, SIDE), checkpoint, progress)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_the_tile_becomes_the_sign_of_the_weights_summed_over_tiles(direction: str) -> None:
    settings = UniversalTraining(
        target=f"linear:direction={direction}", tile=TILE, epochs=8, learning_rate=0.05, mirror=False
    )
    saved, record = train(settings)
    w = weight().unflatten(1, (-1, TILE)).unflatten(3, (-1, TILE)).sum((1, 3))
    sign = 1 if direction == "up" else -1
    assert torch.equal(saved["tile"], (127 * sign * w.sign()).to(torch.int8))
    best = 0.1 * float(w.abs().sum()) / 80  # a bound of 0.1, a range of 80; a little is lost where images end
    assert record["history"][-1]["test_gain"] == pytest.approx(best, rel=0.05)


@pytest.mark.parametrize("kind", ["uap", "facpa"])
def test_resumed_training_equals_an_uninterrupted_one(kind: str, tmp_path: Path) -> None:
    settings = settings_of(kind, target="linear:curved=true", learning_rate=0.05)
    whole, _ = train(settings)
    with pytest.raises(Stop):
        train(settings, tmp_path / "c", 1)
    assert equal(train(settings, tmp_path / "c")[0], whole)
    assert not equal(train(settings.model_copy(update={"seed": 1}))[0], whole)


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("kind", ["uap", "facpa"])
def test_a_few_steps_move_scores_of_other_images_the_wanted_way(kind: str, direction: str) -> None:
    settings = settings_of(kind, target=f"linear:direction={direction}", epochs=6)
    gains = [row["test_gain"] for row in train(settings)[1]["history"]]
    assert gains[-1] > max(gains[0], 0.05)


@pytest.mark.parametrize("kind", ["uap", "facpa"])
def test_the_card_says_what_it_was_made_for_and_how_far_it_moves_photographs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = [np.ascontiguousarray(image) for image in stripes(4, SIDE).images]
    monkeypatch.setattr("lustral.train.perturbation.kodak_or_builtin", lambda: ("four photographs", photographs))
    settings = settings_of(kind, epochs=6)
    weights, record = train(settings)
    sets = stripes(48, SIDE), stripes(6, SIDE)
    card = register_result(kind, weights, record, out=tmp_path, settings=settings, data=sets)
    assert card.file == f"{kind}_linear.safetensors"
    assert (card.architecture["target"], card.architecture["target_weights"]) == ("linear", "0" * 64)
    assert "made to move linear; judged on four photographs with a bound of 8/255" in card.data
    assert "BSDS500, non-commercial" in card.data
    assert set(card.scores) == {"clean", "gain", "gain_random_signs"}
    assert card.scores["gain"] > abs(card.scores["gain_random_signs"])
    network = load_perturbation(
        str(tmp_path / card.file), UniversalPerturbation if kind == "uap" else PerturbationGenerator
    )
    x = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in photographs]).float() / 255
    clean, moved = _Sum()(x), _Sum()((x + 8 / 255 * network(x)).clamp(0, 1))
    assert card.scores["clean"] == pytest.approx((float(clean.mean()) + 20) / 80, abs=1e-5)
    assert card.scores["gain"] == pytest.approx(float((moved - clean).mean()) / 80, abs=1e-5)
    down = settings.model_copy(update={"target": "linear:direction=down"})
    scores, about = judge_perturbation(down, weights)
    assert (scores["clean"], scores["gain"]) == pytest.approx((card.scores["clean"], -card.scores["gain"]), abs=1e-5)
    assert "made to move linear_down" in about


def test_weights_are_named_after_the_attack_the_target_and_a_direction_that_is_not_up() -> None:
    for kind in ("uap", "facpa"):
        job = TRAININGS[kind]
        assert job.weights(job.settings) == f"{kind}_photo_quality"
        down = type(job.settings).make(target="photo_quality:direction=down")
        assert job.weights(down) == f"{kind}_photo_quality_down"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "scenes_classifier"}, "expected a quality target, scenes_classifier is a classifier target"),
        ({"target": "photo_quality:direction=both"}, "set direction=up or direction=down"),
        ({"target": "nothing"}, "unknown target 'nothing'"),
        ({"sources": "bsds+kodak"}, "'builtin' or 'bsds'"),
    ],
)
def test_what_cannot_be_learnt_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        UniversalTraining.make(**fields)
