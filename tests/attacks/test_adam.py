"""Adam's steps are those of torch."""

import torch

from lustral.attacks.adam import Adam


def gradients(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 4, generator=generator, dtype=torch.float64)


def test_the_steps_are_those_of_torch():
    values = torch.zeros(3, 4, dtype=torch.float64)
    reference = torch.optim.Adam([values], lr=0.02, maximize=True)
    adam, moved = Adam(values, 0.02), torch.zeros_like(values)
    for gradient in gradients(7):
        values.grad = gradient.clone()
        reference.step()
        moved += adam.step(gradient)
        torch.testing.assert_close(moved, values, rtol=0, atol=1e-14)
    assert moved.abs().amax() > 0.02


def test_rows_that_stay_go_on_as_if_nobody_had_left():
    every, some = Adam(torch.zeros(3, 4, dtype=torch.float64), 0.1), Adam(torch.zeros(3, 4, dtype=torch.float64), 0.1)
    first, second = gradients(2)
    every.step(first)
    some.step(first)
    stay = torch.tensor([True, False, True])
    some.select_(stay)
    assert torch.equal(some.step(second[stay]), every.step(second)[stay])
