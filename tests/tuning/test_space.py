"""Candidates follow from the seed, stay inside the space, and what cannot be searched is refused in words."""

from __future__ import annotations

import math
import re
import sys

import pytest

from lustral.purifiers import parse_purifier
from lustral.settings import SettingsError
from lustral.tuning.space import draw_candidates, read_space
from lustral.tuning.template import fill, read_template


def texts(purifier, changes, trials=20, seed=0):
    return [candidate.text for candidate in draw_candidates(purifier, changes, trials, seed)]


def test_the_seed_alone_decides_and_the_order_of_options_does_not():
    changes = ["quality=10..95", "subsampling=4:2:0|4:4:4"]
    first = texts("jpeg", changes)
    assert first == texts("jpeg", changes[::-1])
    assert first != texts("jpeg", changes, seed=1)
    assert first[:5] == texts("jpeg", changes, trials=5)  # more trials continue the sequence
    assert len(set(first)) == 20


def test_every_candidate_can_be_typed_and_lies_in_the_space():
    candidates = draw_candidates("random_noise", ["sigma=log:0.001..0.5"], 40, seed=3)
    drawn = [candidate.chosen["sigma"] for candidate in candidates[1:]]
    assert all(0.001 <= sigma <= 0.5 for sigma in drawn)
    # Uniform in the logarithm: half of them lie below the geometric mean of the ends.
    assert 10 <= sum(sigma < math.sqrt(0.001 * 0.5) for sigma in drawn) <= 30
    for candidate in candidates:
        assert parse_purifier(candidate.text) == candidate.settings
        assert candidate.settings.sigma == candidate.chosen["sigma"]


def test_the_first_candidate_is_the_purifier_as_given():
    assert texts("jpeg:quality=30", ["quality=1..100"])[0] == "jpeg:quality=30"
    first = draw_candidates("repeat:part=flip", ["times=1..9"], 3, seed=0)[0]  # times is required: nothing is given
    assert first.number == 1
    assert 1 <= first.settings.times <= 9


def test_a_space_of_choices_ends_when_all_were_drawn():
    candidates = draw_candidates("gaussian_blur", ["kernel=3|5|7"], 50, seed=0)
    assert sorted(candidate.chosen["kernel"] for candidate in candidates) == [3, 5, 7]


def test_settings_of_parts_are_reached_by_paths():
    chain = "gaussian_blur:kernel=5 | jpeg"
    for candidate in draw_candidates(chain, ["parts.1.quality=10..90"], 5, seed=0)[1:]:
        blur, jpeg = candidate.settings.parts
        assert blur.kernel == 5
        assert jpeg.quality == candidate.chosen["parts.1.quality"]
        assert candidate.text == f"gaussian_blur:kernel=5 | jpeg:quality={jpeg.quality}"
    template = read_template("repeat:part=jpeg,times=2")
    assert fill(template, {"part.quality": 7})["part"] == {"name": "jpeg", "quality": 7}
    assert template["part"] == "jpeg"  # the template itself stays


def test_what_the_purifier_rejects_is_recorded_with_the_reason():
    candidates = draw_candidates("gaussian_blur", ["kernel=3..21"], 10, seed=0)
    rejected = [candidate for candidate in candidates if candidate.settings is None]
    assert rejected
    for candidate in candidates:
        assert (candidate.settings is None) == (candidate.chosen["kernel"] % 2 == 0)
        assert ("odd" in candidate.reason) == (candidate.settings is None)


@pytest.mark.parametrize(
    ("purifier", "change", "words"),
    [
        ("jpg", "quality=1..9", "did you mean 'jpeg'?"),
        ("jpeg:qualty=3", "quality=1..9", "known settings: backward, quality, subsampling"),
        ("jpeg", "qualty=1..9", "known settings: backward, quality, subsampling"),
        ("jpeg:quality=500", "subsampling=4:2:0|4:4:4", "less than or equal to 100"),
        ("jpeg", "quality=0..9", "greater than or equal to 1, got 0"),
        ("jpeg", "quality=9..1", "expected low below high"),
        ("jpeg", "quality=1.5..9", "whole numbers"),
        ("jpeg", "quality=75", "a fixed value belongs into PURIFIER"),
        ("jpeg", "subsampling=4:2:0|4:1:1", "'4:2:0' or '4:4:4'"),
        ("jpeg", "subsampling=1..2", "is no number"),
        ("diffpir_inpaint", "zeta=log:0..0.1", "both above 0"),
        ("random_noise", "sigma=0.1..inf", "finite"),
        ("jpeg | flip", "quality=1..9", "unknown setting 'quality' of chain"),
        ("jpeg | flip", "parts.2.quality=1..9", "no part '2'"),
        ("jpeg | flip", "parts=a|b", "chain.parts"),
    ],
)
def test_what_cannot_be_searched_is_refused(purifier, change, words):
    with pytest.raises(SettingsError, match=re.escape(words)):
        draw_candidates(purifier, [change], 5, seed=0)


def test_nothing_to_search_a_key_twice_and_no_usable_candidate_are_refused():
    template = read_template("jpeg")
    with pytest.raises(SettingsError, match="nothing to search"):
        read_space(template, [])
    with pytest.raises(SettingsError, match="searched twice"):
        read_space(template, ["quality=1..9", "quality=10..20"])
    with pytest.raises(SettingsError, match=r"none of 2 candidates can be used; the first: repeat\.part"):
        draw_candidates("repeat", ["times=1|2"], 2, seed=0)


def test_without_the_extra_one_line_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r'pip install "lustral\[tune\]"'):
        draw_candidates("jpeg", ["quality=1..9"], 5, seed=0)
