"""Questions are counted, also those about rounding."""

import pytest
import torch

from lustral.attacks import NES, Access, Parsimonious
from lustral.attacks.questions import Questions
from tests.attacks.problems import Linear, images, noise, setup


def barely(x, model):
    """A classifier whose images break at once, and not after rounding, which takes the change back."""

    def target(point):
        value = model.value(point)
        known = model.value(x)
        return torch.stack([torch.zeros_like(value), (value[:, None] - known).abs().amin(1) - 1e-9], 1)

    return target


@pytest.mark.parametrize("queries", [3, 10, 41, 50])
@pytest.mark.parametrize("attack", [NES(pairs=5, epsilon=0.3 / 255), Parsimonious(epsilon=0.3 / 255)], ids=repr)
def test_rounding_is_paid_for_and_never_too_much(attack, queries):
    settings, x, model = attack.model_copy(update={"queries": queries}), images(2), Linear()
    oracle = setup(settings, barely(x, model), x)
    settings.run(oracle, x, noise(2))
    assert oracle.memory.margins.amax() > 0, "the problem should have broken images"
    assert (oracle.queries <= queries).all()
    assert (oracle.queries >= queries - 2).all()
    assert len(oracle.trace) > queries / 2


def test_who_may_ask_is_asked_and_the_others_have_no_loss():
    x, model = images(3), Linear()
    oracle = setup(NES(), model, x)
    questions = Questions(oracle, x, 2, early_stop=False)
    losses = questions.ask(x, torch.tensor([True, False, True]))
    assert losses.tolist() == [*oracle.loss(x, name="margin").loss[:1], 0, oracle.loss(x, name="margin").loss[2]]
    assert questions.left.tolist() == [1, 2, 1]
    assert questions.leave() is None
    questions.ask(x)
    assert questions.leave().tolist() == [False, True, False]
    assert questions.rows.tolist() == [1]
    assert not questions.ask(x[1:2], torch.tensor([False])).any()
    assert questions.left.tolist() == [1]
    assert oracle.queries.tolist() == [4, 3, 4]


def test_a_broken_image_is_tried_after_rounding_once_and_leaves_rounded():
    model = Linear()
    x = images(30)
    settings = NES(epsilon=0.2)
    oracle = setup(settings, model, x)
    questions = Questions(oracle, x, 9, early_stop=True)
    point = settings.ball().random_border(x, noise(30)) * 0.997
    loss = questions.ask(point)
    stay = questions.leave()
    assert 5 < int(stay.sum()) < 25, "the problem should have both kinds"
    assert torch.equal(stay, loss <= 0)
    assert oracle.queries.tolist() == [1 if one else 2 for one in stay.tolist()]
    assert torch.equal(questions.best.x[~stay], oracle.rounded(point)[~stay])
    assert torch.equal(questions.best.x[stay], point[stay])
    assert questions.leave() is None


def test_a_budget_of_the_oracle_stops_each_image_by_itself():
    """Questions about rounding make images spend unequally; none may stop another by reaching the limit first."""
    settings, x, model = NES(pairs=5, epsilon=0.3 / 255, queries=1000), images(2), Linear()
    x[1] = 0.5  # of a level that no other image is near, so that this one breaks at other steps

    def queries(rows):
        known, access = x[rows], Access(knowledge="scores", budget=40)
        oracle = setup(settings, barely(known, model), known, access=access)
        settings.run(oracle, known, noise(2).select(rows))
        return oracle.queries.tolist()

    together = queries([0, 1])
    assert together == queries([0]) + queries([1])
    assert 38 <= max(together) <= 40
