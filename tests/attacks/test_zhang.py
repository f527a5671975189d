"""Zhang et al. trade the score against a full-reference distance."""

import pytest
import torch

from lustral.attacks import Zhang, parse_attack, zhang
from lustral.nets.full_reference import SSIM
from lustral.weights import WeightsError
from tests.attacks.problems import Linear, images, network, noise, score_goal, setup
from tests.nets.perceptual import tiny, two_files

EPSILON = 8 / 255


def smooth_score(side=16):
    """A score of about one range over the ball, with slopes everywhere."""
    net = network(classes=2, side=side)
    return lambda x: net(x)[:, 0]


def attacked(settings, target, x, sign=1):
    oracle = setup(settings, target, x, goal=score_goal(target, x, sign))
    return oracle, settings.run(oracle, x, noise(len(x)))


@pytest.mark.parametrize("sign", [1, -1])
def test_without_a_penalty_a_linear_score_moves_as_far_as_it_can(sign):
    model, x = Linear(), images(5)
    settings = Zhang(weight=0)
    _, result = attacked(settings, model.value, x, sign)
    gain = sign * (model.value(result) - model.value(x))
    torch.testing.assert_close(gain, (EPSILON * model.w.abs().sum()).expand(5), rtol=1e-6, atol=0)
    box = images(5, low=0, high=256)
    best = (box + sign * EPSILON * model.w.view_as(box[:1]).sign()).clamp(0, 1)
    torch.testing.assert_close(attacked(Zhang(weight=0, rate=0.1), model.value, box, sign)[1], best, rtol=0, atol=1e-9)


def test_the_more_distance_costs_the_closer_the_image_stays():
    target, x, ssim = smooth_score(), images(3, 16), SSIM()
    distances, gains = [], []
    for weight in (0.0, 0.3, 3.0, 300.0):
        _, result = attacked(Zhang(weight=weight, steps=30, rate=0.5 / 255), target, x)
        distances.append(ssim(result, x))
        gains.append(target(result) - target(x))
    assert (torch.stack(distances).diff(dim=0) < 0).all(), distances
    assert (torch.stack(gains).diff(dim=0) < 0).all(), gains
    assert (distances[-1] < 1e-3).all(), "the SSIM stays above 0.999"
    assert (gains[-1] >= 0).all()


def test_the_image_with_the_best_difference_stands_alone():
    target, x, ssim, seen = smooth_score(), images(3, 16), SSIM(), []

    def spy(points):
        seen.append(points.detach().clone())
        return target(points)

    settings = Zhang(weight=5.0, rate=4 / 255)
    oracle, result = attacked(settings, spy, x)
    assert oracle.queries.tolist() == [11] * 3
    assert oracle.gradients.tolist() == [10] * 3
    values = torch.stack([target(points) - target(x) - 5 * ssim(points, x) for points in seen[1:]])
    torch.testing.assert_close(target(result) - target(x) - 5 * ssim(result, x), values.amax(0), rtol=0, atol=1e-12)
    assert (values.argmax(0) > 0).all(), "the clean image should not be the best"
    assert (values.argmax(0) < 10).any(), "nor should the last point"
    chosen = oracle.select(result, noise(3, "score"))
    stands = (chosen.unrounded == result).flatten(1).all(1)
    assert stands.all(), "of the points on the way no other may be selected"


def test_steps_longer_than_the_ball_stay_inside():
    settings = Zhang(epsilon=2 / 255, rate=0.1, weight=0.01, random_start=True)
    x = images(3, 16, low=0, high=256)
    oracle, result = attacked(settings, smooth_score(), x)
    assert settings.ball().contains(result, x).all()
    assert (oracle.best == result).all()


@pytest.mark.parametrize("sign", [1, -1, 0])
def test_a_square_keeps_the_direction_and_needs_a_random_start(sign):
    target, x = smooth_score(), images(4, 16)
    _, still = attacked(Zhang(squared=True, steps=1), target, x, sign)
    torch.testing.assert_close(still, x, rtol=0, atol=1e-9)
    settings = Zhang(squared=True, random_start=True, weight=0.1, steps=40)
    _, result = attacked(settings, target, x, sign)
    moved = target(result) - target(x)
    assert ((sign * moved if sign else moved.abs()) > 0.1).all(), moved


def test_the_random_start_is_a_level_below_at_random_values():
    x = images(2, 16)
    seen = []

    def spy(points):
        seen.append(points.detach().clone())
        return smooth_score()(points)

    attacked(Zhang(random_start=True, steps=1), spy, x)
    levels = ((seen[1] - x) * 255).round(decimals=6)
    assert set(levels.unique().tolist()) == {-1.0, 0.0}
    assert 0.4 < (levels == 0).double().mean() < 0.6


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "dists"])
def test_networks_measure_the_distance_too(name, tmp_path):
    """On images that AlexNet and VGG16 are too large for: their borders are repeated."""
    measure = tiny(name)
    weights, backbone = two_files(measure, tmp_path)
    target, x = smooth_score(8), images(2, 8)
    fields = {"measure": "dists" if name == "dists" else "lpips", "weights": weights, "backbone": backbone}
    settings = parse_attack({"name": "zhang", "steps": 8, "weight": 1.0, **fields})
    assert settings.weights_used() == (weights, backbone)
    free, costly = (attacked(s, target, x)[1] for s in (Zhang(steps=8, weight=0), settings))
    extended = [zhang._extended(part, measure.smallest) for part in (free, costly, x)]
    far, near = (measure.double()(part, extended[2]) for part in extended[:2])
    assert (near < far).all(), (near, far)
    assert (target(costly) > target(x)).all()
    alone = attacked(settings, target, x[1:])[1]
    torch.testing.assert_close(alone[0], costly[1], rtol=0, atol=1e-9)


def test_many_values_are_compared_in_parts(monkeypatch):
    target, x = smooth_score(), images(5, 16)
    whole = attacked(Zhang(), target, x)[1]
    monkeypatch.setattr(zhang, "_TOGETHER", 2 * x[0].numel())
    torch.testing.assert_close(attacked(Zhang(), target, x)[1], whole, rtol=0, atol=1e-9)


def test_missing_weights_are_named():
    x = images(1, 16)
    with pytest.raises(WeightsError, match=r"LPIPS needs weights that do not ship"):
        attacked(Zhang(measure="lpips"), smooth_score(), x)
    assert Zhang().weights_used() == ()
    assert Zhang(weights="a.safetensors", measure="lpips", weight=0).weights_used() == ()
