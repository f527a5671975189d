"""The deployed configuration: purifier before target, voting, fresh entropy."""

import pytest
import torch
from torch import nn

from lustral.defended import Defended
from lustral.seeds import Noise

X = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))


def noise_for(n: int = 4) -> Noise:
    return Noise(0, "test", [str(row) for row in range(n)])


def keep(x: torch.Tensor, noise: Noise) -> torch.Tensor:
    return x


def jitter(x: torch.Tensor, noise: Noise) -> torch.Tensor:
    return (x + 0.1 * noise.normal(x)).clamp(0, 1)


def brightness(x: torch.Tensor) -> torch.Tensor:
    return x.mean(dim=(1, 2, 3))


def channels(x: torch.Tensor) -> torch.Tensor:
    return 20 * x.mean(dim=(2, 3))


class Script:
    """A target that returns prepared outputs, one per call."""

    def __init__(self, *outputs: torch.Tensor) -> None:
        self.outputs = list(outputs)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.outputs.pop(0)


def test_one_vote_returns_the_plain_output_with_its_gradient() -> None:
    x = X.clone().requires_grad_()
    y = Defended(channels, keep)(x)
    assert torch.equal(y, channels(X))
    gradient = torch.autograd.grad(y.sum(), x)[0]
    torch.testing.assert_close(gradient, torch.full_like(x, 20 / 25))


def test_the_purifier_sees_the_noise_that_was_given() -> None:
    y = Defended(brightness, jitter)(X, noise_for())
    assert torch.equal(y, brightness(jitter(X, noise_for())))


def test_without_a_seed_every_call_draws_fresh_noise() -> None:
    defended = Defended(brightness, jitter)
    assert not torch.equal(defended(X), defended(X))


@pytest.mark.parametrize("votes", [1, 3])
def test_with_a_seed_calls_repeat_and_seeds_differ(votes: int) -> None:
    first, again, other = (Defended(brightness, jitter, votes, seed)(X) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    defended = Defended(brightness, jitter, votes, seed=1)
    assert torch.equal(defended(X), defended(X))
    assert torch.equal(defended(X[:2]), first[:2])


@pytest.mark.parametrize("votes", [1, 3])
def test_a_second_call_with_one_noise_is_a_new_draw_and_replays(votes: int) -> None:
    defended, noise = Defended(brightness, jitter, votes), noise_for()
    first, second = defended(X, noise), defended(X, noise)
    assert not torch.equal(first, second)
    assert torch.equal(defended(X, noise.replay()), first)


def test_scores_are_averaged_over_independent_purifications() -> None:
    seen: list[torch.Tensor] = []

    def remember(x: torch.Tensor) -> torch.Tensor:
        seen.append(brightness(x))
        return seen[-1]

    y = Defended(remember, jitter, votes=5)(X, noise_for())
    assert len(seen) == 5
    assert len({tuple(scores.tolist()) for scores in seen}) == 5
    torch.testing.assert_close(y, torch.stack(seen).mean(dim=0))


def test_votes_do_not_depend_on_the_rest_of_the_batch() -> None:
    defended = Defended(channels, jitter, votes=3)
    torch.testing.assert_close(defended(X[2:3], noise_for().select([2])), defended(X, noise_for())[2:3])


def test_the_majority_wins_against_higher_confidence() -> None:
    sure, unsure = torch.tensor([[0.0, 50.0]]), torch.tensor([[0.1, 0.0]])
    y = Defended(Script(unsure, sure, unsure), keep, votes=3)(X[:1])
    assert y.argmax(dim=1).item() == 0
    softmax = torch.stack([unsure, sure, unsure]).softmax(dim=2).mean(dim=0)
    torch.testing.assert_close(y, torch.tensor([[2 / 3, 1 / 3]]) + softmax / 6)


def test_ties_are_broken_by_mean_softmax() -> None:
    sure, unsure = torch.tensor([[0.0, 5.0, -9.0]]), torch.tensor([[0.1, 0.0, -9.0]])
    for order in ((sure, unsure), (unsure, sure)):
        assert Defended(Script(*order), keep, votes=2)(X[:1]).argmax(dim=1).item() == 1


def test_one_vote_outweighs_any_difference_of_softmax() -> None:
    # class 1 leads by one vote of 101 although class 0 has nearly all of the probability it can have
    outputs = [torch.tensor([[99.0, 0.0]])] * 50 + [torch.tensor([[0.0, 1e-4]])] * 51
    assert Defended(Script(*outputs), keep, votes=101)(X[:1]).argmax(dim=1).item() == 1


def test_votes_pass_a_gradient() -> None:
    x = X.clone().requires_grad_()
    y = Defended(channels, jitter, votes=3)(x, noise_for())
    assert torch.autograd.grad(y[:, 0].sum(), x)[0].abs().max() > 0


def test_modules_are_registered_so_that_they_move_and_switch_with_it() -> None:
    target = nn.Sequential(nn.Flatten(), nn.Linear(75, 4))
    defended = Defended(target, keep)
    assert list(defended.parameters()) == list(target.parameters())
    assert not defended.eval().target.training


def test_mistakes_get_one_clear_error() -> None:
    with pytest.raises(ValueError, match="votes must be at least 1, got 0"):
        Defended(brightness, keep, votes=0)
    with pytest.raises(ValueError, match=r"scores \(n,\) or logits"):
        Defended(lambda x: x, keep)(X)
    with pytest.raises(ValueError, match="noise was made for 3 images, got a batch of 4"):
        Defended(brightness, keep)(X, noise_for(3))
    with pytest.raises(ValueError, match="divide by 255"):
        Defended(brightness, keep)(X * 255)
