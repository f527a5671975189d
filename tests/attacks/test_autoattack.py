"""AutoAttack runs its parts on what is left, and does not mistake luck for success."""

import pytest
import torch

from lustral.attacks import Access, AutoAttack, parse_attack
from tests.attacks.problems import Counter, Linear, images, network, noise, score_goal, setup

SMALL = {"steps": 8, "targets": 2, "queries": 40}


def test_the_parts_are_the_published_ones():
    names = [(part.name, getattr(part, "loss", None)) for part in AutoAttack().parts(early_stop=True)]
    assert names == [("apgd", "ce"), ("apgd", "targeted_dlr"), ("fab", None), ("square", None)]
    apgd, targeted, fab, square = AutoAttack(norm="l2", epsilon=0.5).parts(early_stop=True)
    assert {part.steps for part in (apgd, targeted, fab)} == {100}
    assert (targeted.targets, fab.targets, fab.targeted) == (9, 9, True)
    assert (square.queries, square.first_share, square.rescale) == (5000, 0.8, False)
    assert {(part.norm, part.epsilon) for part in (apgd, targeted, fab, square)} == {("l2", 0.5)}
    assert AutoAttack(queries=300).parts(early_stop=True)[-1].rescale, "a short run must reach small windows"
    rand = parse_attack("autoattack:variant=rand,steps=20").parts(early_stop=False)
    assert [(part.name, part.loss, part.steps) for part in rand] == [("apgd", "ce", 20), ("apgd", "dlr", 20)]


def test_broken_images_leave_and_the_first_point_stands():
    net, x = network(seed=3), images(40, 8, low=0, high=256)
    settings = AutoAttack(epsilon=6 / 255, **SMALL)
    oracle = setup(settings, net, x)
    result = settings.run(oracle, x, noise(40))
    broken = oracle.goal.broken(net(result), torch.arange(40))
    assert 5 < int(broken.sum()) < 35, "the problem should have both kinds"
    assert torch.equal(result, oracle.rounded(result))
    assert oracle.queries[broken].float().mean() < 0.7 * oracle.queries[~broken].float().mean()
    first = settings.parts(early_stop=True)[0]
    alone = setup(settings, net, x)
    point = alone.rounded(first.run(alone, x, noise(40).fork("0")))
    fell = alone.goal.broken(net(point), torch.arange(40))
    assert torch.equal(result[fell], point[fell])


def test_misclassified_images_are_left_alone():
    net, x = network(), images(4, 8)
    settings = AutoAttack(**SMALL)
    oracle = setup(settings, net, x, (net(x).argmax(1) + 1) % 5)
    assert torch.equal(settings.run(oracle, x, noise(4)), x)
    assert oracle.queries.tolist() == [1] * 4


@pytest.mark.parametrize("variant", ["standard", "rand"])
def test_counters_are_what_the_target_saw(variant):
    def jitter(x, draws):
        return (x + 0.1 * draws.normal(x)) * 0.9

    target, x = Counter(network()), images(5, 8)
    settings = AutoAttack(variant=variant, **SMALL)
    oracle = setup(settings, target, x, access=Access(eot=2), purifier=jitter)
    target.seen = 0
    settings.run(oracle, x, noise(5))
    assert int(oracle.queries.sum()) == target.seen - 1, "the classes were counted on one image"


def lottery(x, draws):
    """A defence that breaks one draw in five by itself, whatever the image."""
    unlucky = draws.numbers(1)[:, 0].to(x) < 0.2
    return torch.where(unlucky[:, None, None, None], 1 - x, x)


def test_luck_ends_the_single_evaluation_and_not_the_repaired_one():
    model, x = Linear(seed=1), images(60, seed=3)
    weak = 1e-3

    def three(images):  # a third class, so that DLR is defined
        return torch.cat([model(images), torch.full((len(images), 1), -1e3, dtype=images.dtype)], 1)

    luck = {}
    for evaluation in ("single", "multiple"):
        settings = AutoAttack(variant="rand", steps=3, epsilon=weak, evaluation=evaluation, evaluations=9)
        oracle = setup(settings, three, x, access=Access(eot=1), purifier=lottery)
        settings.run(oracle, x, noise(60))
        luck[evaluation] = oracle.gradients
    complete = torch.full((60,), 6)
    assert (luck["single"] < complete).float().mean() > 0.2
    assert (luck["multiple"] < complete).float().mean() < 0.1


def test_the_repaired_evaluation_keeps_the_point_that_holds_over_many_draws():
    def jitter(x, draws):
        return x + 0.3 * draws.normal(x)

    net, x = network(10, seed=3), images(24, 8)
    rates = {}
    for evaluation in ("single", "multiple"):
        settings = AutoAttack(variant="rand", steps=10, epsilon=12 / 255, evaluation=evaluation)
        oracle = setup(settings, net, x, access=Access(eot=2), purifier=jitter)
        result = settings.run(oracle, x, noise(24))
        rates[evaluation] = oracle.judge(result, draws=60).rate.mean()
    assert rates["multiple"] > rates["single"] + 0.02


def test_without_randomness_the_two_evaluations_are_one():
    net, x = network(seed=3), images(6, 8)
    results = []
    for evaluation in ("single", "multiple"):
        settings = AutoAttack(epsilon=6 / 255, evaluation=evaluation, **SMALL)
        oracle = setup(settings, net, x)
        results.append((settings.run(oracle, x, noise(6)), oracle.queries))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize(("variant", "least"), [("standard", 4), ("rand", 3)])
def test_too_few_classes_and_scores_are_refused(variant, least):
    model, x = Linear(), images(2)
    settings = AutoAttack(variant=variant)
    for oracle in (setup(settings, model, x), setup(settings, model.value, x, goal=score_goal(model.value, x))):
        with pytest.raises(ValueError, match=f"at least {least} classes"):
            settings.run(oracle, x, noise(2))
