"""Published implementations as oracles: same start and steps give the same iterates; attacks are at least as strong."""

import importlib
import warnings

import pytest
import torch

from lustral.attacks import APGD, FAB, PGD, AutoAttack, Square
from lustral.attacks.balls import lengths
from lustral.attacks.hyperplane import shortest_step
from tests.attacks.problems import images, network, noise, setup

EPSILON = 8 / 255


def reference(name):
    """An old package, imported without letting its warnings fail the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def points():
    """256 points of which between 20 and 80 % fall at 8/255: labels are the net's own."""
    net, x = network(10, seed=3, dtype=torch.float32).requires_grad_(False), images(256, 8, low=0, high=256).float()
    with torch.no_grad():
        return net, x, net(x).argmax(1)


def robust(net, x, labels):
    with torch.no_grad():
        return float((net(x).argmax(1) == labels).float().mean())


def ours(settings, net, x, labels):
    oracle = setup(settings, net, x, labels)
    settings.run(oracle, x, noise(len(x)))
    return float((oracle.memory.margins.amax(1) <= 0).float().mean())


@pytest.mark.parametrize(("norm", "epsilon", "step"), [("linf", EPSILON, 1 / 255), ("l2", 0.5, 0.1)])
@pytest.mark.parametrize("loss", ["natural", "ce"])
def test_pgd_walks_like_foolbox(points, norm, epsilon, step, loss):
    foolbox = reference("foolbox")
    net, x, labels = points
    x, labels = x[:16], labels[:16]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
        attack = kind(abs_stepsize=step, steps=7, random_start=False)
        _, theirs, _ = attack(foolbox.PyTorchModel(net.eval(), bounds=(0, 1)), x, labels, epsilons=epsilon)
    settings = PGD(norm=norm, epsilon=epsilon, step=step, steps=7, random_start=False, loss=loss)
    torch.testing.assert_close(settings.run(setup(settings, net, x, labels), x, noise(16)), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", EPSILON), ("l2", 0.3)])
@pytest.mark.parametrize("loss", ["ce", "dlr", "targeted_dlr"])
def test_apgd_is_as_strong_as_autoattack(points, norm, epsilon, loss):
    base = reference("pyautoattack.autopgd_base")
    net, x, labels = points
    options = {"n_iter": 20, "norm": {"linf": "Linf", "l2": "L2"}[norm], "eps": epsilon, "seed": 0, "device": "cpu"}
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        if loss == "targeted_dlr":
            theirs = base.APGDAttack_targeted(net, n_target_classes=3, **options).perturb(x, labels)
        else:
            theirs = base.APGDAttack(net, loss=loss, **options).perturb(x, labels)
    settings = APGD(norm=norm, epsilon=epsilon, steps=20, loss=loss, targets=3, early_stop=True)
    theirs = robust(net, theirs, labels)
    assert 0.05 < theirs < 0.95, "the problem should be neither trivial nor hopeless"
    assert ours(settings, net, x, labels) <= theirs + 0.005


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", EPSILON), ("l2", 0.4)])
def test_square_is_as_strong_as_autoattack(points, norm, epsilon):
    base = reference("pyautoattack.square")
    net, x, labels = points
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        attack = base.SquareAttack(
            net, norm={"linf": "Linf", "l2": "L2"}[norm], n_queries=300, eps=epsilon, p_init=0.8, seed=0,
            resc_schedule=True, device="cpu",
        )  # fmt: skip
        theirs = robust(net, attack.perturb(x, labels), labels)
    assert 0.05 < theirs < 0.95, "the problem should be neither trivial nor hopeless"
    settings = Square(norm=norm, epsilon=epsilon, queries=300)
    assert ours(settings, net, x, labels) <= theirs + 0.015, theirs


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_steps_onto_hyperplanes_are_those_of_autoattack(norm):
    projections = reference("pyautoattack.fab_projections")
    x = images(32, 6, low=0, high=256)
    slope = noise(32).normal(x)
    gap = 3 * noise(32, "gap").normal(x[:, 0, 0, 0])
    project = {"linf": projections.projection_linf, "l2": projections.projection_l2}[norm]
    flat = slope.flatten(1)
    theirs = project(x.flatten(1), flat, (flat * x.flatten(1)).sum(1) - gap).view_as(x)
    torch.testing.assert_close(shortest_step(x, gap, slope, norm), theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_comes_as_near_as_autoattack(points, norm):
    base = reference("pyautoattack.fab_pt")
    net, x, labels = points
    x, labels = x[:48], labels[:48]
    attack = base.FABAttack_PT(net, norm={"linf": "Linf", "l2": "L2"}[norm], n_iter=15, eps=1.0, device="cpu")
    attack.target_class = 2  # the likeliest wrong class
    with torch.random.fork_rng():
        theirs = lengths(attack.attack_single_run(x, labels, is_targeted=True) - x, norm)
    settings = FAB(norm=norm, steps=15, targets=1, epsilon=1e-6)
    ours = settings.nearest(setup(settings, net, x, labels), x, noise(48)).distance
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", EPSILON), ("l2", 0.3)])
def test_autoattack_is_as_strong_as_autoattack(points, norm, epsilon):
    base = reference("pyautoattack.autoattack")
    net, x, labels = points
    x, labels = x[:128], labels[:128]
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        theirs = base.AutoAttack(net, norm={"linf": "Linf", "l2": "L2"}[norm], eps=epsilon, seed=0)
        theirs.apgd.n_iter = theirs.apgd_targeted.n_iter = theirs.fab.n_iter = 8
        theirs.apgd_targeted.n_target_classes = theirs.fab.n_target_classes = 2
        theirs.square.n_queries, theirs.square.rescale_schedule = 60, True
        theirs = robust(net, theirs.run_standard_evaluation(x, labels, batch_size=128)[0], labels)
    assert 0.05 < theirs < 0.95, "the problem should be neither trivial nor hopeless"
    settings = AutoAttack(norm=norm, epsilon=epsilon, steps=8, targets=2, queries=60)
    oracle = setup(settings, net, x, labels)
    assert robust(net, settings.run(oracle, x, noise(128)), labels) <= theirs + 0.008
