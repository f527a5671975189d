"""Questions about a part of the chunk are the questions of the whole about those images."""

import torch

from lustral.attacks import APGD, Access
from lustral.attacks.goals import Misclassify, MoveScore, rivals
from lustral.attacks.oracle import Oracle
from tests.attacks.problems import images, network, noise


def jitter(x, draws):
    return (x + 0.1 * draws.normal(x)) * 0.9


def oracle_for(n=5, eot=2):
    net, x = network(), images(n, 8)
    with torch.no_grad():
        labels = net(x).argmax(1)
    settings = APGD(steps=3)
    access = Access(eot=eot)
    return Oracle(net, Misclassify(labels), x, noise(n, "oracle"), access, purifier=jitter, ball=settings.ball()), x


def test_a_part_draws_counts_and_remembers_like_the_whole():
    whole, x = oracle_for()
    other, _ = oracle_for()
    rows = torch.tensor([3, 1])
    part = other.part(rows)
    for one, two in zip(whole.gradient(x[rows], rows), part.gradient(x[rows]), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(whole.loss(x[3:4], rows[:1]).loss, part.loss(x[3:4], torch.tensor([0])).loss)
    nested = part.part(torch.tensor([1]))
    assert torch.equal(whole.logits(x[1:2], rows[1:]), nested.logits(x[1:2]))
    assert whole.queries.tolist() == other.queries.tolist() == [0, 4, 0, 4, 0]
    assert torch.equal(whole.memory.margins, other.memory.margins)
    assert torch.equal(part.best, whole.best[rows])
    assert torch.equal(part.rounded(x[rows] + 0.01), whole.rounded(x[rows] + 0.01, rows))


def test_an_attack_on_a_part_is_the_attack_on_those_images():
    settings, rows = APGD(steps=6, loss="targeted_dlr", targets=2, early_stop=True), torch.tensor([4, 0])
    whole, x = oracle_for()
    alone = settings.run(whole, x, noise(5))[rows]
    other, _ = oracle_for()
    apart = settings.run(other.part(rows), x[rows], noise(5).select(rows))
    torch.testing.assert_close(alone, apart, rtol=0, atol=1e-12)


def test_judging_takes_as_many_draws_as_are_asked():
    oracle, x = oracle_for()
    verdict = oracle.judge(x, draws=9)
    purified = jitter(x.repeat_interleave(9, 0), noise(5, "oracle").draws(0, 9))
    margins = oracle.goal.margin(oracle.target(purified), torch.arange(5).repeat_interleave(9)).view(5, 9)
    torch.testing.assert_close(verdict.margin, margins.mean(1))
    torch.testing.assert_close(verdict.rate, (margins > 0).float().mean(1))
    assert oracle.queries.tolist() == [9] * 5
    bare = Oracle(oracle.target, oracle.goal, x, noise(5), Access(knowledge="blind"), purifier=jitter)
    bare.judge(x, draws=9)
    assert bare.queries.tolist() == [1] * 5


def test_goals_select_rows():
    rows = torch.tensor([2, 0])
    assert Misclassify(torch.tensor([5, 6, 7])).select(rows).labels.tolist() == [7, 5]
    moved = MoveScore(torch.tensor([0.1, 0.2, 0.3]), 0.0, 2.0, sign=-1).select(rows)
    assert (moved.reference.tolist(), moved.high, moved.sign) == (torch.tensor([0.3, 0.1]).tolist(), 2.0, -1)


def test_rivals_are_the_likeliest_wrong_classes():
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 1.0, 5.0, 9.0]])
    goal = Misclassify(torch.tensor([0, 2]))
    assert rivals(goal, logits, 2).tolist() == [[2, 1], [3, 1]]
    assert rivals(goal, logits).tolist() == [[2, 1, 3], [3, 1, 0]]


def test_access_with_a_surrogate_is_hashable():
    one, other = (Access(knowledge="surrogate", surrogate={"name": "jpeg", "quality": 50}) for _ in range(2))
    assert {one: 1}[other] == 1
    assert one != Access(knowledge="surrogate", surrogate={"name": "jpeg", "quality": 51})
