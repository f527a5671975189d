"""8-bit honesty: rounding never leaves the ball and moves as little as it can."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lustral.attacks.balls import Ball, lengths


def images(seed, epsilon, norm):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(0, 256, (3, 3, 6, 6), generator=generator) / 255
    far = clean + 3 * epsilon * (torch.rand(clean.shape, generator=generator) * 2 - 1)
    return clean, Ball(norm, epsilon).project(far, clean)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.2, 40.0))
def test_linf_rounding_stays_inside_and_is_the_nearest_that_does(seed, levels):
    clean, x = images(seed, levels / 255, "linf")
    rounded = Ball("linf", levels / 255).to_8_bit(x, clean)
    offset = ((rounded - clean) * 255).round()
    assert torch.allclose(rounded * 255, (rounded * 255).round(), atol=1e-3)
    assert float(offset.abs().max()) <= levels + 1e-3
    limit = int(levels / 255 * 255 + 1e-3)  # the ball's own arithmetic: 0.999 levels must not become 1 here only
    wanted = ((x - clean) * 255).round().clamp(-limit, limit)
    assert torch.equal(offset, wanted)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 2.0))
def test_l2_rounding_stays_inside_and_uses_nearly_all_of_the_radius(seed, epsilon):
    clean, x = images(seed, epsilon, "l2")
    rounded = Ball("l2", epsilon).to_8_bit(x, clean)
    assert torch.allclose(rounded * 255, (rounded * 255).round(), atol=1e-3)
    assert bool((lengths(rounded - clean, "l2") <= epsilon + 1e-4).all())
    before, after = lengths(x - clean, "l2"), lengths(rounded - clean, "l2")
    assert bool((after >= before - 3 / 255 * before.clamp_min(1)).all() or epsilon < 0.2)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_8_bit_image_inside_is_left_alone(norm):
    clean = torch.full((1, 3, 4, 4), 100 / 255)
    x = clean + 2 / 255
    assert torch.allclose(Ball(norm, 0.1).to_8_bit(x, clean), x, atol=1e-7)


def test_a_point_inside_is_rounded_to_nearest_not_towards_the_clean_image():
    clean = torch.full((1, 3, 1, 1), 100 / 255)
    assert torch.allclose(Ball("linf", 8 / 255).to_8_bit(clean + 7.6 / 255, clean), clean + 8 / 255)
    assert torch.allclose(Ball("linf", 7.7 / 255).to_8_bit(clean + 7.6 / 255, clean), clean + 7 / 255)
