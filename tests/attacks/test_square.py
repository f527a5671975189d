"""Windows of the Square attack."""

import pytest
import torch

from lustral.attacks import Square
from lustral.attacks.square import bump, window_share
from tests.attacks.problems import images, network, noise, setup


def test_windows_shrink_as_in_the_paper():
    shares = [window_share(at, 10_000, 0.8, rescale=True) for at in (1, 10, 11, 51, 201, 501, 1001, 2001, 4001, 6001)]
    assert shares == [0.8, 0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003125]
    assert window_share(10_000, 10_000, 0.8, rescale=True) == 0.8 / 512


def test_a_short_run_reaches_small_windows_only_with_a_rescaled_schedule():
    assert window_share(200, 200, 0.8, rescale=True) == 0.8 / 512
    assert window_share(200, 200, 0.8, rescale=False) == 0.8 / 4


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_windows_differ_between_images_and_reach_every_border(norm):
    settings = Square(norm=norm, epsilon=0.1, queries=2)
    x = images(400, 8)
    region, out = settings.ball().around(x), torch.empty_like(x)
    propose = settings._recolour if norm == "linf" else settings._move_mass
    propose(x, region, noise(400).numbers(8), 3, out)
    changed = (out != x).any(1)  # (n, h, w)
    assert changed.any(0).all(), "some pixel is never inside a window"
    assert len({tuple(row.flatten().tolist()) for row in changed}) > 20
    assert (changed.flatten(1).sum(1) <= 9).all()


@pytest.mark.parametrize("side", [2, 3, 5, 6, 9])
def test_the_bump_is_a_unit_of_two_opposite_halves(side):
    window = bump(side)
    assert window.shape == (side, side)
    assert float(window.norm()) == pytest.approx(1)
    assert (window[:, : side // 2] > 0).all()
    assert (window[:, side // 2 :] < 0).all()


def test_the_l2_attack_keeps_spending_the_whole_budget():
    settings = Square(norm="l2", epsilon=0.3, queries=2)
    x = images(6, 12)
    current, out = settings._tiles(x, noise(6)), torch.empty_like(x)
    region, numbers = settings.ball().around(x), noise(6).numbers(80).view(6, 10, 8)
    for step in range(10):
        settings._move_mass(current, region, numbers[:, step], 5, out)
        current = out.clone()
        torch.testing.assert_close((current - x).flatten(1).norm(dim=1), torch.full((6,), 0.3, dtype=x.dtype))


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 8 / 255), ("l2", 0.4)])
def test_every_question_stays_in_the_ball_and_what_stands_only_rises(norm, epsilon):
    net, x, losses = network(), images(5, 8, low=0, high=256), []
    settings = Square(norm=norm, epsilon=epsilon, queries=80, early_stop=False)

    def spy(point):
        if len(point) == 5:
            assert settings.ball().contains(point, x).all()
        outputs = net(point)
        losses.append(outputs)
        return outputs

    oracle = setup(settings, spy, x)
    losses.clear()
    result = settings.run(oracle, x, noise(5))
    margins = torch.stack([oracle.goal.margin(outputs, torch.arange(5)) for outputs in losses])  # (questions, n)
    torch.testing.assert_close(oracle.goal.margin(net(result), torch.arange(5)), margins.amax(0))
    assert (margins.amax(0) > margins[0]).all(), "it finds something better than its start"
    assert (margins.diff(dim=0) < 0).any(), "and refuses something worse"
