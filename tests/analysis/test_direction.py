"""Direction of purification: known directions, and an analysis whose answer is known."""

import contextlib
import json
from pathlib import Path

import pytest
import torch

from lustral.analysis.direction import analyse_direction, direction_of_purification, direction_table
from lustral.attacks import parse_attack
from lustral.cli import main
from lustral.data import parse_data
from lustral.purifiers import parse_purifier
from lustral.settings import SettingsError
from lustral.targets import parse_target
from tests.contracts.purifiers import images


def test_known_directions_have_known_angles_and_lengths() -> None:
    x = images(4, 6, 5)
    change = 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    across = torch.zeros_like(x)
    across[:, :, 0, 0], change[:, :, 0, 0] = 0.1, 0
    attacked = x + change
    found = direction_of_purification(x, attacked, x - change, attacked - change)  # both lose the same
    torch.testing.assert_close(found.cosine, torch.ones(4).double())
    torch.testing.assert_close(found.cosine_back, torch.ones(4).double())
    torch.testing.assert_close(found.error, torch.zeros(4).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.gap, change.double().abs().amax((1, 2, 3)), rtol=1e-5, atol=0)
    found = direction_of_purification(x, attacked, x + across, attacked - 2 * change)  # at right angles
    lengths = change.double().flatten(1).norm(dim=1)
    torch.testing.assert_close(found.cosine, torch.zeros(4).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.moved_attacked, 2 * lengths, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.moved_clean, torch.full((4,), 0.1 * 3**0.5).double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.error, (0.03 + 4 * lengths**2).sqrt() / (2 * lengths), rtol=1e-5, atol=0)
    nothing = direction_of_purification(x, attacked, x, attacked)
    assert not nothing.cosine.any()
    assert not nothing.error.any()
    assert torch.isinf(direction_of_purification(x, attacked, x + across, attacked).error).all()


def test_analysis_states_what_purifiers_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "new" / "direction.json"
    arguments = ["--data", "scenes:count=12", "--target", "scenes_classifier", "--attack", "pgd:steps=4"]
    arguments += ["--with", "identity", "--with", "bit_depth:bits=3 | flip", "--batch", "5"]
    monkeypatch.setattr("sys.argv", ["lustral", "analyse", "direction", *arguments, "--out", str(place)])
    with contextlib.suppress(SystemExit):
        main()
    record = json.loads(place.read_text())
    nothing, both = record["purifiers"]
    assert nothing["images"] == both["images"] == 12
    assert nothing["accuracy_purified_attacked"] == nothing["accuracy_attacked"] < nothing["accuracy_clean"]
    assert nothing["accuracy_shifted_clean"] == nothing["accuracy_clean"]
    assert nothing["moved_clean"] == nothing["error"] == 0
    assert nothing["gap"] == pytest.approx(8 / 255, abs=1e-6)
    assert both["cosine"] > 0.5, "most of what moves is the flip, and the images are alike"
    assert record["settings"]["attack"]["steps"] == 4
    assert "cosine" in capsys.readouterr().out
    assert direction_table(record["purifiers"])[2][0][0] == "identity"


def test_what_has_no_direction_is_refused() -> None:
    attack, identity = parse_attack("fgsm"), parse_purifier("identity")
    scenes, classifier = parse_data("scenes"), parse_target("scenes_classifier")
    for data, target, purifiers in (
        (scenes, parse_target("photo_quality"), [identity]),
        (parse_data("photos"), classifier, [identity]),
        (scenes, classifier, []),
    ):
        with pytest.raises(SettingsError, match="expected a classifier, images with classes, one purifier or more"):
            analyse_direction(data, target, purifiers, attack)
