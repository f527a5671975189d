"""Which settings are moved, within which bounds, and how they are typed."""

import pytest

from lustral.alignment.intensity import MEASURES, find_measure
from lustral.alignment.line import attack_text, line_of
from lustral.attacks import ATTACKS, parse_attack
from lustral.settings import SettingsError


def test_by_default_the_strength_of_the_attack_is_moved():
    assert line_of(parse_attack("pgd")).names == ("epsilon",)
    line = line_of(parse_attack("color_shift:bound=0.2,steps=7"))
    assert (line.names, line.start, line.high) == (("bound",), 0.2, 2)
    assert line.at(0.5) == parse_attack("color_shift:bound=0.5,steps=7")
    with pytest.raises(SettingsError, match="less than or equal to 2"):
        line.at(3.0)


def test_several_settings_keep_their_proportion_and_their_bounds():
    line = line_of(parse_attack("ifgsm:epsilon=8/255,step=1/255,steps=12"), ("epsilon", "step", "steps"))
    moved = line.at(0.5)
    assert (moved.epsilon, moved.step, moved.steps) == (4 / 255, 0.5 / 255, 6)
    assert line.at(1e-3).steps == 1
    assert line.low == pytest.approx(1 / 12)
    assert not line.whole
    assert line_of(parse_attack("stadv:bound=0.5,rate=0.1"), ("rate", "bound")).high == 4


def test_whole_numbers_stay_whole():
    line = line_of(parse_attack("ifgsm"), ("steps",))
    assert (line.whole, line.low, line.start) == (True, 1, 10)
    assert line.at(3.0).steps == 3


def test_a_setting_in_units_of_the_measure_is_its_own_first_guess():
    linf = MEASURES["linf"]
    assert line_of(parse_attack("fgsm")).guess(linf, 2 / 255) == pytest.approx(2 / 255)
    line = line_of(parse_attack("ifgsm:epsilon=8/255,step=1/255"), ("step", "epsilon"))
    assert line.guess(linf, 2 / 255) == pytest.approx(0.25)
    assert line_of(parse_attack("fgsm")).guess(MEASURES["psnr"], 40.0) is None
    assert line_of(parse_attack("fgsm:norm=l2")).guess(linf, 2 / 255) is None


@pytest.mark.parametrize(
    ("attack", "names", "message"),
    [
        ("cadv", (), "epsilon bounds nothing in cadv.*rate"),
        ("pgd", ("step",), "no value to start from"),
        ("pgd", ("speed",), "its numbers: epsilon, steps, restarts"),
        ("pgd", ("early_stop",), "no number 'early_stop'"),
        ("stadv", ("tau",), "start above 0"),
        ("pgd", ("epsilon", "epsilon"), "twice"),
    ],
)
def test_settings_that_cannot_be_moved_are_refused(attack, names, message):
    with pytest.raises(SettingsError, match=message):
        line_of(parse_attack(attack), names)


@pytest.mark.parametrize("name", [name for name, cls in ATTACKS.items() if cls.strength in cls.model_fields])
def test_what_is_printed_can_be_typed_and_is_exact(name):
    field = ATTACKS[name].strength
    values = {"pixels": (7,), "area": (33,), "label": ()}.get(field, (3 / 255, 2.4567890123456789 / 255, 1 / 3, 1.0))
    for value in values if name != "cadv" else (10.0,):
        moved = parse_attack({"name": name, field: value})
        assert parse_attack(attack_text(moved)) == moved
    assert attack_text(parse_attack("fgsm:epsilon=3/255")) == "fgsm:epsilon=3/255"
    assert attack_text(parse_attack("fgsm")) == "fgsm"


def test_measures_know_their_levels_and_how_far_a_value_is_off():
    assert [round(255 * value) for value in MEASURES["linf"].levels] == [2, 4, 8]
    assert find_measure("ssim").name == "ssim_uniform"
    psnr, ssim = MEASURES["psnr"], MEASURES["ssim_uniform"]
    assert (psnr.wanted("weak"), psnr.wanted("strong")) == (40, 30)
    assert psnr.ratio(40 - 20 * 0.021189, 40) == pytest.approx(1.05, rel=1e-3), "dB as a share of the error"
    assert ssim.ratio(0.8, 0.9) == pytest.approx(2)
    assert ssim.tolerance(0.9) == pytest.approx(0.002)
    assert MEASURES["linf"].read("3/255") == 3 / 255
    for text in ("0", "nan", "much", "inf"):
        with pytest.raises(SettingsError, match="expected a value of linf"):
            MEASURES["linf"].read(text)
    with pytest.raises(SettingsError, match=r"got '8'; did you mean 8/255\?"):
        MEASURES["linf"].read("8")
    with pytest.raises(SettingsError, match="known levels: weak, medium, strong"):
        psnr.wanted("huge")
    with pytest.raises(SettingsError, match="known measures: linf"):
        find_measure("lpips")
