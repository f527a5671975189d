"""StAdv moves pixels."""

import itertools

import pytest
import torch

from lustral.attacks import StAdv
from lustral.attacks.warping import roughness, warp
from tests.attacks.problems import Linear, images, noise, score_goal, setup


def in_sides(pixels, height, width):
    """Displacements in pixels (2, ...) in units of half a side."""
    return pixels / torch.tensor([height / 2, width / 2], dtype=torch.float64).view(2, 1, 1)


def smooth(n, side=8, seed=0):
    """Images that change slowly enough for half a pixel to matter little more than a little."""
    points = images(n, 3, seed)
    return torch.nn.functional.interpolate(points, size=(side, side), mode="bicubic", align_corners=True).clamp(0, 1)


def ramp(height=8, width=8):
    """Affine in both directions, another way in every channel."""
    down, right = torch.arange(height)[:, None] / height - 0.5, torch.arange(width) / width - 0.5
    return (0.5 + 0.3 * torch.stack([down + right, down - 2 * right, -down + right / 2]).double() / 2)[None]


def exhaustive(x, score, bound):
    """Most that a score (3, h, w) can gain: inside a quarter of a cell an image is bilinear, so corners suffice."""
    found = [
        (score * warp(x, torch.tensor(corner, dtype=x.dtype)[None, :, None, None].expand(len(x), 2, *x.shape[2:]))).sum(
            1
        )
        for corner in itertools.product((-bound, 0.0, bound), repeat=2)
    ]
    return torch.stack(found).amax(0).flatten(1).sum(1) - (score * x).flatten(1).sum(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (1, 2), (33, 41)])
def test_no_displacement_is_the_image_itself(dtype, size):
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1), dtype=dtype)
    assert torch.equal(warp(x, x.new_zeros(2, 2, *size)), x)


def test_whole_pixels_shift_the_image_and_its_border_goes_on():
    x = images(1, 6)
    moved = warp(x, in_sides(torch.tensor([2.0, -1.0], dtype=x.dtype)[:, None, None].expand(2, 6, 6), 6, 6)[None])
    rows, columns = torch.tensor([2, 3, 4, 5, 5, 5]), torch.tensor([0, 0, 1, 2, 3, 4])
    torch.testing.assert_close(moved, x[:, :, rows][..., columns], rtol=0, atol=1e-12)


def test_half_a_pixel_is_the_mean_of_two():
    x = images(1, 4)
    moved = warp(x, in_sides(torch.tensor([0.0, 0.5], dtype=x.dtype)[:, None, None].expand(2, 4, 4), 4, 4)[None])
    torch.testing.assert_close(moved[..., :3], (x[..., :3] + x[..., 1:]) / 2, rtol=0, atol=1e-12)


def test_the_derivative_of_the_warp_and_of_the_roughness_is_theirs():
    generator = torch.Generator().manual_seed(2)
    flow = (torch.rand(2, 2, 4, 5, generator=generator, dtype=torch.float64) - 0.5).requires_grad_()
    x = torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda flow: warp(x, flow), flow)
    assert torch.autograd.gradcheck(roughness, flow)


def test_the_roughness_counts_neighbours_from_both_sides():
    pixels = torch.zeros(3, 2, 5, 5, dtype=torch.float64)
    pixels[1, :, 2, 2] = torch.tensor([3.0, 4.0])  # five pixels away from four neighbours
    pixels[2, :, 0, 0] = torch.tensor([0.0, 1.0])
    found = roughness(in_sides(pixels, 5, 5))
    torch.testing.assert_close(found, torch.tensor([0.0, 40.0, 4.0]).double(), rtol=0, atol=2e-3)


@pytest.mark.parametrize(("bound", "sign"), [(0.05, 1), (0.2, -1)])
def test_on_a_ramp_every_pixel_goes_as_far_as_it_may(bound, sign):
    """Only at the border is there nothing farther on, where any displacement outwards is as good."""
    model, x = Linear(side=8), ramp()
    settings = StAdv(bound=bound, steps=25)
    oracle = setup(settings, model.value, x, goal=score_goal(model.value, x, sign))
    result = settings.run(oracle, x, noise(1))
    gain = sign * (model.value(result) - model.value(x))
    torch.testing.assert_close(gain, exhaustive(x, sign * model.w.view(3, 8, 8), bound), rtol=1e-9, atol=0)
    assert (gain > 0).all()


def test_it_comes_near_what_trying_all_corners_finds():
    model, x = Linear(side=8), smooth(6)
    settings = StAdv(bound=0.1, random_start=True, steps=40)
    oracle = setup(settings, model.value, x, goal=score_goal(model.value, x))
    result = settings.run(oracle, x, noise(6))
    share = (model.value(result) - model.value(x)) / exhaustive(x, model.w.view(3, 8, 8), 0.1)
    assert (share > 0.9).all(), share  # every pixel by itself ends at the top of its own hill
    assert (share < 1 + 1e-9).all(), share


def test_the_regularised_form_breaks_images_with_smoother_flows(monkeypatch):
    model, x = Linear(side=8), smooth(12, seed=4)
    flows = []
    monkeypatch.setattr("lustral.attacks.warping.warp", lambda x, flow: flows.append(flow.detach()) or warp(x, flow))
    found = {}
    for tau in (0.0, 0.01, 0.05):
        settings = StAdv(bound=1, tau=tau, confidence=0, steps=60, rate=0.01)
        oracle = setup(settings, model, x)
        flows.clear()
        result = settings.run(oracle, x, noise(12))
        broken = oracle.goal.broken(model(result), torch.arange(12))
        which = torch.stack([(warp(x, flow) - result).abs().flatten(1).amax(1) for flow in flows]).argmin(0)
        chosen = torch.stack([flows[step][row] for row, step in enumerate(which.tolist())])
        torch.testing.assert_close(warp(x, chosen), result, rtol=0, atol=1e-12)
        found[tau] = broken, roughness(chosen)
    assert (found[0.0][0] == found[0.01][0]).all()
    both = found[0.0][0] & found[0.05][0]
    assert int(both.sum()) > 3, "the problem should have some"
    assert (found[0.01][1][both] < found[0.0][1][both]).all()
    assert (found[0.05][1][both] < found[0.01][1][both] * 1.01).all()


def test_it_asks_one_gradient_a_step_and_one_loss():
    model, x = Linear(side=8), smooth(3)
    settings = StAdv(steps=7)
    oracle = setup(settings, model, x)
    settings.run(oracle, x, noise(3))
    assert oracle.queries.tolist() == [8] * 3
    assert oracle.gradients.tolist() == [7] * 3


def test_more_bound_is_more_gain():
    model, x = Linear(side=8), smooth(4)
    gains = []
    for bound in (0.02, 0.05, 0.1):
        oracle = setup(StAdv(), model.value, x, goal=score_goal(model.value, x))
        gains.append(model.value(StAdv(bound=bound, random_start=True, steps=20).run(oracle, x, noise(4))))
    assert (torch.stack(gains).diff(dim=0) > 0).all()
