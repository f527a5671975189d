"""One Pixel changes a few pixels at most."""

import numpy as np
import pytest
import torch
from scipy.optimize import differential_evolution

from lustral.attacks import OnePixel
from lustral.attacks.one_pixel import evolve, repaint
from lustral.tensors import quantise
from tests.attacks.problems import Linear, assert_asks, half_broken, images, network, noise, score_goal, setup


def changed(result, x):
    return (result != x).any(1).flatten(1).sum(1)


def test_genes_are_places_and_8_bit_colours_to_the_last_row_and_column():
    last = 1 - 2**-24
    genes = torch.tensor([[0.0, 0.0, 0.0, 0.5, last, last, last, last, 0.0, 0.5 / 256]])
    place, colour = repaint(genes, torch.zeros(1, 3, 4, 7, dtype=torch.float64))
    assert place[0].tolist() == [[0, 27]] * 3
    assert (colour[0] * 255).tolist() == [[0, 255], [128, 0], [255, 0]]


def test_of_two_colours_for_one_pixel_the_last_counts():
    pixel = [0.3, 0.3]
    genes = torch.tensor([[*pixel, 0.1, 0.1, 0.1, 0.9, 0.9, 0.5, 0.5, 0.5, *pixel, 0.7, 0.8, 0.9]])
    place, colour = repaint(genes, torch.zeros(1, 3, 4, 4))
    assert place[0, 0, 0] == place[0, 0, 2]
    assert torch.equal(colour[0, :, 0], colour[0, :, 2])
    assert (colour[0, :, 2] * 255).tolist() == pytest.approx([179, 204, 230])


def test_the_first_population_is_a_latin_hypercube():
    genes = OnePixel(pixels=3, population=20)._first(noise(2))
    assert genes.shape == (2, 20, 15)
    parts = (genes * 20).long().sort(1).values
    assert torch.equal(parts, torch.arange(20)[None, :, None].expand_as(parts))
    assert not torch.equal(genes[0], genes[1])


@pytest.mark.parametrize("base", ["best", "random"])
def test_candidates_are_a_member_and_a_difference_of_two_others(base):
    """Members are powers of two, so that every sum tells which they were."""
    members = 0.25 + torch.tensor([2.0**-k for k in range(4, 10)]).view(1, 6, 1).repeat(3, 1, 1)
    scores = torch.tensor([0.0, 1, 5, 3, 2, 4]).repeat(3, 1)
    found = evolve(members, scores, noise(3), 0.5, 0.5, base)
    sums = {}
    for one in range(6):
        for another in range(6):
            for start in [2] if base == "best" else range(6):
                if one != another and (base == "best" or start not in (one, another)):
                    value = members[0, start, 0] + 0.5 * (members[0, one, 0] - members[0, another, 0])
                    sums.setdefault(round(float(value), 6), []).append((start, one, another))
    for row in range(3):
        for own in range(6):
            ways = sums[round(float(found[row, own, 0]), 6)]
            assert any(own not in (way[1:] if base == "best" else way) for way in ways)
    assert len({round(float(value), 6) for value in found.flatten()}) > 6


def test_what_leaves_the_range_is_drawn_anew():
    members = torch.tensor([0.02, 0.98] * 20).view(1, 40, 1).repeat(50, 1, 1)
    found = evolve(members, torch.zeros(50, 40), noise(50), 1.0, 1.0, "random")
    assert found.amin() >= 0
    assert found.amax() < 1
    new = found[(found - 0.02).abs().gt(1e-6) & (found - 0.98).abs().gt(1e-6)]
    assert len(new) > 500
    assert float(new.mean()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("base", "strategy"), [("best", "best1bin"), ("random", "rand1bin")])
def test_it_evolves_as_far_as_scipy(base, strategy):
    """The mean distance from the optimum after 12 generations, over 40 runs each, on a logarithmic scale."""
    optimum, count = np.array([0.3, 0.6, 0.45]), 15

    def distance(genes):
        return (((genes - optimum) * [1, 3, 0.5]) ** 2).sum(-1)

    theirs = [
        differential_evolution(
            lambda genes: distance(genes.T),
            [(0, 1)] * 3,
            strategy=strategy,
            maxiter=12,
            popsize=5,
            tol=0,
            atol=-1,
            recombination=1,
            polish=False,
            updating="deferred",
            vectorized=True,
            rng=seed,
        ).fun
        for seed in range(40)
    ]
    keys = noise(40)
    members = keys.uniform(torch.empty(40, count, 3))
    scores = torch.tensor(-distance(members.double().numpy()))
    for _ in range(12):
        candidates = evolve(members, scores, keys, 0.5, 1.0, base)
        new = torch.tensor(-distance(candidates.double().numpy()))
        members = torch.where((new >= scores)[:, :, None], candidates, members)
        scores = torch.maximum(new, scores)
    ours, others = (-scores.amax(1)).log10(), torch.tensor(theirs).log10()
    error = float((ours.var() / 40 + others.var() / 40).sqrt())
    assert error < 0.3, "the comparison should mean something"
    assert abs(float(ours.mean() - others.mean())) < 3 * error
    first = np.log10(distance(np.random.default_rng(0).random((40, count, 3))).min(1)).mean()
    assert float(ours.mean()) < first - (1 if base == "best" else 0.4)


def test_it_comes_near_the_best_pixel_of_a_linear_score():
    model, x = Linear(), images(6, low=0, high=256)
    settings = OnePixel(pixels=1, population=40, queries=320)
    for sign in (1, -1):
        oracle = setup(settings, model.value, x, goal=score_goal(model.value, x, sign))
        result = settings.run(oracle, x, noise(6))
        w = sign * model.w.view(1, 3, 4, 4)
        most = torch.maximum(w * (1 - x), -w * x).sum(1).flatten(1).amax(1)
        share = sign * (model.value(result) - model.value(x)) / most
        assert (share > 0.5).all(), share
        assert share.mean() > 0.7, share
        assert (share <= 1 + 1e-9).all()


@pytest.mark.parametrize("pixels", [1, 3])
def test_no_more_pixels_change_and_all_values_are_8_bit(pixels):
    x = images(3, 8, low=0, high=256)
    points = []

    def spy(point):
        points.append(point.clone())
        return network()(point)

    settings = OnePixel(pixels=pixels, queries=40, population=10, early_stop=False)
    result = settings.run(setup(settings, spy, x), x, noise(3))
    for point in (result, *points):
        assert (changed(point, x) <= pixels).all()
        assert torch.equal(point, quantise(point))
    assert (changed(result, x) > 0).all()


@pytest.mark.parametrize("base", ["best", "random"])
def test_gains_grow_with_the_budget_and_never_fall(base):
    net, x = network(), images(4, 8)
    score = lambda x: net(x)[:, 0]  # noqa: E731
    gains = []
    for queries in (1, 12, 40, 130):
        settings = OnePixel(pixels=3, queries=queries, population=12, base=base)
        oracle = setup(settings, score, x, goal=score_goal(score, x))
        with torch.no_grad():
            gains.append(score(settings.run(oracle, x, noise(4))) - score(x))
    gains = torch.stack(gains)
    assert (gains.diff(dim=0) >= -1e-12).all(), "a longer search begins with the shorter one"
    assert (gains[-1] > gains[0]).all(), gains


@pytest.mark.parametrize("queries", [1, 10, 27])
def test_it_asks_what_it_may(queries):
    assert_asks(OnePixel(queries=queries, population=10, early_stop=False), queries)


def test_images_leave_as_soon_as_they_are_broken():
    _, oracle, broken = half_broken(OnePixel(pixels=1, queries=60, population=12))
    assert (oracle.queries[~broken] == 60).all()
    assert len(oracle.queries[broken].unique()) > 3
