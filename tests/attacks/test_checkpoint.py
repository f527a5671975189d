"""Recomputed gradients are the gradients, and the oracle owns the choice."""

import pytest
import torch

from lustral.attacks import PGD, Access
from lustral.attacks.goals import Misclassify
from lustral.attacks.oracle import Oracle
from lustral.steps import checkpointing
from tests.attacks.diffusion import TinyPurifier
from tests.attacks.problems import images, network, noise


def oracle_for(purifier, access=None, n=2, **options):
    net, x = network(), images(n, 8)
    with torch.no_grad():
        labels = net(x).argmax(1)
    access = access or Access(eot=3)
    return Oracle(net, Misclassify(labels), x, noise(n, "oracle"), access, purifier=purifier, **options), x


@pytest.mark.parametrize("solver", ["sde", "ode", "ddpm"])
def test_checkpointed_gradients_equal_plain_ones_to_the_last_bit(solver):
    answers = []
    for checkpoint in (True, False):
        oracle, x = oracle_for(TinyPurifier(strides=6, solver=solver, rounds=2), checkpoint=checkpoint)
        answers.append(oracle.gradient(x))
    assert answers[0].gradient.any()
    for one, other in zip(*answers, strict=True):
        assert torch.equal(one, other)


def test_checkpointing_is_on_unless_it_is_turned_off_and_recomputes_all_but_the_first_steps():
    for checkpoint, passes in ((True, 20 + 12), (False, 20)):
        purifier = TinyPurifier(strides=20)
        oracle, x = oracle_for(purifier, checkpoint=checkpoint)
        with checkpointing(not checkpoint):  # whoever calls does not decide
            oracle.gradient(x)
        assert purifier.denoise.passes == passes * 3 * 2


def test_steps_of_large_images_are_all_recomputed():
    x, goal, purifier = images(1, 640), Misclassify(torch.tensor([0])), TinyPurifier(strides=1)
    Oracle(lambda x: x.mean((2, 3)), goal, x, noise(1, "oracle"), Access(), purifier=purifier).gradient(x)
    assert purifier.denoise.passes == 2


def test_a_loss_recomputes_nothing():
    purifier = TinyPurifier()
    oracle_for(purifier)[0].loss(images(2, 8))
    assert purifier.denoise.passes == 4 * 3 * 2


class Saved:
    """A tensor that autograd keeps; counts the values alive and their peak."""

    alive = peak = 0

    def __init__(self, tensor):
        self.tensor = tensor.detach()  # the tensor itself may be the output of the node that keeps it: a cycle
        Saved.alive += tensor.numel()
        Saved.peak = max(Saved.peak, Saved.alive)

    def __del__(self):
        Saved.alive -= self.tensor.numel()


def test_memory_of_a_gradient_is_that_of_one_stride():
    def peak(strides, checkpoint):
        Saved.alive = Saved.peak = 0
        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
            oracle, x = oracle_for(TinyPurifier(strides=strides), Access(), checkpoint=checkpoint)
            oracle.gradient(x)
        return Saved.peak / x.numel()

    assert peak(40, False) > 5 * peak(4, False)
    growth = (peak(40, True) - peak(12, True)) / 28
    assert growth <= 2.01, "a stride keeps its state and its noise"
    assert (peak(40, False) - peak(4, False)) / 36 > 3 * growth


def test_a_detached_diffusion_purifier_is_flagged():
    purifier = TinyPurifier()
    oracle, x = oracle_for(lambda x, draws: purifier(x.detach(), draws))
    PGD(steps=11).run(oracle, x, noise(2))
    assert oracle.dead.all()
    oracle, x = oracle_for(purifier)
    PGD(steps=11).run(oracle, x, noise(2))
    assert not oracle.dead.any()


def test_draws_of_one_image_are_split_when_they_exceed_a_pass():
    whole, x = oracle_for(TinyPurifier(), Access(eot=7))
    widths = []
    inner = TinyPurifier()

    def spy(x, draws):
        widths.append(len(x))
        return inner(x, draws)

    split, _ = oracle_for(spy, Access(eot=7), batch=3)
    for one, other in zip(whole.gradient(x), split.gradient(x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert widths == [3, 3, 1, 3, 3, 1]
    torch.testing.assert_close(whole.logits(x), split.logits(x))
    one, other = (o.select(x, noise(2, "score"), draws=5) for o in (whole, split))
    torch.testing.assert_close(one.rate, other.rate)
    assert whole.queries.tolist() == split.queries.tolist() == [14, 14]
