"""DeepFool and the attack of Carlini and Wagner find the nearest points across the boundary."""

import pytest
import torch

from lustral.attacks import Access, CarliniWagner, DeepFool
from lustral.attacks.balls import lengths
from lustral.attacks.nearest import Nearest, held
from tests.attacks.problems import Linear, Planes, images, network, noise, setup
from tests.attacks.test_references import reference


def stretched(x, to, factor):
    return (x + factor * (to - x)).clamp(0, 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_deepfool_steps_onto_the_nearest_of_several_linear_boundaries(norm):
    model, x = Planes(), images(12)
    settings = DeepFool(norm=norm)
    oracle = setup(settings, model, x)
    found = settings.nearest(oracle, x)
    exact = 1.02 * model.distance(x, norm)
    torch.testing.assert_close(found.distance, exact, rtol=1e-9, atol=0)
    torch.testing.assert_close(lengths(found.x - x, norm), exact, rtol=1e-9, atol=0)
    assert oracle.gradients.tolist() == [5] * 12, "one step, all five wrong classes"
    assert oracle.queries.tolist() == [4] * 12, "classes, clean image, step, its end"


def test_deepfool_looks_at_the_likeliest_classes_only():
    model, x = Planes(), images(12)
    settings = DeepFool(targets=1)
    oracle = setup(settings, model, x)
    z = model(x)
    first, second = z.topk(2).indices.T
    gap = (z.gather(1, first[:, None]) - z.gather(1, second[:, None])).squeeze(1)
    exact = 1.02 * gap / (model.w[first] - model.w[second]).norm(dim=1)
    found = settings.nearest(oracle, x)
    torch.testing.assert_close(found.distance, exact, rtol=1e-9, atol=0)
    assert (found.distance > 1.02 * model.distance(x) * 1.01).any(), "the likeliest is not always the nearest"
    assert oracle.gradients.tolist() == [1] * 12


def test_every_image_stops_when_it_is_fooled():
    net, x = network(10, seed=5), images(8, 8, seed=1, low=0, high=256)
    with torch.no_grad():
        labels = net(x).argmax(1)
    labels[0] = (labels[0] + 1) % 10
    settings = DeepFool()
    oracle = setup(settings, net, x, labels)
    found = settings.nearest(oracle, x)
    assert found.distance[0] == 0
    assert oracle.gradients[0] == 0
    steps = oracle.gradients[1:] // 9
    assert len(set(steps.tolist())) > 1, "they take different numbers of steps"
    assert torch.equal(oracle.queries[1:], 2 + 2 * steps)
    assert found.distance.isfinite().all()


def test_carlini_wagner_finds_the_nearest_linear_boundary():
    model, x = Planes(), images(12)
    settings = CarliniWagner(steps=60, searches=5)
    oracle = setup(settings, model, x)
    found = settings.nearest(oracle, x)
    exact = model.distance(x)
    torch.testing.assert_close(lengths(found.x - x, "l2"), found.distance, rtol=1e-12, atol=0)
    assert (found.distance >= exact * (1 - 1e-9)).all()
    assert (found.distance <= exact * 1.05 + 5e-3).all(), found.distance / exact
    assert oracle.gradients.tolist() == [300] * 12


def test_a_fixed_constant_breaks_what_it_can_pay_for():
    """Between two classes the optimum is the boundary where ``c |w| > 2 distance`` and short of it elsewhere."""
    model, x = Linear(), images(60)
    price = 2 * model.value(x).abs() / model.w.norm() ** 2  # the constant at which an image falls
    c = float(price.median())
    x = x[((price / c).log().abs() > 0.3) & (price < 8 * c)]
    paid = 2 * model.value(x).abs() / model.w.norm() ** 2 < c
    assert 5 < int(paid.sum()) < len(x) - 5
    for searches, expected in ((1, paid), (2, torch.ones_like(paid))):
        settings = CarliniWagner(searches=searches, c=c, steps=60)
        found = settings.nearest(setup(settings, model, x), x)
        assert torch.equal(found.distance.isfinite(), expected), "ten times as much breaks the dear ones"


def test_confidence_keeps_a_margin():
    model, x = Planes(), images(6)
    settings = CarliniWagner(steps=50, searches=2, confidence=0.5, rate=0.02)
    oracle = setup(settings, model, x)
    found = settings.nearest(oracle, x)
    margins = oracle.goal.margin(model(found.x), torch.arange(6))
    assert (margins >= 0.5).all()
    assert (margins < 0.8).all(), "but not much more"


@pytest.mark.parametrize("settings", [DeepFool(), CarliniWagner(steps=40, searches=2, rate=0.02)], ids=repr)
def test_without_a_budget_the_nearest_8_bit_success_is_selected(settings):
    model, x = Planes(side=12, seed=1), images(8, 12)
    oracle = setup(settings, model, x)
    result = settings.run(oracle, x, noise(8))
    assert oracle.goal.broken(model(oracle.rounded(result)), torch.arange(8)).all()
    chosen = oracle.select(result, noise(8, "score"))
    assert torch.equal(chosen.unrounded, result), "no farther point of the path stands"
    assert (chosen.rate == 1).all()
    assert (lengths(result - x, "l2") < 1.3 * model.distance(x) + 0.04).all()


def test_a_faint_point_is_made_just_long_enough_to_survive_rounding():
    model, x = Planes(side=16, seed=2), images(30, 16)
    oracle = setup(DeepFool(), model, x)
    found = DeepFool().nearest(oracle, x)
    everyone = torch.arange(30)
    undone = ~oracle.goal.broken(model(oracle.rounded(found.x)), everyone)
    assert 3 < int(undone.sum()) < 27, "rounding undoes some"
    result = held(oracle, x, found)
    assert oracle.goal.broken(model(oracle.rounded(result)), everyone).all()
    assert torch.equal(result[~undone], found.x[~undone])
    shorter = oracle.rounded(stretched(x, result, 1 / 1.0201))
    assert not oracle.goal.broken(model(shorter), everyone)[undone].any(), "2 % shorter is undone again"


def test_where_nothing_is_broken_the_best_point_stands():
    model, x = Planes(), images(3)
    oracle = setup(DeepFool(), model, x)
    near = stretched(x, DeepFool().nearest(setup(DeepFool(), model, x), x).x, 0.9)
    oracle.loss(near)
    result = held(oracle, x, Nearest(x.clone(), torch.full((3,), float("inf"))))
    assert torch.equal(result, near)


@pytest.mark.parametrize("attack", [DeepFool, CarliniWagner])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_with_a_budget_only_points_inside_count(attack, norm):
    model, x = Linear(seed=2), images(60, seed=5)
    distance = model.value(x).abs() / (model.w.abs().sum() if norm == "linf" else model.w.norm())
    middle = float(distance.median())
    x = x[(distance / middle).log().abs() > 0.05]
    settings = attack(norm=norm, epsilon=middle, steps=25)
    oracle = setup(settings, model, x)
    result = settings.run(oracle, x, noise(len(x)))
    broken = oracle.goal.broken(model(result), torch.arange(len(x)))
    assert settings.ball().contains(result, x).all()
    fits = distance[(distance / middle).log().abs() > 0.05] < middle
    # the nearest point in L2 is not the nearest in Linf, nor is what lies beyond it on the border
    assert not (broken & ~fits).any()
    if attack is DeepFool or norm == "l2":
        assert torch.equal(broken, fits)


def test_gaps_are_the_gradients_of_single_classes_from_one_forward_pass():
    net, x = network(), images(3, 8)
    wanted = torch.tensor([[1, 2], [3, 0], [4, 1]])
    oracle = setup(DeepFool(), net, x, labels=torch.tensor([0, 1, 2]), access=Access(knowledge="exact"))
    gaps, slopes = oracle.gaps(x[1:], wanted[1:], torch.tensor([1, 2]))
    assert oracle.queries.tolist() == [0, 1, 1]
    assert oracle.gradients.tolist() == [0, 2, 2]
    for column in range(2):
        one = oracle.gradient(x[1:], torch.tensor([1, 2]), "difference", wanted[1:, column])
        torch.testing.assert_close(gaps[:, column], one.loss, rtol=0, atol=1e-12)
        torch.testing.assert_close(slopes[:, column], one.gradient, rtol=0, atol=1e-12)


def foolbox_distances(name, net, x, labels, **options):
    import warnings

    foolbox = reference("foolbox")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attack = getattr(foolbox.attacks, name)(**options)
        _, theirs, broken = attack(foolbox.PyTorchModel(net.eval(), bounds=(0, 1)), x, labels, epsilons=None)
    return torch.where(broken, lengths(theirs - x, "l2"), torch.inf)


@pytest.mark.parametrize("settings", [DeepFool(), CarliniWagner(steps=80, searches=4, rate=0.01)], ids=repr)
def test_perturbations_are_as_short_as_those_of_foolbox(settings):
    net = network(10, seed=3, dtype=torch.float32).requires_grad_(False)
    x = images(32, 8, low=0, high=256).float()
    labels = net(x).argmax(1)
    found = settings.nearest(setup(settings, net, x, labels), x)
    if isinstance(settings, DeepFool):
        theirs = foolbox_distances("L2DeepFoolAttack", net, x, labels, steps=50, candidates=10, loss="logits")
    else:
        theirs = foolbox_distances(
            "L2CarliniWagnerAttack", net, x, labels, binary_search_steps=4, steps=80, stepsize=0.01,
            initial_const=0.1, abort_early=False,
        )  # fmt: skip
    assert theirs.isfinite().all()
    ratio = found.distance / theirs
    assert float(ratio.median()) == pytest.approx(1, abs=0.01)
    assert float(ratio.max()) < 1.05
