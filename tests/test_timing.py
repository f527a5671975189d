"""What purifiers cost on this machine."""

import numpy as np
import pytest

from lustral.data import parse_data
from lustral.images import write_image
from lustral.purifiers import PURIFIERS
from lustral.settings import SettingsError
from lustral.timing import purifier_timings


def timings(data="scenes:split=test,count=2", **options):
    return {row["name"]: row for row in purifier_timings(parse_data(data), rounds=1, **options)}


def test_a_purifier_is_timed_per_image_with_its_passes():
    rows = timings(names=("identity", "jpeg", "one_shot"))
    assert list(rows) == ["identity", "jpeg", "one_shot"]
    assert [row["passes"] for row in rows.values()] == [0, 0, 1]
    assert 0 < rows["identity"]["milliseconds"] < rows["one_shot"]["milliseconds"]


def test_a_purifier_that_needs_its_target_gets_the_one_of_the_zoo():
    row = timings(names=("anti_adversary",))["anti_adversary"]
    assert row["milliseconds"] > 0
    assert row["passes"] == PURIFIERS["anti_adversary"].make().passes


def test_what_cannot_be_timed_says_why():
    row = timings(names=("chain",))["chain"]
    assert row["milliseconds"] is None
    assert row["note"] == "needs settings: parts"


def test_weights_that_are_missing_are_said_and_the_others_are_timed(monkeypatch):
    def build(*_, **__):
        raise FileNotFoundError("no weights here")

    monkeypatch.setattr(PURIFIERS["jpeg"], "build", build)
    rows = timings(names=("jpeg", "flip"))
    assert rows["jpeg"]["note"] == "no weights here"
    assert rows["jpeg"]["milliseconds"] is None
    assert rows["flip"]["milliseconds"] > 0


def test_bad_requests_get_one_clear_error(tmp_path):
    with pytest.raises(SettingsError, match="unknown purifier 'nothing'"):
        timings(names=("nothing",))
    for side in (8, 9):
        write_image(tmp_path / f"{side}.png", np.zeros((side, side, 3), np.uint8))
    with pytest.raises(SettingsError, match="one size"):
        timings(f"folder:path={tmp_path}", names=("identity",))
