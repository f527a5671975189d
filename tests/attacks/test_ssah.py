"""SSAH keeps the coarse part of an image."""

import numpy as np
import pytest
import pywt
import torch

from lustral.attacks import SSAH
from lustral.attacks.ssah import coarse
from tests.attacks.problems import images, network, noise, score_goal, setup

EPSILON = 8 / 255


def attack(settings, score, x, sign=1):
    return settings.run(setup(settings, score, x, goal=score_goal(score, x, sign)), x, noise(len(x)))


def linear(w):
    return lambda x: (x * w).flatten(1).sum(1)


def slopes(side=8, seed=0):
    return torch.randn(3, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7), (8, 5), (1, 2)])
def test_the_coarse_part_is_the_low_band_of_the_haar_wavelets(height, width):
    x = images(2, 16, low=0, high=256)[:, :, :height, :width]
    low, (across, down, diagonal) = pywt.dwt2(x.numpy(), "haar", mode="symmetric")
    fine = tuple(np.zeros_like(band) for band in (across, down, diagonal))
    expected = pywt.idwt2((low, fine), "haar")[:, :, :height, :width]
    np.testing.assert_allclose(coarse(x).numpy(), expected, rtol=0, atol=1e-12)
    assert coarse(x).shape == x.shape


def test_without_a_penalty_it_is_adam():
    x, net = images(3, 8), network(classes=1)
    found = attack(SSAH(penalty=0, steps=6, rate=EPSILON / 10), lambda x: net(x)[:, 0], x)
    point = x.clone().requires_grad_()
    adam = torch.optim.Adam([point], lr=EPSILON / 10, maximize=True)
    for _ in range(6):
        adam.zero_grad()
        net(point).sum().backward()
        adam.step()
    torch.testing.assert_close(found, point.detach(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_without_a_penalty_a_linear_score_is_moved_as_far_as_it_can(sign):
    w, x = slopes(), images(4, 8)
    result = attack(SSAH(penalty=0), linear(w), x, sign)
    gain = sign * (linear(w)(result) - linear(w)(x))
    torch.testing.assert_close(gain, (EPSILON * w.abs().sum()).expand(4), rtol=1e-6, atol=0)


def test_a_score_of_fine_detail_is_moved_as_far_whatever_the_penalty():
    checks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double().repeat(4, 4)
    w = coarse(slopes()[None])[0] * checks
    x = images(4, 8)
    result = attack(SSAH(penalty=1e3), linear(w), x)
    gain = linear(w)(result) - linear(w)(x)
    torch.testing.assert_close(gain, (EPSILON * w.abs().sum()).expand(4), rtol=1e-6, atol=0)


def test_a_score_of_the_coarse_part_is_moved_as_far_as_the_penalty_allows():
    """The objective ``w d - penalty d^2 / 2`` of a block is largest at ``d = w / penalty``."""
    w, x = coarse(slopes()[None])[0], images(2, 8)
    penalty = 3 * float(w.abs().amax()) / EPSILON
    result = attack(SSAH(penalty=penalty, steps=200, rate=EPSILON / 100), linear(w), x)
    torch.testing.assert_close(result - x, (w / penalty).expand_as(x), rtol=0, atol=EPSILON / 50)


def test_a_huge_penalty_keeps_the_coarse_part_and_lets_the_rest_move():
    w, x = slopes(), images(3, 8)
    found = [attack(SSAH(penalty=penalty, steps=100, rate=EPSILON / 20), linear(w), x) for penalty in (0, 1e4)]
    free, bound = (coarse(result - x).flatten(1).norm(dim=1) for result in found)
    assert (bound < 0.01 * free).all()
    free, bound = (linear(w)(result - x) for result in found)
    assert (bound > 0.6 * free).all()


def test_the_image_with_the_best_difference_stands_alone():
    """The first step moves the score so far that the image is broken, but costs more than it gains."""
    w, x = coarse(slopes()[None])[0], images(2, 8)
    settings = SSAH(penalty=1e4, steps=1)
    oracle = setup(settings, linear(w), x, goal=score_goal(linear(w), x))
    result = settings.run(oracle, x, noise(2))
    assert (oracle.memory.margins.amax(1) > 0).all(), "the problem should have broken images"
    assert torch.equal(result, x)
    assert torch.equal(oracle.select(result, noise(2, "score")).unrounded, x)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 5), (1, 2)])
def test_the_cost_is_the_smooth_l1_distance_of_the_coarse_parts(height, width):
    x, y = images(4, 8, low=0, high=256)[:, :, :height, :width].split(2)
    y = y.clone().requires_grad_()
    expected = 0.3 * torch.nn.functional.smooth_l1_loss(coarse(y), coarse(x), reduction="none").flatten(1).sum(1)
    cost, pull = SSAH(penalty=0.3)._cost(y.detach() - x)
    torch.testing.assert_close(cost, expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(pull, torch.autograd.grad(expected.sum(), y)[0], rtol=0, atol=1e-12)


def test_it_asks_one_gradient_a_step_and_one_loss():
    w, x = slopes(), images(3, 8)
    settings = SSAH()
    oracle = setup(settings, linear(w), x, goal=score_goal(linear(w), x))
    settings.run(oracle, x, noise(3))
    assert oracle.queries.tolist() == [11] * 3
    assert oracle.gradients.tolist() == [10] * 3
