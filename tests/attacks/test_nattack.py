"""NAttack estimates gradients from scores."""

import pytest
import torch

from lustral.attacks import NAttack, RandomSearch
from tests.attacks.problems import Linear, assert_asks, half_broken, images, network, noise, setup


def test_the_direction_is_the_gradient_of_a_linear_reward():
    """With standardised rewards its expectation is the gradient over its length."""
    w = Linear().w.view(1, 3, 4, 4) * torch.tensor([1.0, 100.0, 1e-3])[:, None, None, None]
    mean = torch.zeros_like(w)
    found = NAttack().direction(lambda shift: (w * shift).flatten(1).sum(1), mean, noise(3), 800)
    unit = w / w.flatten(1).norm(dim=1)[:, None, None, None]
    along = (found * unit).flatten(1).sum(1)
    torch.testing.assert_close(along, torch.ones_like(along), rtol=0, atol=0.12)
    assert (along / found.flatten(1).norm(dim=1) > 0.93).all(), "noise of 48 values in 800 draws"


def test_a_flat_reward_gives_no_direction():
    mean = torch.zeros(2, 3, 4, 4)
    assert not NAttack().direction(lambda shift: torch.full((2,), 3.0), mean, noise(2), 20).any()


def test_it_comes_near_the_corner_of_the_ball_where_random_points_do_not():
    model, x = Linear(), images(6)
    settings = NAttack(queries=420, population=20, rate=0.05, early_stop=False)
    gains = []
    for attack in (settings, RandomSearch(draws=420)):
        oracle = setup(attack, model, x)
        away = model.towards(oracle.goal.labels, x)
        gain = ((attack.run(oracle, x, noise(6)) - x) * away).flatten(1).sum(1)
        gains.append(gain / (attack.epsilon * away.flatten(1).abs().sum(1)))
    assert (gains[0] > 0.95).all(), gains
    assert (gains[0] > gains[1] + 0.2).all(), gains


@pytest.mark.parametrize(("queries", "asked"), [(25, 25), (24, 22), (33, 33)])
def test_it_asks_what_it_may(queries, asked):
    assert_asks(NAttack(queries=queries, population=10, early_stop=False), asked)


def test_images_leave_after_the_step_that_breaks_them():
    _, oracle, broken = half_broken(NAttack(queries=110, population=10))
    assert (oracle.queries[broken] < oracle.queries[~broken].min()).any()
    assert (oracle.queries[~broken] >= 110).all()


def test_large_images_take_an_enlarged_gaussian():
    seen = []

    def spy(x):
        seen.append(x)
        return network()(x)

    x = images(2, 8)
    settings = NAttack(queries=12, population=10, side=2, epsilon=1.0, early_stop=False)
    settings.run(setup(settings, spy, x), x, noise(2))
    shift = torch.atanh(2 * seen[-1] - 1) - torch.atanh(2 * x - 1)
    assert shift.abs().amax() > 0.05
    torch.testing.assert_close(shift[:, :, 0], shift[:, :, 1], rtol=0, atol=1e-4)  # beyond the outermost centres
    assert (shift[:, :, 2] - shift[:, :, 3]).abs().amax() > 0.005
