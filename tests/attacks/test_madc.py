"""MADC moves along the surface of equal squared error."""

import math
from itertools import pairwise

import pytest
import torch

from lustral.attacks import MADC
from lustral.attacks.madc import tangent
from tests.attacks.problems import Linear, images, network, noise, score_goal, setup

CAP = 10 / 255


def rms(d):
    return d.flatten(1).square().mean(1).sqrt()


def attack(settings, score, x, sign=1):
    return settings.run(setup(settings, score, x, goal=score_goal(score, x, sign)), x, noise(len(x)))


def normal(n, side, seed=0, dtype=torch.float64):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_the_tangent_is_orthogonal_to_the_gradient_of_the_squared_error(dtype, tolerance):
    gradient, d = normal(4, 8, dtype=dtype), normal(4, 8, seed=1, dtype=dtype) / 100
    (slope,) = torch.autograd.grad((d.requires_grad_().square()).sum(), d)
    d = d.detach()
    along = tangent(gradient + 5 * d, d)
    assert ((along * slope).flatten(1).sum(1).abs() < tolerance * slope.flatten(1).norm(dim=1)).all()
    torch.testing.assert_close(along, tangent(gradient, d), rtol=0, atol=tolerance)
    assert along.abs().amax() > 1


def test_a_gradient_whose_squares_are_zero_has_a_tangent_too():
    gradient, d = normal(3, 8, dtype=torch.float32), normal(3, 8, seed=1, dtype=torch.float32) / 100
    expected = tangent(gradient, d)
    assert not (1e-30 * gradient).square().any()
    torch.testing.assert_close(tangent(1e-30 * gradient, d) / 1e-30, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_without_a_perturbation_the_tangent_is_the_gradient_and_along_it_there_is_none(dtype):
    gradient = normal(3, 8, dtype=dtype)
    d = gradient * torch.tensor([0, 0.03, -7], dtype=dtype).view(3, 1, 1, 1)
    along = tangent(gradient, d)
    assert torch.equal(along[0], gradient[0])
    assert not along[1:].any(), "rounding errors are no direction"


@pytest.mark.parametrize("sign", [1, -1])
def test_unsigned_it_finds_the_best_point_of_the_sphere_for_a_linear_score(sign):
    model, x = Linear(), images(5)
    result = attack(MADC(signed=False, epsilon=1, step=2 * CAP, steps=4), model.value, x, sign)
    gain = sign * (model.value(result) - model.value(x))
    best = CAP * math.sqrt(x[0].numel()) * model.w.norm()
    torch.testing.assert_close(gain, best.expand(5), rtol=1e-12, atol=0)
    torch.testing.assert_close(rms(result - x), torch.full_like(gain, CAP), rtol=1e-12, atol=0)


def test_unsigned_it_climbs_a_quadratic_score_to_its_best_point_of_the_sphere():
    x = images(1, low=100, high=156)
    generator = torch.Generator().manual_seed(3)
    matrix = torch.randn(48, 48, generator=generator, dtype=torch.float64)
    matrix, vector = matrix @ matrix.T / 2, torch.randn(48, generator=generator, dtype=torch.float64)

    def score(images):
        d = images.flatten(1) - x.flatten(1)
        return d @ vector + 0.5 * ((d @ matrix) * d).sum(1)

    # The best d of length r solves (m I - A) d = b for the m above all eigenvalues that gives this length.
    radius, identity = CAP * math.sqrt(48), torch.eye(48, dtype=torch.float64)
    low = float(torch.linalg.eigvalsh(matrix)[-1])
    high = low + float(vector.norm()) / radius
    for _ in range(80):
        middle = (low + high) / 2
        best = torch.linalg.solve(middle * identity - matrix, vector)
        low, high = (middle, high) if best.norm() > radius else (low, middle)
    best = float(score(x + best.view_as(x)))
    along = CAP * math.sqrt(48) * vector.view_as(x) / vector.norm()
    assert float(score(x + along)) < 0.9 * best, "one step along the gradient should not do"
    result = attack(MADC(signed=False, epsilon=1, step=CAP / 10, steps=150), score, x)
    assert 0.99 * best < float(score(result)) <= best * (1 + 1e-9)


def test_unsigned_steps_are_orthogonal_to_the_way_so_far():
    """By Pythagoras the root mean square grows with the square root of the number of steps."""
    x, net, seen = images(2, 8), network(classes=1), []

    def score(images):
        seen.append(images.detach())
        return net(images)[:, 0]

    result = attack(MADC(signed=False, epsilon=1, step=1 / 255, steps=9, cap=1), score, x)
    assert torch.equal(seen[-1], result)
    for count, point in enumerate(seen[2:], 1):
        torch.testing.assert_close(rms(point - x), torch.full((2,), math.sqrt(count) / 255).double(), rtol=1e-5, atol=0)
    for before, after in pairwise(seen[2:]):
        cosine = torch.cosine_similarity((after - before).flatten(1), (before - x).flatten(1))
        assert (cosine.abs() < 1e-10).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_first_signed_step_reaches_the_corner_of_the_box(sign):
    model, x = Linear(), images(5)
    result = attack(MADC(steps=1), model.value, x, sign)
    gain = sign * (model.value(result) - model.value(x))
    torch.testing.assert_close(gain, (8 / 255 * model.w.abs().sum()).expand(5), rtol=1e-12, atol=0)


def test_the_second_signed_step_doubles_what_has_a_large_slope_and_undoes_the_rest():
    """The tangent of a linear score after the first step is ``w - mean(|w|) sign(w)``."""
    model, x = Linear(), images(5)
    result = attack(MADC(steps=2, step=2 / 255), model.value, x)
    large = model.w.abs() > model.w.abs().mean()
    assert 10 < int(large.sum()) < 38, "the problem should have both kinds"
    torch.testing.assert_close(result - x, (4 / 255 * model.w.sign() * large).expand(5, -1).view_as(x))


@pytest.mark.parametrize("signed", [True, False])
def test_the_root_mean_square_stays_below_the_cap_also_where_images_end(signed):
    model, x = Linear(), images(6, low=0, high=256)
    result = attack(MADC(epsilon=1, step=0.1, cap=0.05, signed=signed, steps=5), model.value, x)
    assert (rms(result - x) <= 0.05 * (1 + 1e-12)).all()
    assert (rms(result - x) > 0.03).all()
    assert result.amin() == 0, "the problem should reach the ends"


def test_it_asks_one_gradient_a_step_and_one_loss():
    model, x = Linear(), images(3)
    oracle = setup(MADC(), model, x)
    MADC().run(oracle, x, noise(3))
    assert oracle.queries.tolist() == [9] * 3
    assert oracle.gradients.tolist() == [8] * 3
