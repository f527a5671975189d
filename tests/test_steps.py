"""A checkpointed step is a plain step: the same values, the same gradients to the last bit, no silent wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lustral.steps import checkpointing, show, step, watched, watching
from tests.diffusion.examples import SAMPLERS, images, noise_for, purified, tiny_denoiser


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def both(work: Callable[..., Tensor], *leaves: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Value and gradients of a scalar, plain and checkpointed; the backward pass runs outside of the block."""
    found: list[list[Tensor]] = []
    for active in (False, True):
        own = [leaf.clone().requires_grad_() for leaf in leaves]
        with checkpointing(active):
            value = work(*own)
        gradients = torch.autograd.grad(value, own, allow_unused=True)
        found.append([value.detach(), *(g if g is not None else torch.tensor(torch.nan) for g in gradients)])
    return found[0], found[1]


def assert_same_bits(work: Callable[..., Tensor], *leaves: Tensor) -> None:
    plain, checkpointed = both(work, *leaves)
    for one, other in zip(plain, checkpointed, strict=True):
        assert torch.equal(one, other) or (bool(one.isnan().all()) and bool(other.isnan().all()))


class Counted:
    """A function that knows how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, x: Tensor, *others: Tensor) -> Tensor:
        self.runs += 1
        return sum((other.sin() * x for other in others), x.tanh())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", SAMPLERS)
def test_checkpointed_gradients_of_samplers_equal_plain_ones_to_the_last_bit(name: str, dtype: torch.dtype) -> None:
    denoise, weights = tiny_denoiser(dtype), numbers(2, 3, 8, 8, dtype=dtype)
    assert_same_bits(lambda x: (weights * purified(name, denoise, x, noise_for(2))).sum(), images(dtype=dtype))


@pytest.mark.parametrize("name", SAMPLERS)
def test_gradients_of_samplers_equal_central_differences(name: str) -> None:
    denoise, x, weights = tiny_denoiser(), images().requires_grad_(), numbers(2, 3, 8, 8)

    def value(at: Tensor) -> Tensor:
        return (weights * purified(name, denoise, at, noise_for(2))).sum()

    with checkpointing():
        (gradient,) = torch.autograd.grad(value(x), x)
    for seed in range(3):
        direction = numbers(*x.shape, seed=10 + seed)
        with torch.no_grad():
            slope = (value(x + 1e-6 * direction) - value(x - 1e-6 * direction)) / 2e-6
        assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-5)


def nodes(y: Tensor) -> list[str]:
    """Names of all nodes of the graph behind ``y``."""
    found, queue = set(), [y.grad_fn]
    while queue:
        node = queue.pop()
        if node is not None and node not in found:
            found.add(node)
            queue += [before for before, _ in node.next_functions]
    return [node.name() for node in found]


def test_checkpointing_keeps_no_graph_of_a_step_and_runs_it_once_more() -> None:
    def work(function: Counted, active: bool) -> tuple[Tensor, Tensor]:
        x, other = numbers(10).requires_grad_(), numbers(10, seed=1)
        y = x
        with checkpointing(active):
            for _ in range(5):
                y = step(function, y, other, other)
        return x, y

    plain, checkpointed = Counted(), Counted()
    x, y = work(plain, False)
    y.sum().backward()
    x_again, y_again = work(checkpointed, True)
    assert len(nodes(y)) > 20
    assert sorted(nodes(y_again)) == sorted(["_RecomputedBackward"] * 5 + ["torch::autograd::AccumulateGrad"])
    y_again.sum().backward()
    assert (plain.runs, checkpointed.runs) == (5, 10)
    assert torch.equal(x.grad, x_again.grad)


def test_a_reference_that_is_used_twice_in_every_step_gets_the_same_bits() -> None:
    """The order in which its gradients are added up must not depend on checkpointing."""

    def guided(x: Tensor, reference: Tensor) -> Tensor:
        return x.tanh() + 0.3 * reference.sin() * x + 0.7 * reference.cos()

    def work(x: Tensor, reference: Tensor) -> Tensor:
        y = x * reference
        for _ in range(6):
            y = step(guided, y, reference)
        return (y * numbers(40, seed=9, dtype=x.dtype)).sum()

    for dtype in (torch.float32, torch.float64):
        assert_same_bits(work, numbers(40, dtype=dtype), numbers(40, seed=1, dtype=dtype))


def test_guidance_inside_a_step_has_its_second_order_term_and_the_same_bits() -> None:
    denoise, weights, goal = tiny_denoiser(), numbers(2, 3, 8, 8), numbers(2, 3, 8, 8, seed=4)
    sigma = torch.full((2,), 0.3, dtype=torch.float64)

    def guided(x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            (g,) = torch.autograd.grad((denoise(x, sigma) - goal).square().sum(), x, create_graph=True)
        else:
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                (g,) = torch.autograd.grad((denoise(leaf, sigma) - goal).square().sum(), leaf)
        return x - 0.05 * g

    def work(x: Tensor) -> Tensor:
        for _ in range(3):
            x = step(guided, x)
        return (weights * x).sum()

    assert_same_bits(work, images())
    x = images().requires_grad_()
    with checkpointing():
        (gradient,) = torch.autograd.grad(work(x), x)
    direction = numbers(*x.shape, seed=5)
    with torch.no_grad():
        slope = (work(x + 1e-5 * direction) - work(x - 1e-5 * direction)) / 2e-5
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-5)


def test_a_step_may_return_a_tuple_of_which_parts_are_not_used() -> None:
    def split(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return x.sin(), x.square().sum().sqrt() / 0, x.detach() * 2  # the second one has infinite gradients

    def work(x: Tensor) -> Tensor:
        first, _, constant = step(split, x)
        assert not constant.requires_grad
        return (first * constant).sum()

    assert_same_bits(work, numbers(5))


def test_inputs_that_need_no_gradient_or_are_not_used_get_none() -> None:
    x, y, constant = numbers(4).requires_grad_(), numbers(4, seed=1).requires_grad_(), numbers(4, seed=2)
    with checkpointing():
        z = step(lambda a, b, c: a * c, x, y, constant)
    found = torch.autograd.grad(z.sum(), [x, y], allow_unused=True)
    assert torch.equal(found[0], constant)
    assert found[1] is None


def test_a_step_that_returns_its_input_and_one_that_returns_a_constant() -> None:
    x = numbers(4).requires_grad_()
    with checkpointing():
        same, constant = step(lambda a: a, x), step(lambda a: torch.ones(4, dtype=a.dtype), x)
    assert torch.equal(torch.autograd.grad((3 * same).sum(), x)[0], torch.full((4,), 3.0, dtype=x.dtype))
    assert not constant.requires_grad


def test_inputs_are_not_changed_and_a_changed_input_is_an_error() -> None:
    x = numbers(4).requires_grad_()
    y = x * 1
    with checkpointing():
        z = step(torch.exp, y)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_second_derivatives_through_a_checkpointed_step_are_an_error() -> None:
    x = numbers(4).requires_grad_()
    with checkpointing():
        y = step(torch.exp, x)
    with pytest.raises(RuntimeError, match=r"only once; .* leave out checkpointing"):
        torch.autograd.grad(y.sum(), x, create_graph=True)
    (slope,) = torch.autograd.grad(step(torch.exp, x).sum(), x, create_graph=True)
    assert torch.equal(torch.autograd.grad(slope.sum(), x)[0], x.exp())


def test_a_tensor_that_is_closed_over_is_an_error_under_checkpointing() -> None:
    x, reference, fixed = numbers(4).requires_grad_(), numbers(4, seed=1).requires_grad_(), numbers(4, seed=2)
    with checkpointing():
        step(lambda x: x * fixed, x)
        with pytest.raises(ValueError, match=r"closes over 'reference'.*pass it as an input"):
            step(lambda x: x * reference, x)
    step(lambda x: x * reference, x)


def test_a_step_within_a_step_is_part_of_it() -> None:
    inner = Counted()

    def outer(x: Tensor, z: Tensor) -> Tensor:
        for _ in range(2):
            x = step(inner, x, z)
        return x

    def work(x: Tensor, z: Tensor) -> Tensor:
        return step(outer, step(outer, x, z), z).square().sum()

    assert_same_bits(work, numbers(6), numbers(6, seed=1))
    assert inner.runs == 4 + 8
    x, z = numbers(6).requires_grad_(), numbers(6, seed=1)
    with checkpointing():
        torch.autograd.grad(work(x, z), x)  # the backward pass inside of the block
    assert inner.runs == 12 + 8


def test_the_first_steps_may_keep_their_graph() -> None:
    function = Counted()

    def work(x: Tensor, z: Tensor) -> Tensor:
        for _ in range(5):
            x = step(function, x, z)
        return x.square().sum()

    gradients = list[Tensor]()
    for keep, runs in ((0, 10), (2, 8), (5, 5), (9, 5)):
        function.runs = 0
        x, z = numbers(6).requires_grad_(), numbers(6, seed=1)
        with checkpointing(keep=keep):
            y = work(x, z)
        gradients += torch.autograd.grad(y, x)
        assert function.runs == runs
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def test_a_step_within_a_kept_step_is_part_of_it() -> None:
    inner = Counted()
    x, z = numbers(6).requires_grad_(), numbers(6, seed=1)
    with checkpointing(keep=1):
        y = step(lambda x, z: step(inner, step(inner, x, z), z), x, z)
        y = step(inner, y, z)
    torch.autograd.grad(y.sum(), x)
    assert inner.runs == 2 + 2


def test_nothing_is_kept_when_no_gradient_is_wanted() -> None:
    function, x = Counted(), numbers(4)
    with checkpointing():
        assert not step(function, x).requires_grad
        with torch.no_grad():
            assert not step(function, x.requires_grad_()).requires_grad
    assert function.runs == 2


def test_checkpointing_ends_with_its_block_even_after_an_error() -> None:
    function, x = Counted(), numbers(4).requires_grad_()
    with pytest.raises(KeyError), checkpointing():
        raise KeyError
    with checkpointing(), checkpointing(False):
        step(function, x).sum().backward()
    step(function, x).sum().backward()
    assert function.runs == 2


def test_a_step_under_autocast_is_recomputed_under_autocast() -> None:
    weights = numbers(8, 8, seed=3, dtype=torch.float32)

    def work(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            for _ in range(3):
                x = step(lambda x: (x @ weights).tanh(), x)
        return x.float().sum()

    plain, checkpointed = both(work, numbers(4, 8, dtype=torch.float32))
    assert all(torch.equal(one, other) for one, other in zip(plain, checkpointed, strict=True))


def test_a_watcher_sees_every_event_once_and_its_tensors_are_part_of_the_graph() -> None:
    events: list[tuple[str, dict[str, Any]]] = []

    def inside(x: Tensor) -> Tensor:
        show("inside", x=x)
        return x.exp()

    x = numbers(4).requires_grad_()
    with checkpointing(), watching(lambda event, facts: events.append((event, facts))):
        y = step(inside, x)
        show("state", x=y, t=3)
        (y + events[-1][1]["x"]).sum().backward()
    show("state", x=x)
    assert [event for event, _ in events] == ["inside", "state"]
    assert events[1][1]["t"] == 3
    torch.testing.assert_close(x.grad, 2 * x.detach().exp())


def test_a_purifier_can_ask_whether_anybody_watches() -> None:
    seen: list[bool] = []

    def inside(x: Tensor) -> Tensor:
        seen.append(watched())
        return x.exp()

    x = numbers(4).requires_grad_()
    with watching(lambda event, facts: None), checkpointing():
        y = step(inside, x)
        with watching(None):
            assert not watched()
        y.sum().backward()
    assert seen == [True, False], "not when the step is recomputed"
    assert not watched()
