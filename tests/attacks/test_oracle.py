"""The oracle grants what the threat model grants, counts it, and remembers the best points."""

import pytest
import torch

from lustral.attacks import APGD, FAB, FGSM, PGD, Access, DiffAttack, RandomSearch, Square
from lustral.attacks.balls import Ball
from lustral.attacks.goals import Misclassify, MoveScore
from lustral.attacks.oracle import BudgetSpent, Forbidden, Oracle
from tests.attacks.problems import Counter, Linear, images, network, noise, setup


class Jitter:
    """A random, differentiable purifier."""

    calls = 0

    def __call__(self, x, draws):
        self.calls += 1
        return (x + 0.2 * draws.normal(x)) * 0.9


def never(x, draws):
    raise AssertionError("the purifier was asked")


def oracle_for(access, n=3, purifier=None, target=None, **options):
    x = images(n, 8)
    target = network() if target is None else target
    with torch.no_grad():
        labels = target(x).argmax(1)
    return Oracle(target, Misclassify(labels), x, noise(n, "oracle"), access, purifier=purifier, **options), x


def test_blind_attackers_never_touch_the_defence():
    oracle, x = oracle_for(Access(knowledge="blind", eot=20), purifier=never)
    oracle.select(PGD(steps=2).run(oracle, x, noise(3)), noise(3, "score"))
    assert oracle.queries.tolist() == [3, 3, 3], "a bare target is not random: one draw each"


def test_attackers_with_scores_get_no_gradients():
    oracle, x = oracle_for(Access(knowledge="scores"))
    assert oracle.loss(x).loss.shape == (3,)
    with pytest.raises(Forbidden, match="scores only"):
        oracle.gradient(x)
    assert oracle.queries.tolist() == [1, 1, 1]


def test_exact_knowledge_is_autograd_through_the_purifier_averaged_over_draws():
    oracle, x = oracle_for(Access(eot=4), purifier=Jitter())
    slope = oracle.gradient(x, name="margin")
    leaf = x.clone().requires_grad_()
    purified = Jitter()(leaf.repeat_interleave(4, 0), noise(3, "oracle").draws(0, 4))
    losses = oracle.goal.loss(oracle.target(purified), torch.arange(3).repeat_interleave(4), "margin", None)
    by_hand = losses.view(3, 4).mean(1)
    torch.testing.assert_close(slope.loss, by_hand.detach(), rtol=0, atol=1e-12)
    (expected,) = torch.autograd.grad(by_hand.sum(), leaf)
    torch.testing.assert_close(slope.gradient, expected, rtol=0, atol=1e-12)
    assert oracle.gradient(x, name="margin").loss.ne(slope.loss).all(), "the next question has fresh draws"


def test_bpda_is_the_gradient_of_the_target_at_the_purified_point():
    def steps(x, draws):
        return (x * 8).round() / 8

    oracle, x = oracle_for(Access(knowledge="bpda"), purifier=steps)
    leaf = steps(x, None).requires_grad_()
    loss = oracle.goal.loss(oracle.target(leaf), torch.arange(3), None, None)
    slope = oracle.gradient(x)
    assert torch.equal(slope.loss, loss.detach())
    torch.testing.assert_close(slope.gradient, torch.autograd.grad(loss.sum(), leaf)[0], rtol=0, atol=0)


def test_known_noise_is_the_same_at_every_question_and_at_selection():
    seen = []

    def spy(x, draws):
        seen.append(draws.replay().normal(x[:, :1])[:, 0, 0, 0])
        return x

    oracle, x = oracle_for(Access(knowledge="known_noise", eot=5), purifier=spy)
    oracle.gradient(x)
    oracle.loss(x)
    oracle.select(x, noise(3, "score"))
    assert all(torch.equal(draw, seen[0]) for draw in seen)
    assert torch.equal(seen[0], noise(3, "oracle").draws(0, 1).normal(x[:, :1])[:, 0, 0, 0])


def test_a_surrogate_is_differentiated_and_the_deployed_defence_judges():
    used = []

    def deployed(x, draws):
        used.append("deployed")
        return 1 - x

    def surrogate(x, draws):
        used.append("surrogate")
        return x

    oracle, x = oracle_for(Access(knowledge="surrogate"), purifier=deployed, surrogate=surrogate)
    final = PGD(steps=2).run(oracle, x, noise(3))
    assert set(used) == {"surrogate"}
    used.clear()
    chosen = oracle.select(final, noise(3, "score"))
    assert set(used) == {"deployed"}
    assert torch.equal(chosen.rate > 0.5, oracle.target(1 - chosen.x).argmax(1) != oracle.goal.labels)
    with pytest.raises(ValueError, match="surrogate"):
        oracle_for(Access(knowledge="surrogate"), purifier=deployed)


def test_draws_of_an_image_do_not_depend_on_who_else_is_asked():
    oracle, x = oracle_for(Access(eot=3), purifier=Jitter())
    alone, _ = oracle_for(Access(eot=3), purifier=Jitter())
    rows = torch.tensor([1])
    oracle.loss(x[1:2], rows)
    oracle.loss(x)  # image 1 is at its second question, the others at their first
    alone.loss(x[1:2], rows)
    torch.testing.assert_close(
        oracle.loss(x).loss[1], [alone.loss(x[1:2], rows), alone.loss(x[1:2], rows)][1].loss[0], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("eot", [1, 3])
def test_splitting_questions_changes_nothing(eot):
    whole, x = oracle_for(Access(eot=eot), 7, Jitter())
    split, _ = oracle_for(Access(eot=eot), 7, Jitter(), batch=4)
    for one, other in zip(whole.gradient(x), split.gradient(x), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    torch.testing.assert_close(whole.logits(x), split.logits(x), rtol=0, atol=1e-12)
    one, other = (o.select(x, noise(7, "score")) for o in (whole, split))
    torch.testing.assert_close(one.rate, other.rate)


@pytest.mark.parametrize(
    "settings",
    [
        FGSM(),
        PGD(steps=5, restarts=2),
        PGD(steps=9, epsilon=0.3, early_stop=True),
        APGD(steps=6),
        APGD(steps=4, loss="targeted_dlr", early_stop=True, epsilon=0.2),
        Square(queries=12, epsilon=0.2),
        RandomSearch(draws=4),
        FAB(steps=4, targets=2, early_stop=True, epsilon=0.2),
    ],
    ids=lambda s: s.name,
)
def test_counters_are_what_the_target_saw(settings):
    target, x = Counter(network()), images(6, 8)
    oracle = setup(settings, target, x, access=Access(eot=3), purifier=Jitter())
    target.seen = 0
    settings.run(oracle, x, noise(6))
    assert int(oracle.queries.sum()) == target.seen
    assert (oracle.gradients <= oracle.queries).all()


def test_documented_costs():
    for settings, queries, gradients in (
        (FGSM(), 2, 1),
        (PGD(steps=5, restarts=2), 12, 10),
        (APGD(steps=6), 7, 6),
        (APGD(steps=6, loss="targeted_dlr", targets=3), 22, 18),
        (Square(queries=12, early_stop=False), 12, 0),
        (RandomSearch(draws=4), 4, 0),
        (FAB(steps=4, targets=2, epsilon=1e-6), 1 + 1 + 2 * 4 * 2 + 2, 8),
        (FAB(steps=4, targeted=False, restarts=2, epsilon=1e-6), 1 + 2 * 4 * (4 + 1) + 2, 32),
        (DiffAttack(steps=6), 7, 6),
    ):
        x = images(2, 8)
        oracle = setup(settings, network(), x)
        settings.run(oracle, x, noise(2))
        assert oracle.queries.tolist() == [queries] * 2, settings
        assert oracle.gradients.tolist() == [gradients] * 2, settings


def test_a_spent_budget_stops_the_attack_and_the_best_point_stands():
    model, x = Linear(), images(4)
    settings = PGD(steps=40, epsilon=0.1)
    oracle = setup(settings, model, x, access=Access(budget=10))
    with pytest.raises(BudgetSpent, match="10 passes"):
        settings.run(oracle, x, noise(4))
    assert oracle.queries.tolist() == [10] * 4
    before = -model.value(x).abs()
    assert (oracle.goal.margin(model(oracle.best), torch.arange(4)) > before).all()
    assert (oracle.select(x, noise(4, "score")).x != x).flatten(1).any(1).all()


def test_a_bad_last_iterate_is_rescued_from_the_path():
    model, x = Linear(), images(4)
    oracle = setup(FGSM(epsilon=0.2), model, x)
    oracle.loss((x + 0.2 * model.towards(oracle.goal.labels, x).sign()).clamp(0, 1))
    chosen = oracle.select(x, noise(4, "score"))
    assert chosen.rescued.all()
    assert chosen.final_rate.eq(0).all()
    assert chosen.rate.eq(1).all()


def test_points_outside_the_ball_are_never_remembered():
    model, x = Linear(), images(4)
    oracle = setup(FGSM(epsilon=0.01), model, x)
    oracle.loss((x + 0.2 * model.towards(oracle.goal.labels, x).sign()).clamp(0, 1))
    assert torch.equal(oracle.best, x)
    with pytest.raises(ValueError, match="left its ball"):
        oracle.select(x + 0.02, noise(4, "score"))


def test_selection_under_a_noisy_defence_uses_fresh_draws():
    """A defence that flips a fair coin looks broken half of the time; one lucky draw must not decide."""

    def coin(x, draws):
        return x + 10 * draws.signs(x[:, :1, :1, :1]) * model.w.view_as(x[:1])

    model, x = Linear(), images(6)
    oracle = setup(FGSM(), model, x, purifier=coin)
    for _ in range(8):
        oracle.loss(x)
    chosen = oracle.select(x, noise(6, "score"), draws=200)
    assert ((chosen.rate > 0.35) & (chosen.rate < 0.65)).all()


def test_selection_prefers_the_larger_margin_even_far_from_success():
    model, x = Linear(), images(4)
    oracle = setup(FGSM(epsilon=0.01), lambda images: 1e4 * model(images), x)
    nearer = (x + 0.01 * model.towards(oracle.goal.labels, x).sign()).clamp(0, 1)
    chosen = oracle.select(nearer, noise(4, "score"))
    assert (chosen.x != x).flatten(1).any(1).all()


@pytest.mark.parametrize(
    ("purifier", "knowledge", "dead"),
    [
        (lambda x, draws: x.detach(), "exact", True),
        (lambda x, draws: (x * 255).round() / 255, "exact", True),
        (lambda x, draws: x * float("inf"), "exact", True),
        (lambda x, draws: (x * 255).round() / 255, "bpda", False),
        (lambda x, draws: x * 0.5, "exact", False),
    ],
)
def test_dead_gradients_are_flagged_at_the_first_and_eleventh_step(purifier, knowledge, dead):
    oracle, x = oracle_for(Access(knowledge=knowledge), purifier=purifier)
    for _ in range(11):
        gradient = oracle.gradient(x).gradient
        assert gradient.isfinite().all()
    assert oracle.dead.tolist() == [[dead, dead]] * 3


def test_an_argmax_target_has_dead_gradients():
    net = network()
    oracle, x = oracle_for(Access(), target=lambda x: torch.nn.functional.one_hot(net(x).argmax(1), 5).double())
    oracle.gradient(x)
    assert oracle.dead[:, 0].all()


def test_unfrozen_weights_get_no_gradient():
    net = network().requires_grad_()
    oracle, x = oracle_for(Access(), target=net)
    oracle.gradient(x)
    assert all(weight.grad is None for weight in net.parameters())


def test_trace_never_falls():
    oracle, x = oracle_for(Access(eot=2), purifier=Jitter())
    PGD(steps=6).run(oracle, x, noise(3))
    trace = torch.stack(oracle.trace)
    assert len(trace) == 7
    assert (trace.diff(dim=0) >= 0).all()


def test_a_quality_metric_has_no_classifier_loss():
    goal = MoveScore(torch.zeros(2), 0.0, 1.0)
    with pytest.raises(ValueError, match="needs a classifier"):
        goal.loss(torch.zeros(2), torch.arange(2), "dlr", None)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_is_idempotent_and_regions_agree_with_it(norm):
    x, ball = images(5, low=0, high=256), Ball(norm, 0.1)
    far = x + noise(5).normal(x)
    inside = ball.project(far, x)
    assert ball.contains(inside, x).all()
    assert not ball.contains(far, x).any()
    torch.testing.assert_close(ball.project(inside, x), inside, rtol=0, atol=1e-12)
    torch.testing.assert_close(ball.around(x).project_(far.clone()), inside, rtol=0, atol=1e-12)
