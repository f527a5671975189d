"""The search finds known roots, says why there is none, and measures nothing twice."""

import math

import numpy as np
import pytest

from lustral.alignment.search import align


class Counted:
    """A function and the values that it was asked for."""

    def __init__(self, function):
        self.function, self.asked = function, []

    def __call__(self, value):
        self.asked.append(value)
        return self.function(value)


@pytest.mark.parametrize("start", [1e-4, 0.03, 7.0])
@pytest.mark.parametrize(
    ("function", "level", "root", "rising"),
    [
        (lambda v: 0.5 * v, 0.01, 0.02, True),
        (lambda v: v**2 / (1 + v**2), 0.2, 0.5, True),
        (lambda v: -20 * math.log10(v), 35.0, 10 ** (-35 / 20), False),
        (lambda v: 1 / (1 + v), 0.9, 1 / 9, False),
    ],
)
def test_a_monotone_function_is_inverted_from_any_start(function, level, root, rising, start):
    measure = Counted(function)
    found = align(measure, start, level, tolerance=1e-3 * level, rising=rising, evaluations=40)
    assert found.status == "reached"
    assert found.reason == ""
    assert abs(found.intensity - level) <= 1e-3 * level
    assert found.position == pytest.approx(root, rel=0.02)
    assert function(found.position) == found.intensity
    assert found.evaluations == len(measure.asked) == len(set(measure.asked))


def test_a_good_start_costs_one_evaluation():
    assert align(lambda v: v, 0.5, 0.5, tolerance=0.01).evaluations == 1


@pytest.mark.parametrize("level", [1, 2, 7, 19, 40])
@pytest.mark.parametrize("start", [1, 5, 300])
def test_whole_numbers_are_hit_exactly(level, start):
    found = align(lambda v: float(v), start, level, tolerance=0.02, whole=True, low=1, high=1000)
    assert (found.position, found.status) == (level, "reached")


@pytest.mark.parametrize(("level", "nearest"), [(10, 3), (13, 4), (1, 1)])
def test_of_whole_numbers_around_the_level_the_nearest_wins(level, nearest):
    measure = Counted(lambda v: 3.3 * v)
    found = align(measure, 16, level, tolerance=0.1, whole=True, low=0.0)
    assert found.position == nearest
    assert found.status == ("nearest" if level > 3.3 else "unreached"), "below one there is nothing to compare with"
    assert found.reason
    assert all(value == round(value) and value >= 1 for value in measure.asked)


def test_an_effect_that_saturates_is_named_with_the_best_that_was_found():
    found = align(lambda v: min(v, 0.3), 0.01, 0.5, tolerance=0.01)
    assert (found.status, found.intensity) == ("unreached", 0.3)
    assert "hardly changes" in found.reason
    floor = align(lambda v: max(v, 0.7), 4.0, 0.5, tolerance=0.01)
    assert (floor.status, floor.intensity) == ("unreached", 0.7)
    assert floor.evaluations < 12


def test_a_bound_of_the_setting_is_the_last_value_tried():
    measure = Counted(lambda v: v)
    found = align(measure, 0.5, 9.0, tolerance=0.01, high=1.5)
    assert (found.status, found.position, max(measure.asked)) == ("unreached", 1.5, 1.5)
    assert "1.5 is the last" in found.reason
    assert align(measure, 0.5, 0.01, tolerance=0.001, low=0.2).position == 0.2
    assert align(measure, 50.0, 1.0, tolerance=0.01, high=1.5).status == "reached", "a start outside is moved inside"


def test_a_staircase_that_skips_the_level_jumps_and_one_that_meets_it_does_not():
    found = align(lambda v: math.floor(v) / 255, 1.3, 2.5 / 255, tolerance=0.01 / 255, evaluations=40)
    assert found.status == "unreached"
    assert "jumps from 0.007843 to 0.01176" in found.reason
    assert found.intensity in (2 / 255, 3 / 255)
    assert align(lambda v: math.floor(v) / 255, 1.3, 2 / 255, tolerance=0.01 / 255).status == "reached"


def test_noise_is_no_obstacle_and_what_is_returned_was_measured():
    random = np.random.default_rng(0)
    bumps = random.normal(0, 0.01, 4096)
    measure = Counted(lambda v: v * (1 + bumps[int(v * 1e6) % 4096]))
    for level in (0.02, 0.1, 0.9):
        found = align(measure, 0.3, level, tolerance=0.02 * level, evaluations=60)
        assert found.status == "reached"
        assert measure.function(found.position) == found.intensity


def test_evaluations_are_limited_and_the_nearest_so_far_is_returned():
    measure = Counted(lambda v: v)
    found = align(measure, 1.0, 0.1003, tolerance=0.0, evaluations=6)
    assert (found.status, found.evaluations, len(measure.asked)) == ("unreached", 6, 6)
    assert found.intensity == min(measure.asked, key=lambda value: abs(value - 0.1003))
    assert "6 evaluations" in found.reason


def test_a_function_that_goes_the_other_way_ends():
    assert align(lambda v: 1 / v, 1.0, 5.0, tolerance=0.01).status == "unreached"


def test_a_start_that_cannot_be_doubled_is_refused():
    with pytest.raises(ValueError, match="start above 0"):
        align(lambda v: v, 0.0, 1.0, tolerance=0.1)
