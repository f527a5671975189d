"""FAB finds the nearest point across the boundary."""

import numpy as np
import pytest
import scipy.optimize
import torch

from lustral.attacks import FAB
from lustral.attacks.balls import lengths
from lustral.attacks.hyperplane import shortest_step
from tests.attacks.problems import Linear, images, network, noise, setup


def plane(n=6, seed=0, low=0, high=256):
    generator = torch.Generator().manual_seed(seed)
    x = images(n, 3, seed, low, high)
    slope = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    slope[:, 0, 0] = 0
    return x, slope, torch.randn(n, generator=generator, dtype=x.dtype) * 2


def value(gap, slope, d):
    return gap + (slope * d).flatten(1).sum(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_step_reaches_the_hyperplane_inside_the_box(norm):
    x, slope, gap = plane()
    d = shortest_step(x, gap, slope, norm)
    torch.testing.assert_close(value(gap, slope, d), torch.zeros(6, dtype=x.dtype), rtol=0, atol=1e-12)
    assert (x + d).min() >= 0
    assert (x + d).max() <= 1
    assert (d.abs() > 1e-3).any(), "some steps are long enough to meet the box"


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_step_is_shorter(norm):
    for x, slope, gap in zip(*plane(), strict=True):
        d = shortest_step(x[None], gap[None], slope[None], norm)
        z, w, size = x.flatten().numpy(), slope.flatten().numpy(), x.numel()
        if norm == "linf":  # least r with |d| <= r, inside the box, on the plane
            bounds = [(-v, 1 - v) for v in z] + [(0, None)]
            ones = -np.ones((size, 1))
            above = np.block([[np.eye(size), ones], [-np.eye(size), ones]])
            best = scipy.optimize.linprog(
                [0] * size + [1], above, np.zeros(2 * size), [[*w, 0]], [-float(gap)], bounds=bounds
            ).fun
        else:
            best = scipy.optimize.minimize(
                lambda v: v @ v, np.zeros(size), jac=lambda v: 2 * v, method="SLSQP", tol=1e-12,
                bounds=[(-v, 1 - v) for v in z],
                constraints={"type": "eq", "fun": lambda v, w=w, g=gap: w @ v + float(g), "jac": lambda v, w=w: w},
            ).fun ** 0.5  # fmt: skip
        assert float(lengths(d, norm)) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_plane_out_of_reach_is_approached_as_far_as_the_box_allows(norm):
    x, slope, _ = plane()
    slope[0] = 0
    slope[1] *= 1e-30  # in single precision the squares of such slopes are zero
    d = shortest_step(x.float(), torch.full((6,), -1e6), slope.float(), norm)
    assert d.isfinite().all()
    assert not d[0].any()
    corner = torch.where(slope > 0, 1 - x, torch.where(slope < 0, -x, 0)).float()
    torch.testing.assert_close(d[1:], corner[1:])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_distances_to_a_linear_boundary_are_exact(norm, targeted):
    model, x = Linear(), images(8)  # in the middle of the range: the box does not cut the way
    settings = FAB(norm=norm, steps=12, epsilon=1e-6, overshoot=1 + 1e-9, targeted=targeted)
    oracle = setup(settings, model, x)
    found = settings.nearest(oracle, x, noise(8))
    dual = model.w.abs().sum() if norm == "linf" else model.w.norm()
    exact = model.value(x).abs() / dual
    torch.testing.assert_close(found.distance, exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(lengths(found.x - x, norm), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 8 / 255), ("l2", 0.15)])
@pytest.mark.parametrize("early_stop", [False, True])
def test_robust_accuracy_of_a_linear_classifier_is_exact(norm, epsilon, early_stop):
    model, x = Linear(seed=2), images(200, seed=5)
    settings = FAB(steps=5, norm=norm, epsilon=epsilon, early_stop=early_stop)
    oracle = setup(settings, model, x)
    result = settings.run(oracle, x, noise(200))
    dual = model.w.abs().sum() if norm == "linf" else model.w.norm()
    breakable = model.value(x).abs() < epsilon * dual
    assert 20 < int(breakable.sum()) < 180, "the problem should have both kinds"
    assert torch.equal(oracle.goal.broken(model(result), torch.arange(200)), breakable)
    assert settings.ball().contains(result, x).all()


def test_misclassified_images_are_their_own_nearest_points():
    net, x = network(), images(4, 8)
    labels = (net(x).argmax(1) + 1) % 5
    settings = FAB(steps=3)
    oracle = setup(settings, net, x, labels)
    found = settings.nearest(oracle, x, noise(4))
    assert not found.distance.any()
    assert torch.equal(found.x, x)
    assert oracle.gradients.tolist() == [0] * 4


def test_more_targets_restarts_and_all_boundaries_bring_no_farther_points():
    net, x = network(10, seed=5), images(8, 8, seed=1, low=0, high=256)[3:5]
    distances = []
    for settings in (
        FAB(steps=8, targets=1, epsilon=1e-6),
        FAB(steps=8, targets=3, epsilon=1e-6),
        FAB(steps=8, targets=3, epsilon=1e-6, restarts=2),
        FAB(steps=8, targeted=False, epsilon=1e-6),
    ):
        oracle = setup(settings, net, x)
        distances.append(settings.nearest(oracle, x, noise(2)).distance)
    one, three, restarted, free = distances
    assert (three <= one).all()
    assert (restarted <= three).all()
    assert (three < one * 0.99).any(), "for some image the likeliest class is not the nearest"
    torch.testing.assert_close(free, three, rtol=0.02, atol=0)


def test_a_point_that_does_not_fit_is_no_success():
    model, x = Linear(), images(8)
    distance = model.value(x).abs() / model.w.abs().sum()
    middle = float(distance.median())
    settings = FAB(steps=5, epsilon=middle)
    oracle = setup(settings, model, x)
    result = settings.run(oracle, x, noise(8))
    fits = distance < middle
    assert torch.equal(oracle.goal.broken(model(result), torch.arange(8)), fits)
    assert (oracle.memory.margins.amax(1) > 0).tolist() == fits.tolist()
    assert (oracle.goal.margin(model(result), torch.arange(8)) > -model.value(x).abs()).all(), "it comes nearer"
