"""Korhonen's attack changes an image where its texture hides it."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from lustral.attacks import Korhonen
from lustral.attacks.korhonen import spatial_activity
from tests.attacks.problems import Linear, images, noise, score_goal, setup

EPSILON = 8 / 255


def attack(settings, score, x, sign=1):
    oracle = setup(settings, score, x, goal=score_goal(score, x, sign))
    return settings.run(oracle, x, noise(len(x))), oracle


def half_flat(n, side=12):
    """Texture to the left, one colour to the right."""
    x = images(n, side)
    x[..., side // 2 :] = torch.tensor([77, 130, 91]).double().view(3, 1, 1) / 255
    return x


def reference(image):
    """The published map of an image (3, h, w) by SciPy."""
    luma = np.tensordot([65.481, 128.553, 24.966], image.numpy(), 1) / 255
    squares = sum((ndimage.sobel(luma, axis, mode="constant") / 8) ** 2 for axis in (0, 1))
    inner = np.zeros_like(squares)
    inner[1:-1, 1:-1] = squares[1:-1, 1:-1]
    disc = np.ones((5, 5), dtype=bool)
    disc[[0, 0, -1, -1], [0, -1, 0, -1]] = False
    return ndimage.grey_dilation(inner / inner.max(), footprint=disc, mode="constant")


@pytest.mark.parametrize(("height", "width"), [(12, 12), (9, 7), (3, 3), (5, 16)])
def test_the_map_is_the_published_one(height, width):
    x = images(3, 16, low=0, high=256)[:, :, :height, :width]
    found = spatial_activity(x)
    assert found.shape == (3, 1, height, width)
    for image, activity in zip(x, found, strict=True):
        np.testing.assert_allclose(activity[0].numpy(), reference(image), rtol=0, atol=1e-12)
        assert activity.amax() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("height", "width"), [(9, 7), (1, 2), (2, 5), (1, 1)])
def test_an_image_without_slopes_is_open_everywhere(height, width, dtype):
    x = (torch.tensor([77, 130, 91]) / 255).to(dtype).view(1, 3, 1, 1).expand(2, 3, height, width)
    assert torch.equal(spatial_activity(x), torch.ones(2, 1, height, width, dtype=dtype))


@pytest.mark.parametrize("mask", ["update", "gradient"])
def test_pixels_without_activity_are_left_alone(mask):
    x = half_flat(3)
    result, _ = attack(Korhonen(mask=mask), Linear(side=12).value, x)
    quiet = (spatial_activity(x) == 0).expand_as(x)
    assert 0.2 < quiet.double().mean() < 0.5
    assert torch.equal(result[quiet], x[quiet])
    moved = (result - x)[~quiet].abs() > 0
    assert moved.all()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("mask", ["update", "gradient"])
def test_a_linear_score_is_moved_as_far_as_the_texture_allows(mask, sign):
    """Under a constant gradient every step of Adam is ``rate`` long; the texture makes it shorter, or does not."""
    model, x = Linear(side=12), half_flat(4)
    result, _ = attack(Korhonen(mask=mask), model.value, x, sign)
    room = spatial_activity(x)
    if mask == "gradient":
        room = (room > 0).double()
    best = sign * EPSILON * room * model.w.view_as(x[:1]).sign()
    torch.testing.assert_close(result - x, best, rtol=0, atol=1e-3 * EPSILON)


def test_a_linear_score_of_a_flat_image_is_moved_as_far_as_the_box_allows():
    model = Linear(side=12)
    x = torch.full((2, 3, 12, 12), 100 / 255, dtype=torch.float64)
    result, _ = attack(Korhonen(rate=EPSILON), model.value, x)
    gain = model.value(result) - model.value(x)
    torch.testing.assert_close(gain, (EPSILON * model.w.abs().sum()).expand(2), rtol=1e-6, atol=0)


def test_the_best_image_stands():
    x = images(3, 8)
    seen = []

    def score(images):
        seen.append(-(images - x).flatten(1).sub(2 / 255).square().sum(1))
        return seen[-1]

    result, _ = attack(Korhonen(rate=3 / 255), score, x)
    values = torch.stack(seen[1:]).detach()
    assert (values.argmax(0) < len(values) - 1).all(), "the problem should overshoot"
    assert torch.equal(score(result), values.amax(0))


def test_images_leave_when_they_have_not_become_better_for_a_while():
    """Dark images have their best score at the start, and bright ones a score that rises with every step."""
    model, x = Linear(side=8), images(2, 8, low=20, high=60)
    x[1] += 0.5

    def score(images):
        value, bright = model.value(images), images.detach().flatten(1).mean(1) > 0.5
        return torch.where(bright, value, -(value - model.value(x[:1])).abs())

    settings = Korhonen(steps=12, patience=2, least=5)
    result, oracle = attack(settings, score, x)
    assert oracle.gradients.tolist() == [5, 12]
    assert oracle.queries.tolist() == [5, 13]
    assert torch.equal(result[0], x[0])
    alone, _ = attack(settings, score, x[1:])
    torch.testing.assert_close(result[1:], alone, rtol=0, atol=1e-12)
    assert model.value(result)[1] > model.value(x)[1]


def test_it_asks_one_gradient_a_step_and_one_loss():
    model, x = Linear(), images(3)
    oracle = setup(Korhonen(), model, x)
    Korhonen().run(oracle, x, noise(3))
    assert oracle.queries.tolist() == [11] * 3
    assert oracle.gradients.tolist() == [10] * 3
