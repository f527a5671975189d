"""A colour attack keeps the brightness."""

import pytest
import torch

from lustral.attacks import ColorShift
from lustral.attacks.color_shift import recolor
from tests.attacks.problems import Linear, images, noise, score_goal, setup

LUMA = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)


def luma(x):
    return (LUMA * x.double()).sum(1)


def chroma(x):
    """Cb and Cr (n, 2, h, w), each from -0.5 to 0.5."""
    y = luma(x)
    return torch.stack([(x[:, 2] - y) / (2 - 2 * 0.114), (x[:, 0] - y) / (2 - 2 * 0.299)], 1)


def field(n, side, reach, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return reach * (2 * torch.rand(n, 2, side, side, generator=generator, dtype=torch.float64) - 1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_luma_is_kept_also_where_the_colour_has_no_room(dtype, tolerance):
    x = images(4, 9, low=0, high=256).to(dtype)
    x[0, :, 0, 0], x[0, :, 0, 1] = 0, 1  # black and white have no other colour
    moved = recolor(x, field(4, 3, 1.0).to(dtype))
    assert (moved - x).abs().amax() > 0.3, "the problem should be hard"
    assert (luma(moved) - luma(x)).abs().amax() < tolerance
    assert moved.amin() >= 0
    assert moved.amax() <= 1
    assert torch.equal(moved[0, :, 0, :2], x[0, :, 0, :2])


def test_luma_of_the_8_bit_image_is_kept_to_half_a_level():
    x = images(4, 9, low=0, high=256)
    rounded = recolor(x, field(4, 3, 0.3)).mul(255).round() / 255
    assert (luma(rounded) - luma(x)).abs().amax() <= 0.5 / 255 + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_shift_is_the_image_itself(dtype):
    x = images(2, 7, low=0, high=256).to(dtype)
    assert torch.equal(recolor(x, x.new_zeros(2, 2, 3, 3)), x)


def test_where_there_is_room_the_chroma_moves_by_the_field():
    x = torch.full((1, 3, 5, 5), 0.5, dtype=torch.float64)
    corners = field(1, 5, 0.1)
    torch.testing.assert_close(chroma(recolor(x, corners)) - chroma(x), corners, rtol=0, atol=1e-6)


def test_no_pixel_moves_farther_than_the_bound_and_neighbours_move_alike():
    x = images(3, 16)
    settings = ColorShift(bound=0.08, side=3, steps=20)
    model = Linear(side=16)
    result = settings.run(setup(settings, model, x), x, noise(3))
    moved = chroma(result) - chroma(x)
    assert moved.abs().amax() <= 0.08 + 1e-9
    assert moved.diff(dim=2).abs().amax() <= 2 * 0.08 * 2 / 15 + 1e-9, "a bilinear field has this slope"
    assert moved.abs().amax() > 0.07


def test_the_derivative_is_the_derivative():
    x = images(2, 4, low=0, high=256)
    assert torch.autograd.gradcheck(lambda field: recolor(x, field), field(2, 2, 0.7).requires_grad_())


@pytest.mark.parametrize("colour", [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.5, 0.0, 0.5)])
def test_without_a_shift_the_derivative_is_that_into_the_room_also_at_the_ends_of_the_range(colour):
    x = torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1)
    zero = torch.zeros(1, 2, 1, 1, dtype=torch.float64, requires_grad=True)
    to_grey = -chroma(x)
    slope = torch.autograd.grad(recolor(x, zero)[0, :, 0, 0] @ x.new_tensor([2.0, -3.0, 5.0]), zero)[0]
    moved = (recolor(x, 1e-6 * to_grey) - x)[0, :, 0, 0] / 1e-6
    assert moved.abs().amax() > 0.2
    assert float((slope * to_grey).sum()) == pytest.approx(float(moved @ x.new_tensor([2.0, -3.0, 5.0])), rel=1e-6)


def test_a_saturated_image_can_be_attacked():
    model, x = Linear(side=4), torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    x[:, 0] = 1
    gains = []
    for sign in (1, -1):
        settings = ColorShift(side=1, steps=5)
        oracle = setup(settings, model.value, x, goal=score_goal(model.value, x, sign))
        gains.append(sign * float(model.value(settings.run(oracle, x, noise(1))) - model.value(x)))
    assert min(gains) == 0, "one way there is no room"
    assert max(gains) > 0.05


@pytest.mark.parametrize("sign", [1, -1])
def test_with_room_everywhere_it_finds_the_best_field_of_a_linear_score(sign):
    """The score is linear in the field, so its best is a corner whose signs one derivative tells."""
    model, x = Linear(side=8), images(5, 8, low=110, high=150)
    settings = ColorShift(side=3, steps=40)
    oracle = setup(settings, model.value, x, goal=score_goal(model.value, x, sign))
    result = settings.run(oracle, x, noise(5))
    zero = torch.zeros(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model.value(recolor(x[:1], zero)).sum(), zero)
    best = sign * slope.sign().mul(settings.bound).expand(5, -1, -1, -1)
    torch.testing.assert_close(result, recolor(x, best), rtol=0, atol=1e-9)


def test_it_asks_one_gradient_a_step_and_one_loss():
    model, x = Linear(side=8), images(3, 8)
    settings = ColorShift(steps=7)
    oracle = setup(settings, model, x)
    settings.run(oracle, x, noise(3))
    assert oracle.queries.tolist() == [8] * 3
    assert oracle.gradients.tolist() == [7] * 3
