"""What people type becomes settings, or one clear error."""

import subprocess
import sys

import pytest

from lustral.attacks import ATTACKS, PGD, Access, parse_access, parse_attack
from lustral.attacks.apgd import checkpoints
from lustral.settings import SettingsError


def test_attacks_are_read_from_text_mappings_and_settings():
    settings = PGD(epsilon=8 / 255, steps=7, early_stop=True)
    assert parse_attack("pgd:epsilon=8/255,steps=7,early_stop=true") == settings
    assert parse_attack(settings.to_json()) == settings
    assert parse_attack(settings) is settings


def test_access_is_read_from_text_mappings_and_settings():
    access = Access(knowledge="exact", eot=20, budget=100)
    assert parse_access("exact:eot=20,budget=100") == access
    assert parse_access(access.to_json()) == access
    assert parse_access(access) is access
    assert parse_access("blind") == Access(knowledge="blind")


@pytest.mark.parametrize(
    ("parse", "value", "message"),
    [
        (
            parse_attack,
            "pdg",
            "unknown attack 'pdg' (did you mean 'pgd'?); known attacks: apgd, autoattack, cadv, carlini_wagner,",
        ),
        (parse_attack, "pgd:stpes=3", "unknown setting 'stpes' of pgd; known settings:"),
        (parse_attack, "pgd:steps=0", "pgd.steps"),
        (parse_attack, "pgd:epsilon=0", "pgd.epsilon"),
        (parse_attack, {"steps": 3}, 'expected one attack as "name:key=value"'),
        (parse_access, "all", "access.knowledge: Input should be 'blind', 'scores'"),
        (parse_access, "exact:eto=2", "unknown setting 'eto' of access"),
        (parse_access, {}, "needs the key 'knowledge'"),
    ],
)
def test_mistakes_are_explained(parse, value, message):
    with pytest.raises(SettingsError) as error:
        parse(value)
    assert message in str(error.value)


def test_settings_of_papers_that_the_documentation_names_can_be_typed():
    lee_kim = parse_attack("pgd:steps=200,step=0.007,random_start=false")
    assert (lee_kim.steps, lee_kim.step, lee_kim.random_start, lee_kim.epsilon) == (200, 0.007, False, 8 / 255)
    assert parse_access("exact:eot=20").eot == 20
    hill = parse_attack("pgd:steps=50,step=2/255")
    assert (hill.steps, hill.step) == (50, 2 / 255)
    assert parse_access("bpda:eot=15") == Access(knowledge="bpda", eot=15)


def test_checkpoints_are_those_of_the_paper_and_never_stall():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    for steps in range(1, 40):
        found = checkpoints(steps)
        assert found == sorted(set(found))
        assert all(0 < at <= steps for at in found)


def test_settings_load_no_torch():
    code = "import sys, lustral.attacks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    gradients = {"fgsm", "ifgsm", "pgd", "apgd", "fab", "deepfool", "carlini_wagner", "autoattack", "diffattack"}
    quality = {"madc", "korhonen", "zhang", "ssah", "uap", "facpa"}
    unbounded = {"stadv", "color_shift", "cadv", "one_pixel", "patch_rs", "stored"}
    scores = {"random_noise", "square", "nattack", "spsa", "nes", "parsimonious"}
    assert set(ATTACKS) == gradients | quality | unbounded | scores
