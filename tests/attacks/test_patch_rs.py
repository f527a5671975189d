"""Patch-RS changes one square."""

import itertools

import pytest
import torch

from lustral.attacks import PatchRS
from lustral.attacks.patch_rs import paint, patch_share, turn_over
from tests.attacks.problems import Linear, assert_asks, half_broken, images, network, noise, score_goal, setup


def spans(result, x):
    """Height and width of what changed, per image."""
    there = (result != x).any(1)
    rows, columns = there.any(2), there.any(1)
    return [
        tuple(int(line.nonzero().max() - line.nonzero().min()) + 1 if line.any() else 0 for line in pair)
        for pair in zip(rows, columns, strict=True)
    ]


def test_squares_shrink_as_in_the_published_code():
    at = (1, 10, 11, 51, 201, 501, 1001, 2001, 4000, 4001, 6001, 8000, 8001, 9999)
    shares = [patch_share(when, 10_000, 0.4, rescale=True) for when in at]
    halved = [0, 0, 1, 2, 3, 4, 5, 5, 5, 6, 6, 6, 7, 7]
    assert shares == [0.4 / 2**times for times in halved]
    assert patch_share(100, 200, 0.4, rescale=True) == 0.4 / 2**6
    assert patch_share(100, 200, 0.4, rescale=False) == 0.4 / 2**2


def test_sides_moves_and_the_turn_to_single_channels():
    settings = PatchRS(queries=10_000)
    assert [settings.side(at, 20) for at in (1, 11, 51, 201, 501, 1001, 4001)] == [17, 12, 8, 6, 4, 3, 2]
    assert settings.side(9999, 2) == 1
    assert settings.single(20) == 9000, "from 8,001 on the root of 0.8 / 128 of 20 is below 2"
    assert settings.single(1) == 5000
    assert settings.radius(1, 100) == 74
    assert settings.radius(5000, 100) == 37
    assert settings.radius(10_000, 100) == 0


@pytest.mark.parametrize("sides", [2, torch.tensor([1, 2, 3] * 100)], ids=["same", "own"])
def test_squares_reach_every_border_and_have_one_colour(sides):
    patch = torch.full((300, 3, 4, 4), 0.5)
    painted = paint(patch, sides, noise(300).numbers(5))
    there = (painted != patch).all(1)
    assert torch.equal(there, (painted != patch).any(1))
    assert there.any(0).all(), "some pixel is never inside a square"
    expected = torch.as_tensor(sides).expand(300) ** 2
    assert torch.equal(there.flatten(1).sum(1), expected)
    assert set(painted.unique().tolist()) == {0.0, 0.5, 1.0}
    colours = {tuple(row[:, at][:, 0].tolist()) for row, at in zip(painted, there, strict=True)}
    assert len(colours) == 8, "every corner of the colour cube"


def test_one_value_is_turned_over():
    patch = noise(200).signs(torch.zeros(200, 3, 3, 3)).clamp_min(0)
    turned = turn_over(patch, noise(200, "draw").numbers(5))
    different = turned != patch
    assert (different.flatten(1).sum(1) == 1).all()
    assert torch.equal(turned[different], 1 - patch[different])
    assert different.any(0).all()


@pytest.mark.parametrize(("area", "side"), [(1, 1), (9, 3), (15, 3), (16, 4), (1000, 6)])
def test_only_one_square_within_the_area_changes(area, side):
    x = images(4, 8)[:, :, :6]
    points = []

    def spy(point):
        points.append(point.clone())
        return network(side=8)(torch.nn.functional.pad(point, (0, 0, 0, 2)))

    settings = PatchRS(area=area, queries=60, early_stop=False)
    oracle = setup(settings, spy, x)
    points.clear()
    result = settings.run(oracle, x, noise(4))
    assert len(points) == 60
    for point in (result, *points):
        assert spans(point, x) == [(side, side)] * 4, "no value of these images is 0 or 1"
        assert set(point[point != x].tolist()) <= {0.0, 1.0}


def test_the_patch_goes_everywhere():
    x, seen = images(30, 8)[:, :, :5], []

    def spy(point):
        seen.append((point != x).any(1))
        return point.flatten(1).sum(1)

    settings = PatchRS(area=4, queries=30)
    oracle = setup(
        settings, lambda point: point.flatten(1).sum(1), x, goal=score_goal(lambda p: p.flatten(1).sum(1), x)
    )
    oracle.target = spy
    settings.run(oracle, x, noise(30))
    assert torch.cat(seen).any(0).all()
    corners = [torch.cat(seen)[:, row, column].any() for row in (0, 4) for column in (0, 7)]
    assert all(corners)
    moved = [int((before != after).any((1, 2)).sum()) for before, after in itertools.pairwise(seen)]
    assert sum(moved[3::4]) > 5 * 4, "every fourth question is about another place"


@pytest.mark.parametrize(("side", "queries", "share"), [(2, 200, 1 - 1e-9), (5, 200, 0.5)], ids=["one place", "many"])
def test_it_comes_near_the_best_patch_of_a_linear_score(side, queries, share):
    """A patch of the size of the image has one place, and then the best colours are found exactly."""
    model, x = Linear(side=side), images(4, side)
    settings = PatchRS(area=4, queries=queries)
    for sign in (1, -1):
        oracle = setup(settings, model.value, x, goal=score_goal(model.value, x, sign))
        result = settings.run(oracle, x, noise(4))
        w = sign * model.w.view(1, 3, side, side)
        gain = torch.maximum(w * (1 - x), -w * x).sum(1, keepdim=True)
        most = 4 * torch.nn.functional.avg_pool2d(gain, 2, 1).flatten(1).amax(1)
        found = sign * (model.value(result) - model.value(x)) / most
        assert (found.amin() if side == 2 else found.mean()) > share, found
        assert (found <= 1 + 1e-9).all()


def test_gains_grow_with_the_budget():
    net, x = network(), images(6, 8)
    score = lambda x: net(x)[:, 0]  # noqa: E731
    for rescale in (False, True):
        gains = []
        for queries in (1, 10, 40, 130):
            settings = PatchRS(area=9, queries=queries, rescale=rescale)
            oracle = setup(settings, score, x, goal=score_goal(score, x))
            with torch.no_grad():
                gains.append(score(settings.run(oracle, x, noise(6))) - score(x))
        gains = torch.stack(gains)
        assert (gains.mean(1).diff() > 0).all(), gains
        assert (gains[-1] > gains[0]).all(), gains


@pytest.mark.parametrize("queries", [1, 2, 27])
def test_it_asks_what_it_may(queries):
    assert_asks(PatchRS(area=9, queries=queries, early_stop=False), queries)


def test_images_leave_as_soon_as_they_are_broken():
    _, oracle, broken = half_broken(PatchRS(area=1, queries=20))
    assert (oracle.queries[~broken] == 20).all()
    assert len(oracle.queries[broken].unique()) > 3
