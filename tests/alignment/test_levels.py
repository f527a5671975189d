"""Alignment from pictures to the file: what is stored is what is measured, also after an interruption."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lustral.alignment.intensity import MEASURES, pixels
from lustral.alignment.levels import Alignment, align_levels, check_levels
from lustral.alignment.measuring import evaluations_file
from lustral.attacks import parse_access, parse_attack
from lustral.attacks.goals import MoveScore
from lustral.bench.protocol import attack_images
from lustral.bench.strengths import read_strengths
from lustral.cli import main
from lustral.data import parse_data
from lustral.settings import SettingsError
from lustral.targets import TARGETS
from lustral.tensors import from_uint8
from tests.alignment.tiny import Tiny, write_pictures

LINF = {"weak": 2 / 255, "medium": 4 / 255, "strong": 8 / 255}
PSNR = {"weak": 40.0, "medium": 35.0, "strong": 30.0}
L2 = "ifgsm:norm=l2,epsilon=0.1,steps=3"


@pytest.fixture
def data(tmp_path):
    return parse_data(write_pictures(tmp_path / "calibration"))


def asked(data, attack="fgsm", measure="linf", levels=LINF, **changes):
    return Alignment(parse_attack(attack), Tiny(), data, MEASURES[measure], levels, **changes)


def test_fgsm_has_the_linf_that_it_is_given(data, tmp_path):
    rows = []
    found = align_levels(asked(data), tmp_path / "s.json", progress=rows.append)
    for strength, level in zip(found, (2, 4, 8), strict=True):
        assert strength.status == "reached"
        assert strength.evaluations == 1
        assert strength.attack["epsilon"] == pytest.approx(level / 255)
        assert strength.reached == pytest.approx(level / 255, abs=1e-7)
        assert strength.before_rounding == pytest.approx(level / 255, abs=1e-7)
    assert len(rows) == 3


def test_what_is_stored_is_the_mean_over_the_images_of_what_the_attack_does(data, tmp_path):
    """Measured here without batches and with other arithmetic; the L2 attack needs no randomness."""
    found = align_levels(asked(data, L2, "psnr", PSNR, batch=3), tmp_path / "s.json")
    model, images = Tiny().build(), data.load()
    for strength in found:
        attack, decibels, before = parse_attack(strength.attack), [], []
        for name, image in zip(images.ids, images.images, strict=True):
            x = from_uint8(image[None])
            goal = MoveScore(model(x), 0.0, 1.0, 1, 0.1)
            chosen = attack_images(attack, parse_access("blind"), model, goal, x, seed=1, ids=[name]).selection
            decibels.append(-10 * np.log10(((chosen.x - x).double() ** 2).mean().item()))
            before.append(-10 * np.log10(((chosen.unrounded - x).double() ** 2).mean().item()))
        assert strength.status == "reached"
        assert strength.reached == pytest.approx(np.mean(decibels), abs=0.01)
        assert strength.before_rounding == pytest.approx(np.mean(before), abs=0.01)
        assert strength.reached == pytest.approx(strength.wanted, abs=0.1)
        assert strength.intensities["psnr"] == strength.reached
        assert {"linf", "ssim_uniform", "ssim_gaussian", "pixels"} < set(strength.intensities)
    assert [strength.level for strength in found] == list(PSNR)


def test_a_level_that_8_bits_cannot_hold_is_stored_as_unreached_with_the_nearest(data, tmp_path):
    """FGSM moves every pixel by whole levels: three of them are 38.6 dB and two 42.1 dB."""
    (strength,) = align_levels(asked(data, "fgsm", "psnr", {"weak": 40.0}), tmp_path / "s.json")
    assert strength.status == "unreached"
    assert "jumps" in strength.reason
    assert strength.reached == pytest.approx(-20 * np.log10(3 / 255), abs=0.01)
    assert read_strengths(tmp_path / "s.json").strengths == (strength,)


def test_interrupted_and_resumed_gives_the_same_file_and_measures_nothing_twice(data, tmp_path):
    rows, before = [], []
    whole = align_levels(asked(data, L2, "psnr", PSNR), tmp_path / "a" / "s.json", progress=rows.append)
    assert len(rows) > 6

    def stop(row):
        before.append(row)
        if len(before) == 5:
            raise KeyboardInterrupt

    out = tmp_path / "b" / "s.json"
    with pytest.raises(KeyboardInterrupt):
        align_levels(asked(data, L2, "psnr", PSNR), out, progress=stop)
    with evaluations_file(out).open("a") as file:
        file.write('{"key": "cut sho')  # what a kill may leave
    after = []
    again = align_levels(asked(data, L2, "psnr", PSNR), out, progress=after.append)
    assert again == whole
    assert out.read_bytes() == (tmp_path / "a" / "s.json").read_bytes()
    assert len(before) + len(after) == len(rows)
    align_levels(asked(data, L2, "psnr", PSNR), out, progress=after.append)
    assert len(before) + len(after) == len(rows), "the line after the torn one counts"


def test_other_images_targets_and_seeds_are_other_evaluations(data, tmp_path):
    rows, out = [], tmp_path / "s.json"
    first = asked(data, levels={"weak": 2 / 255})
    more = parse_data(write_pictures(tmp_path / "more", seed=5))
    for variant in (first, replace(first, data=more), replace(first, target=Tiny(weights=1)), replace(first, seed=1)):
        align_levels(variant, out, progress=rows.append)
    assert len(rows) == 4
    # Another measure at the same settings needs no new evaluation.
    (strength,) = align_levels(asked(data, "fgsm:epsilon=2/255", "psnr", {"own": 42.1102}), out, progress=rows.append)
    assert (strength.status, len(rows)) == ("reached", 4)


def test_a_file_keeps_other_strengths_and_replaces_the_same(data, tmp_path):
    out = tmp_path / "s.json"
    align_levels(asked(data), out)
    align_levels(asked(data, "ifgsm:steps=2", levels={"weak": 2 / 255}), out)
    more = parse_data(write_pictures(tmp_path / "more", count=2, seed=5))
    align_levels(asked(more), out)
    stored = read_strengths(out)
    assert [(entry.attack["name"], entry.level) for entry in stored.strengths] == [
        ("ifgsm", "weak"),
        ("fgsm", "weak"),
        ("fgsm", "medium"),
        ("fgsm", "strong"),
    ]
    sizes = [len(stored.calibration(entry).images) for entry in stored.strengths]
    assert sizes == [4, 2, 2, 2]
    assert stored.calibration(stored.strengths[0]).data == data.to_json()
    align_levels(asked(more, "ifgsm:steps=2", levels={"weak": 2 / 255}), out)
    assert len(read_strengths(out).calibrations) == 1, "images that no strength needs are forgotten"


def test_several_settings_are_moved_together(data, tmp_path):
    start = "ifgsm:epsilon=8/255,step=1/255,steps=10"
    moved = asked(data, start, levels={"weak": 2 / 255}, parameters=("epsilon", "step"))
    (strength,) = align_levels(moved, tmp_path / "s.json")
    assert strength.status == "reached"
    assert strength.attack["step"] / strength.attack["epsilon"] == pytest.approx(1 / 8)
    assert strength.attack["epsilon"] == pytest.approx(2 / 255)
    assert strength.parameters == ("epsilon", "step")


def test_held_out_images_are_measured_again_and_calibration_images_refused(data, tmp_path):
    out = tmp_path / "s.json"
    align_levels(asked(data, L2, "psnr", PSNR), out)
    write_pictures(tmp_path / "others", seed=9)
    # The target is looked up by its name.
    TARGETS["tiny"] = Tiny
    try:
        checked = check_levels(out, parse_data(f"folder:path={tmp_path / 'others'}"))
        assert [row.is_close for row in checked] == [True] * 3
        assert all(row.reached != row.strength.reached for row in checked)
        for row in checked:
            assert row.ratio == pytest.approx(10 ** ((row.strength.wanted - row.reached) / 20))
        with pytest.raises(SettingsError, match="4 of 4 images"):
            check_levels(out, data)
    finally:
        del TARGETS["tiny"]


def test_images_of_several_sizes_and_too_small_windows(tmp_path):
    write_pictures(tmp_path / "mixed", count=2)
    data = parse_data(write_pictures(tmp_path / "mixed", count=1, seed=1, side=9))
    (strength,) = align_levels(asked(data, levels={"weak": 2 / 255}), tmp_path / "s.json")
    assert strength.status == "reached"
    assert "ssim_uniform" in strength.intensities
    assert "ssim_gaussian" not in strength.intensities
    with pytest.raises(SettingsError, match="too small for the window of ssim_gaussian"):
        align_levels(asked(data, measure="ssim_gaussian", levels={"weak": 0.9}), tmp_path / "s.json")


def test_pixels_are_counted_once_for_all_channels():
    x = np.zeros((2, 4, 4, 3))
    y = x.copy()
    y[0, 1, 2], y[0, 3, 3, 1] = 1, 1 / 255
    assert pixels(y, x).tolist() == [2, 0]


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TARGETS, "tiny", Tiny)

    def command(*arguments):
        monkeypatch.setattr("sys.argv", ["lustral", "align", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return command


def test_the_command_writes_shows_and_checks(run, tmp_path):
    data, held_out = write_pictures(tmp_path / "a"), write_pictures(tmp_path / "b", seed=3)
    common = ("fgsm", "--target", "tiny", "--data", data, "--measure")
    code, out, err = run(*common, "linf", "--level", "weak", "--value", "3/255")
    assert code == 0
    assert "weak: fgsm:epsilon=2/255" in out.splitlines()
    assert "3/255: fgsm:epsilon=3/255" in out.splitlines()
    assert [json.loads(line)["attack"]["name"] for line in err.splitlines()] == ["fgsm", "fgsm"]
    assert [entry.level for entry in read_strengths(tmp_path / "strengths.json").strengths] == ["weak", "3/255"]
    code, out, _ = run("--check", "strengths.json", "--data", held_out)
    assert code == 0
    assert out.count("yes") == 2
    code, out, _ = run(*common, "psnr", "--level", "weak")
    assert code == 1
    assert "weak: unreached, because between" in out
    code, out, _ = run("--check", "strengths.json", "--data", held_out)
    assert (code, out.count("NO")) == (1, 1)
    assert "give only --data" in run("fgsm", "--check", "strengths.json", "--data", held_out)[2]
    assert "expected ATTACK, --target and --measure" in run("--data", data)[2]
