"""Parsimonious searches the corners of the ball."""

import itertools

import pytest
import torch

from lustral.attacks import Parsimonious
from lustral.attacks.parsimonious import improve
from lustral.settings import SettingsError
from tests.attacks.problems import Linear, assert_asks, half_broken, images, network, noise, score_goal, setup


class Cover:
    """How much a set of sets covers, less what they cost: submodular, so lazy greedy is greedy."""

    def __init__(self, seed=0, sets=12, points=40):
        generator = torch.Generator().manual_seed(seed)
        self.sets = torch.rand(sets, points, generator=generator) < 0.25
        self.cost = 6 * torch.rand(sets, generator=generator, dtype=torch.float64)
        self.chosen, self.asked = set(), 0

    def flip(self, block):
        self.chosen ^= {block}

    def value(self, chosen=None):
        chosen = sorted(self.chosen if chosen is None else chosen)
        return float(self.sets[chosen].any(0).sum() - self.cost[chosen].sum())

    def run(self, loss):
        search = improve(self.flip, range(len(self.sets)), loss)
        next(search)
        while True:
            self.asked += 1
            try:
                search.send(self.value())
            except StopIteration as end:
                return end.value


@pytest.mark.parametrize("seed", range(6))
def test_lazy_greedy_is_greedy_and_asks_less(seed):
    lazy, greedy, asked = Cover(seed), set(), 0
    while True:
        rest = [block for block in range(12) if block not in greedy]
        asked += len(rest)
        best = max(rest, key=lambda block: lazy.value(greedy | {block}))
        if lazy.value(greedy | {best}) <= lazy.value(greedy):
            break
        greedy |= {best}
    assert lazy.run(lazy.value()) == pytest.approx(lazy.value(greedy))
    assert lazy.chosen == greedy
    assert 2 < len(greedy) < 12, "the problem should have both kinds"
    assert lazy.asked < 0.8 * asked


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("block", "group", "size"), [(1, 64, (4, 4)), (1, 7, (4, 4)), (4, 16, (5, 3)), (2, 5, (1, 7))])
def test_a_linear_score_moves_as_far_as_it_can(block, group, size, sign):
    """One search of every pixel is enough: asking about it up and down, and once more before it moves."""
    height, width = size
    values = 3 * height * width
    w = torch.randn(values, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = torch.randint(0, 256, (3, 3, *size), generator=torch.Generator().manual_seed(2)).double() / 255
    score = lambda x: x.flatten(1) @ w  # noqa: E731
    settings = Parsimonious(queries=10 * values, block=block, group=group)
    oracle = setup(settings, score, x, goal=score_goal(score, x, sign))
    result = settings.run(oracle, x, noise(3))
    best = (x + sign * settings.epsilon * w.view(1, 3, *size).sign()).clamp(0, 1)
    torch.testing.assert_close(result, best, rtol=0, atol=1e-12)
    assert oracle.queries.tolist() == [settings.queries] * 3


def test_the_first_blocks_are_large_and_every_image_has_its_own_order():
    seen = []

    def spy(x):
        seen.append(x.clone())
        return network(side=8)(x)

    x = images(5, 8)
    settings = Parsimonious(queries=40, block=4, early_stop=False)
    oracle = setup(settings, spy, x)
    seen.clear()
    settings.run(oracle, x, noise(5))
    assert len(seen) == 40
    for point in seen:
        d = (point - x) / settings.epsilon
        torch.testing.assert_close(d.abs(), torch.ones_like(d))
        signs = d.sign()
        first = signs[:, :, ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3)
        assert torch.equal(signs, first), "40 questions do not finish the 12 first blocks and the 48 next"
        if len({tuple(row.flatten().tolist()) for row in signs}) > 1:
            break
    else:
        pytest.fail("all images ask about the same block")


def test_blocks_are_halved_after_all_were_searched():
    x, model = images(2, 4), Linear()
    seen = []

    def spy(x):
        seen.append(x.clone())
        return model.value(x)

    settings = Parsimonious(queries=200, block=4)
    oracle = setup(settings, spy, x, goal=score_goal(model.value, x))
    settings.run(oracle, x, noise(2))
    sizes = []
    for before, after in itertools.pairwise(seen):
        changed = int((before != after)[0].sum())
        if changed in (1, 4, 16) and (not sizes or sizes[-1] != changed):
            sizes.append(changed)
    assert sizes == [16, 4, 1]


def test_gains_grow_with_the_budget_and_never_fall():
    net, x = network(), images(4, 8)
    score = lambda x: net(x)[:, 0]  # noqa: E731
    gains = []
    for queries in (1, 5, 20, 60, 61, 150, 400):
        settings = Parsimonious(queries=queries, block=4)
        oracle = setup(settings, score, x, goal=score_goal(score, x))
        with torch.no_grad():
            gains.append(score(settings.run(oracle, x, noise(4))) - score(x))
    gains = torch.stack(gains)
    assert (gains.diff(dim=0) >= -1e-12).all(), "a longer search begins with the shorter one"
    assert (gains[-1] > gains[3]).all(), gains
    assert (gains[3] > gains[0]).all(), gains


@pytest.mark.parametrize("queries", [1, 2, 33, 100])
def test_it_asks_what_it_may(queries):
    assert_asks(Parsimonious(queries=queries, block=4, early_stop=False), queries)


def test_images_leave_as_soon_as_they_are_broken():
    result, oracle, broken = half_broken(Parsimonious(queries=60, block=2))
    assert (oracle.queries[~broken] == 60).all()
    assert (oracle.queries[broken] < 60).any()
    assert len(oracle.queries[broken].unique()) > 3
    assert torch.equal(result[broken], oracle.rounded(result)[broken])


def test_a_block_that_cannot_be_halved_is_refused():
    with pytest.raises(SettingsError, match="power of two"):
        Parsimonious.make(block=24)
