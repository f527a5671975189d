"""Settings: fractions as people write them, mistakes explained, canonical text."""

from typing import ClassVar

import pytest

from lustral.settings import Number, Settings, SettingsError, canonical, choose, digest, parse_number, parse_spec


class Toy(Settings):
    name: ClassVar[str] = "toy"
    epsilon: Number = 8 / 255
    steps: int = 3


def test_fractions_are_read_as_people_write_them():
    assert Toy.make(epsilon="8/255") == Toy()
    assert Toy.make(epsilon=" 4 / 255 ").epsilon == 4 / 255
    assert Toy.make(epsilon="0.5/255").epsilon == 0.5 / 255
    assert parse_number("1e-3") == "1e-3"
    with pytest.raises(SettingsError, match="cannot divide by zero"):
        Toy.make(epsilon="8/0")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epsilno": 1}, "unknown setting 'epsilno' of toy; known settings: epsilon, steps"),
        ({"steps": "many"}, r"toy.steps: .*integer.*got 'many'"),
        ({"epsilon": "nan"}, "finite"),
        ({"epsilon": float("inf")}, "finite"),
    ],
)
def test_mistakes_say_what_came_and_what_is_known(fields, message):
    with pytest.raises(SettingsError, match=message):
        Toy.make(**fields)


def test_settings_are_frozen_comparable_and_round_trip():
    assert Toy(steps=4) == Toy.make(**{k: v for k, v in Toy(steps=4).to_json().items() if k != "name"})
    assert len({Toy(), Toy(), Toy(steps=4)}) == 2
    with pytest.raises(ValueError, match="frozen"):
        Toy().steps = 5


def test_specs_are_split_and_bad_ones_refused():
    assert parse_spec("toy:steps=4,epsilon=8/255") == ("toy", {"steps": "4", "epsilon": "8/255"})
    assert parse_spec("toy") == ("toy", {})
    with pytest.raises(SettingsError, match="expected key=value"):
        parse_spec("toy:steps")


def test_choose_reads_text_and_tables_and_suggests_names():
    known = {"toy": Toy}
    assert choose("toy:steps=4", known, "thing") == choose({"name": "toy", "steps": 4}, known, "thing") == Toy(steps=4)
    with pytest.raises(SettingsError, match=r"unknown thing 'tyo' \(did you mean 'toy'\?\); known things: toy"):
        choose("tyo", known, "thing")
    with pytest.raises(SettingsError, match="expected one thing as"):
        choose({"steps": 4}, known, "thing")


def test_equal_values_have_one_canonical_text_and_one_digest():
    assert canonical({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    assert digest({"a": 2}) != digest({"a": 3})
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(float("nan"))
