"""Linear models have an exact answer: attacks must find it."""

import pytest
import torch

from lustral.attacks import APGD, FGSM, IFGSM, PGD, RandomSearch, Square
from lustral.attacks.balls import lengths
from lustral.tensors import quantise
from tests.attacks.problems import Linear, images, noise, score_goal, setup

EPSILON = 8 / 255


@pytest.mark.parametrize(
    "settings",
    [
        FGSM(),
        PGD(steps=20),
        PGD(steps=20, random_start=False, schedule="linear", step=EPSILON / 2),
        PGD(steps=20, schedule="cosine", loss="margin", restarts=2),
        APGD(steps=10),
        APGD(steps=10, loss="margin", restarts=2),
    ],
    ids=repr,
)
def test_gradient_attacks_find_the_corner_of_the_linf_ball(settings):
    model, x = Linear(), images(6, low=0, high=256)  # the box [0, 1] cuts the ball of many pixels
    oracle = setup(settings, model, x)
    result = settings.run(oracle, x, noise(6))
    best = (x + EPSILON * model.towards(oracle.goal.labels, x).sign()).clamp(0, 1)
    torch.testing.assert_close(result, best, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        (FGSM(norm="l2", epsilon=0.3), 1e-12),
        (PGD(norm="l2", epsilon=0.3, steps=10, random_start=False), 1e-12),
        (PGD(norm="l2", epsilon=0.3, steps=60), 3e-2),
        (APGD(norm="l2", epsilon=0.3, steps=60), 1e-3),
    ],
    ids=repr,
)
def test_gradient_attacks_find_the_point_of_the_l2_sphere(settings, tolerance):
    model, x = Linear(), images(6)
    oracle = setup(settings, model, x)
    result = settings.run(oracle, x, noise(6))
    away = model.towards(oracle.goal.labels, x)
    gain = ((result - x) * away).flatten(1).sum(1)
    torch.testing.assert_close(gain, 0.3 * lengths(away, "l2"), rtol=tolerance, atol=0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("settings", [IFGSM(), IFGSM(steps=4, step=EPSILON), PGD(steps=9), APGD(steps=9)], ids=repr)
def test_scores_move_as_far_as_they_can(settings, sign):
    model, x = Linear(), images(5, low=0, high=256)
    oracle = setup(settings, model.value, x, goal=score_goal(model.value, x, sign))
    best = (x + sign * EPSILON * model.w.view_as(x[:1]).sign()).clamp(0, 1)
    torch.testing.assert_close(settings.run(oracle, x, noise(5)), best, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_approaches_the_optimum_and_random_points_stay_behind(norm):
    model, x = Linear(), images(8)
    epsilon = EPSILON if norm == "linf" else 0.3
    square = Square(norm=norm, epsilon=epsilon, queries=600, early_stop=False)
    random = RandomSearch(norm=norm, epsilon=epsilon, draws=200)
    gains = {}
    for settings in (square, random):
        oracle = setup(settings, model, x)
        away = model.towards(oracle.goal.labels, x)
        gain = ((settings.run(oracle, x, noise(8)) - x) * away).flatten(1).sum(1)
        most = epsilon * (away.flatten(1).abs().sum(1) if norm == "linf" else lengths(away, "l2"))
        gains[settings.name] = gain / most
        assert (gain <= most * (1 + 1e-9)).all()
    assert (gains["square"] > (0.95 if norm == "linf" else 0.5)).all(), gains
    assert (gains["random_noise"] > 0.2).all(), gains
    assert (gains["random_noise"] < gains["square"]).all(), gains


@pytest.mark.parametrize("early_stop", [False, True])
@pytest.mark.parametrize("attack", [PGD, APGD])
def test_robust_accuracy_of_a_linear_classifier_is_exact(attack, early_stop):
    model, x = Linear(seed=2), images(400, seed=5)
    settings = attack(steps=10, early_stop=early_stop)
    oracle = setup(settings, model, x)
    chosen = oracle.select(settings.run(oracle, x, noise(400)), noise(400, "score"))
    # corners of an 8/255 ball around 8-bit images are 8-bit images: rounding takes nothing away
    breakable = model.value(x).abs() < EPSILON * model.w.abs().sum()
    assert 40 < int(breakable.sum()) < 360, "the problem should have both kinds"
    assert torch.equal(chosen.rate > 0.5, breakable)
    assert torch.equal(chosen.x, quantise(chosen.x))


def test_l2_robust_accuracy_of_a_linear_classifier_is_exact_before_rounding():
    model, x = Linear(seed=2), images(400, seed=5)
    settings = APGD(norm="l2", epsilon=0.15, steps=60)
    oracle = setup(settings, model, x)
    settings.run(oracle, x, noise(400))
    breakable = model.value(x).abs() < 0.15 * model.w.norm()
    assert 40 < int(breakable.sum()) < 360, "the problem should have both kinds"
    assert torch.equal(oracle.memory.margins.amax(1) > 0, breakable)


def test_a_confident_network_does_not_stop_the_l2_attacks():
    """Gradients of 1e-30 have squares of 0 in float32; the direction is still known."""
    model, x = Linear(), images(4).float()

    def faint(images):
        return model(images.double()).float() * 1e-30

    settings = FGSM(norm="l2", epsilon=0.3)
    oracle = setup(settings, faint, x, labels=(model.value(x.double()) > 0).long())
    assert (lengths(settings.run(oracle, x, noise(4)) - x, "l2") > 0.299).all()
