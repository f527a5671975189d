"""NES estimates gradients from pairs of scores."""

import pytest
import torch

from lustral.attacks import NES
from lustral.attacks.nes import spread
from tests.attacks.problems import Linear, assert_asks, half_broken, images, network, noise, score_goal, setup


def estimate(settings, w, x):
    """Mean estimate of the gradient of ``w x`` over 100,000 pairs, with all points that were asked about."""
    asked = []

    def gain(ahead, behind):
        asked.extend((ahead.aminmax(), behind.aminmax()))
        return (w * (ahead - behind)).flatten(1).sum(1)

    rows = x.expand(100_000 // settings.pairs, *x.shape[1:])
    region = settings.ball().around(rows)
    return settings.slope(gain, rows, region, noise(len(rows))).mean(0, keepdim=True), asked


@pytest.mark.parametrize("value", [0.5, 0.0, 1.0, 0.004])
def test_the_estimate_is_free_of_bias_for_a_linear_score(value):
    """At the border of the range values move less, or one way only; 0.004 is less than one sigma from it."""
    w = torch.tensor([2.0, -3.0, 1.0], dtype=torch.float64).view(1, 3, 1, 1)
    x = torch.tensor([value, 0.5, 1 - value], dtype=torch.float64).view(1, 3, 1, 1)
    slope, asked = estimate(NES(pairs=200, sigma=0.01, epsilon=0.03, tile=None), w, x)
    torch.testing.assert_close(slope, w, rtol=0, atol=0.1)
    assert min(float(low) for low, _ in asked) >= 0
    assert max(float(high) for _, high in asked) <= 1


def test_a_tile_sums_the_gradient_over_its_copies():
    w = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64).view(1, 1, 1, 3).repeat(1, 3, 1, 1)
    x = torch.full_like(w, 0.5)
    slope, _ = estimate(NES(pairs=200, sigma=0.01, epsilon=0.1, tile=2), w, x)
    torch.testing.assert_close(slope, w.new_tensor([5.0, 2.0]).expand(1, 3, 1, 2), rtol=0, atol=0.2)


def test_a_tile_is_repeated_from_the_corner_on():
    tile = torch.arange(6.0).view(1, 1, 2, 3).repeat(2, 3, 1, 1)
    wide = spread(tile, 5, 7)
    assert wide.shape == (2, 3, 5, 7)
    assert all(float(wide[1, 2, row, column]) == row % 2 * 3 + column % 3 for row in range(5) for column in range(7))
    assert torch.equal(spread(tile, 2, 3), tile)


def test_a_flat_score_gives_no_slope():
    x = images(2)
    settings = NES()
    assert not settings.slope(lambda *_: torch.zeros(2), x, settings.ball().around(x), noise(2)).any()


@pytest.mark.parametrize(
    ("settings", "sign"),
    [
        (NES(queries=281, pairs=14, tile=None), 1),
        (NES(queries=281, pairs=14, tile=1024, moves="sign", rate=0.008), -1),
        (NES(queries=281, pairs=7, tile=None, momentum=0.7), 1),
    ],
    ids=["normalised", "sign", "momentum"],
)
def test_without_a_tile_it_comes_near_the_corner_of_the_ball(settings, sign):
    model, x = Linear(side=2), images(4, 2, low=0, high=256)
    oracle = setup(settings, model.value, x, goal=score_goal(model.value, x, sign))
    result = settings.run(oracle, x, noise(4))
    best = (x + sign * settings.epsilon * model.w.view_as(x[:1]).sign()).clamp(0, 1)
    share = (model.value(result) - model.value(x)) / (model.value(best) - model.value(x))
    assert (share > 0.85).all(), share
    assert (share <= 1 + 1e-9).all(), share


@pytest.mark.parametrize("tile", [None, 2])
def test_gains_grow_with_the_budget(tile):
    model, x = Linear(), images(6)
    gains = []
    for queries in (21, 61, 181):
        settings = NES(queries=queries, pairs=10, tile=tile, rate=0.02, early_stop=False)
        oracle = setup(settings, model.value, x, goal=score_goal(model.value, x))
        gains.append(model.value(settings.run(oracle, x, noise(6))) - model.value(x))
        torch.testing.assert_close(gains[-1], oracle.memory.margins.amax(1).double() + 0.1, rtol=0, atol=1e-6)
    assert (gains[0] < gains[1]).all(), gains
    assert (gains[1] < gains[2]).all(), gains


@pytest.mark.parametrize(("queries", "asked"), [(25, 25), (24, 23), (33, 33), (3, 3), (4, 3)])
def test_it_asks_what_it_may(queries, asked):
    assert_asks(NES(queries=queries, pairs=5, early_stop=False), asked)


def test_every_question_is_about_an_allowed_image():
    seen = []

    def spy(x):
        seen.append(x.clone())
        return network(side=4)(x)

    x = images(3, low=0, high=256)
    settings = NES(queries=71, sigma=0.05, early_stop=False)
    oracle = setup(settings, spy, x)
    settings.run(oracle, x, noise(3))
    assert len(seen) == 72
    assert all(settings.ball().contains(point, x).all() for point in seen)


def test_images_leave_after_the_step_that_breaks_them():
    _, oracle, broken = half_broken(NES(queries=121, pairs=10, rate=0.03))
    assert (oracle.queries[broken] < oracle.queries[~broken].min()).any()
    assert (oracle.queries[~broken] > 115).all()
    assert (oracle.queries <= 121).all()
