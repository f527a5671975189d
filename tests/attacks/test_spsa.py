"""SPSA estimates gradients from pairs of scores."""

import itertools

import pytest
import torch

from lustral.attacks import SPSA
from tests.attacks.problems import Counter, Linear, images, network, noise, setup


class Every:
    """Noise that draws every combination of signs once."""

    def signs(self, like):
        corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=like.dtype)
        assert like.shape[:2] == (1, len(corners))
        return corners.view(like.shape)


@pytest.mark.parametrize("value", [0.5, 0.0, 1.0, 0.004])
def test_the_estimate_is_free_of_bias_for_a_linear_score(value):
    """The mean over all signs is the expectation; at the border of the range values move less, or one way only."""
    w = torch.tensor([2.0, -300.0, 1e-3], dtype=torch.float64).view(1, 3, 1, 1)
    x = torch.tensor([value, 0.5, 1 - value], dtype=torch.float64).view(1, 3, 1, 1)
    low, high = (x - 0.03).clamp(0, 1), (x + 0.03).clamp(0, 1)
    asked = []

    def ask(point):
        asked.append(point)
        return (w * point).flatten(1).sum(1) + 7.0

    slope = SPSA().slope(ask, x, low, high, Every(), 8)
    torch.testing.assert_close(slope, w, rtol=1e-9, atol=1e-9)
    assert all(((low <= point) & (point <= high)).all() for point in asked)
    assert len(asked) == 16


def test_a_flat_score_gives_no_slope():
    x = images(2)
    ask = lambda point: torch.full((2,), 3.0)  # noqa: E731
    assert not SPSA().slope(ask, x, x - 0.1, x + 0.1, noise(2), 20).any()


def test_gains_grow_with_the_budget_to_the_corner_of_the_ball():
    model, x = Linear(side=2), images(6, 2)
    gains = []
    for queries in (33, 65, 417):
        settings = SPSA(queries=queries, population=32, early_stop=False)
        oracle = setup(settings, model, x)
        away = model.towards(oracle.goal.labels, x)
        gain = ((settings.run(oracle, x, noise(6)) - x) * away).flatten(1).sum(1)
        gains.append(gain / (settings.epsilon * away.flatten(1).abs().sum(1)))
        assert (torch.stack(oracle.trace).diff(dim=0) >= 0).all(), "the best so far never falls"
    assert (gains[0] < gains[1]).all(), gains
    assert (gains[1] < gains[2]).all(), gains
    assert (gains[2] > 0.9).all(), gains


@pytest.mark.parametrize(("queries", "asked"), [(25, 25), (24, 23), (33, 33), (3, 3)])
def test_it_asks_no_more_than_it_may(queries, asked):
    counter = Counter(Linear())
    settings = SPSA(queries=queries, population=10, early_stop=False)
    oracle = setup(settings, counter, images(2))
    counter.seen = 0
    settings.run(oracle, oracle.clean, noise(2))
    assert oracle.queries.tolist() == [asked] * 2
    assert counter.seen == 2 * asked


@pytest.mark.parametrize(("queries", "steps"), [(25, 3), (23, 3), (33, 4), (3, 1)])
def test_rounding_costs_one_more_question_for_every_step_that_leaves_an_image_barely_broken(queries, steps):
    x, model = images(2), Linear()
    oracle = setup(
        SPSA(epsilon=0.3 / 255),  # within it there is no other 8-bit image
        lambda point: torch.stack(
            [torch.zeros(len(point)), model.value(point) - model.value(x)[: len(point)] - 1e-9], 1
        ),
        x,
    )
    SPSA(queries=queries, population=10, epsilon=0.3 / 255).run(oracle, x, noise(2))
    assert oracle.memory.margins.amax() > 0, "the problem should have broken images"
    assert oracle.queries.tolist() == [queries + steps] * 2


def test_every_question_is_about_an_allowed_image():
    seen = []

    def spy(x):
        seen.append(x)
        return network(side=4)(x)

    x = images(3, low=0, high=256)
    settings = SPSA(queries=70, population=20, early_stop=False)
    oracle = setup(settings, spy, x)
    settings.run(oracle, x, noise(3))
    assert all(settings.ball().contains(point, x).all() for point in seen)


def test_images_leave_after_the_step_that_breaks_them():
    model, x = Linear(), images(40)
    settings = SPSA(queries=97, population=24, rate=0.01)
    oracle = setup(settings, model, x)
    result = settings.run(oracle, x, noise(40))
    broken = oracle.goal.broken(model(oracle.rounded(result)), torch.arange(40))
    assert 5 < int(broken.sum()) < 35, "the problem should have both kinds"
    assert (oracle.queries[broken] < oracle.queries[~broken].min()).any()
    assert (oracle.queries[~broken] >= 97).all()
