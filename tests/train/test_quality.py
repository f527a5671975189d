"""Every kind of quality network trains in the same loop: exact resume, and something is learnt."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lustral.settings import SettingsError
from lustral.train.quality import quality_network, quality_network_fitting, quality_scores, train_quality
from lustral.train.settings import QualityTraining
from tests.train.test_loop import Stop, stripes

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"network": "plain", "widths": (4, 8)},
    "transformer": {
        "network": "transformer", "widths": (16,), "blocks": 1, "optimizer": "adam", "learning_rate": 0.01
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_training_equals_an_uninterrupted_one_and_learns(kind: str, tmp_path: Path) -> None:
    settings = QualityTraining(epochs=6, batch=8, window=32, mirror=False, **KINDS[kind])
    sets = stripes(96, quality=True), stripes(40, quality=True)
    checkpoint = tmp_path / "run.checkpoint"

    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise Stop

    with pytest.raises(Stop):
        train_quality(settings, *sets, checkpoint, stop)
    weights, record = train_quality(settings, *sets, checkpoint)
    whole, _ = train_quality(settings, *sets)
    assert weights.keys() == whole.keys()
    assert all(torch.equal(weights[key], whole[key]) for key in whole)
    assert record["test_srocc"] > 0.8
    network = quality_network_fitting(settings, weights)
    assert type(network) is type(quality_network(settings))
    scores = quality_scores(network, sets[1].images[:3], weights["mean"], weights["std"])
    assert scores[1] > max(scores[0], scores[2]), "the second has the better stripes"


def test_a_transformer_has_one_width() -> None:
    with pytest.raises(SettingsError, match=r"expected one width of a transformer, got widths=16\+32"):
        QualityTraining.make(network="transformer", widths="16+32")
