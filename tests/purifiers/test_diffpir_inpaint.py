"""DiffPIR inpainting against its formulas, over finite sets of images, and its random masks."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from lustral.diffusion.ideal import IdealDenoiser
from lustral.diffusion.samplers import Denoise, denoised
from lustral.diffusion.schedules import vp_linear
from lustral.purifiers import DiffPIRInpaint
from lustral.purifiers.diffpir_inpaint import Spacing, _stride, diffpir_inpaint, diffpir_times, jittered_cells
from lustral.seeds import Noise
from lustral.settings import SettingsError
from lustral.steps import checkpointing
from tests.diffusion.examples import images, noise_for
from tests.purifiers.differentiation import NETWORK, gradients_agree, image_stands_alone, passes_taken

CASES = (
    DiffPIRInpaint(steps=3, resamplings=1),
    DiffPIRInpaint(steps=3, resamplings=3, hidden=0.5),
    DiffPIRInpaint(steps=3, resamplings=1, spacing="uniform", zeta=0.0, noise_level=0.1),
    DiffPIRInpaint(steps=4, resamplings=2, zeta=1.0, last_guess=False, paste=False),
)
ABAR = np.cumprod(1 - np.linspace(0.1 / 1000, 20 / 1000, 1000))


def pictures(n: int = 3) -> Tensor:
    """Images in [0, 1], float64."""
    return (0.9 * images(n) + 1) / 2


def left_half(x: Tensor) -> Tensor:
    known = torch.zeros_like(x[:, :1])
    known[..., : x.shape[3] // 2] = 1
    return known


# Time steps


def published_quad(count: int) -> list[int]:
    passed = [int(s) for s in np.sqrt(np.linspace(0, 1000**2, count))]
    return [999 - s for s in [*passed[:-1], passed[-1] - 1]]


def test_twenty_quadratic_time_steps_are_the_published_ones() -> None:
    indices = [t - 1 for t in diffpir_times("quad", 20)]
    assert (indices[:3], indices[-3:]) == ([999, 770, 675], [26, 0, -1])
    assert indices[:-1] == published_quad(20)


@pytest.mark.parametrize("count", [2, 3, 5, 17, 100, 101, 500])
def test_quadratic_time_steps_are_those_of_the_published_formula(count: int) -> None:
    assert [t - 1 for t in diffpir_times("quad", count)[:-1]] == published_quad(count)


def test_twenty_uniform_time_steps_are_the_published_ones() -> None:
    assert diffpir_times("uniform", 20) == (*range(1000, 0, -50), 1, 0)


@pytest.mark.parametrize("spacing", ["quad", "uniform"])
def test_time_steps_always_fall(spacing: Spacing) -> None:
    for count in range(2, 501):
        times = diffpir_times(spacing, count)
        assert (times[0], times[-2:]) == (1000, (1, 0))
        assert all(a > b for a, b in itertools.pairwise(times))


# Formulas


def loop(
    y: Tensor, known: Tensor, noise: Noise, indices: list[int], resamplings: int, weight: float, zeta: float,
    sigma: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Algorithm 1 over the indices of the published code: the state at its end and the last guess, which it drops."""
    y = 2 * y - 1
    x = math.sqrt(ABAR[999]) * (known * y) + math.sqrt(1 - ABAR[999]) * noise.normal(y)
    guess = x
    for i, index in enumerate(indices):
        last, a = i == len(indices) - 1, ABAR[index]
        spread = math.sqrt((1 - a) / a)
        for u in range(1 if last else resamplings):
            guess = NETWORK(x / math.sqrt(a), torch.full((len(x),), spread, dtype=x.dtype)).clamp(-1, 1)
            rho = weight * sigma**2 / spread**2
            guess = (known * y + rho * guess) / (known + rho)
            if last:
                break
            b = ABAR[indices[i + 1]]
            e = (x - math.sqrt(a) * guess) / math.sqrt(1 - a)
            fresh = math.sqrt(zeta) * math.sqrt(1 - b) * noise.normal(y)
            x = math.sqrt(b) * guess + math.sqrt(1 - zeta) * math.sqrt(1 - b) * e + fresh
            if u < resamplings - 1:
                x = math.sqrt(a / b) * x + math.sqrt((1 - a) - a / b * (1 - b)) * noise.normal(y)
    return x, guess


@pytest.mark.parametrize("resamplings", [1, 3])
@pytest.mark.parametrize(("weight", "zeta", "level"), [(10.0, 0.5, 0.0), (1.0, 1.0, 0.2), (3.0, 0.0, 0.05)])
def test_it_follows_the_algorithm(resamplings: int, weight: float, zeta: float, level: float) -> None:
    y = pictures()
    known = left_half(y)
    state, guess = loop(y, known, noise_for(3), published_quad(5), resamplings, weight, zeta, max(0.001, level))

    for last_guess, paste in itertools.product((True, False), repeat=2):
        found = diffpir_inpaint(
            NETWORK, y, known, noise_for(3), steps=5, resamplings=resamplings, regularisation=weight, zeta=zeta,
            noise_level=level, last_guess=last_guess, paste=paste,
        )  # fmt: skip
        expected = (((guess if last_guess else state) + 1) / 2).clamp(0, 1)
        expected = y.where(known == 1, expected) if paste and level == 0 else expected
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_the_data_step_leaves_hidden_pixels_alone_to_the_last_bit() -> None:
    x, z, schedule = images(3), torch.zeros(3, 3, 8, 8, dtype=torch.float64), vp_linear()
    guess = denoised(NETWORK, x, schedule, 1).clamp(-1, 1)
    for rho in (0.1, 1e-10, 1e10):
        hidden = _stride(NETWORK, schedule, 1, 0, rho, 0.5, x, -x, torch.zeros_like(x[:, :1]), z)
        assert torch.equal(hidden, guess)
        seen = _stride(NETWORK, schedule, 1, 0, rho, 0.5, x, -x, torch.ones_like(x[:, :1]), z)
        torch.testing.assert_close(seen, (-x + rho * guess) / (1 + rho), rtol=0, atol=1e-12)


# Finite sets


def half_filled(spacing: Spacing, steps: int, resamplings: int, zeta: float) -> tuple[Tensor, Tensor]:
    """What becomes of right halves that held garbage, and the images of the set that they belong to."""
    points = pictures(12)
    y = points.repeat(4, 1, 1, 1)
    known = left_half(y)
    garbage = y.where(known == 1, 1 - y)
    found = diffpir_inpaint(
        IdealDenoiser(2 * points - 1), garbage, known, noise_for(48), steps=steps, spacing=spacing,
        resamplings=resamplings, zeta=zeta,
    )  # fmt: skip
    assert torch.equal(found.where(known == 1, 0.0), y.where(known == 1, 0.0))
    return found, y


@pytest.mark.parametrize("spacing", ["quad", "uniform"])
def test_hidden_pixels_are_recovered_where_the_known_ones_identify_the_image(spacing: Spacing) -> None:
    torch.testing.assert_close(*half_filled(spacing, 50, 5, 1.0), rtol=0, atol=1e-9)


def test_resampling_fresh_noise_and_more_time_steps_fill_in_fewer_wrong_images() -> None:
    def wrong(steps: int, resamplings: int, zeta: float) -> int:
        found, y = half_filled("quad", steps, resamplings, zeta)
        return int(((found - y).abs().amax((1, 2, 3)) > 1e-6).sum())

    plain = wrong(10, 1, 0.5)
    assert plain > 5
    assert max(wrong(10, 5, 0.5), wrong(10, 1, 1.0), wrong(80, 1, 0.5)) < 0.7 * plain


def test_what_hidden_pixels_held_has_no_influence() -> None:
    y = pictures()
    known = left_half(y)
    other = y.where(known == 1, y.flip(0))
    results = [diffpir_inpaint(NETWORK, at, known, noise_for(3), steps=3, resamplings=2) for at in (y, other)]
    assert not torch.equal(y, other)
    assert torch.equal(*results)


def test_the_purifier_returns_images_of_the_set_and_keeps_what_is_not_hidden() -> None:
    points = pictures(8)
    x = points[:4]
    attacked = (x + 0.03 * noise_for(4).signs(x)).clamp(0, 1)
    settings, noise = DiffPIRInpaint(hidden=0.4, cell=2), noise_for(4)
    y = (settings.clean(IdealDenoiser(2 * points - 1), 2 * attacked - 1, noise.replay()) + 1) / 2
    hidden = jittered_cells(x, 0.4, 2, noise) == 1
    torch.testing.assert_close(y.where(~hidden, 0.0), attacked.where(~hidden, 0.0), rtol=0, atol=1e-12)
    torch.testing.assert_close(y.where(hidden, 0.0), x.where(hidden, 0.0), rtol=0, atol=1e-9)
    assert 0.2 < hidden.double().mean() < 0.6


def test_the_published_end_leaves_noise_in_the_result() -> None:
    points = pictures(8)
    y = points[:4]
    known = left_half(y)
    rest = diffpir_inpaint(IdealDenoiser(2 * points - 1), y, known, noise_for(4), last_guess=False, paste=False) - y
    for pixels in (rest[..., :4], rest[..., 4:]):
        assert pixels.std().item() == pytest.approx(0.005, rel=0.15)  # half of sqrt(1 - abar_1) = 0.01


def test_noisy_known_pixels_are_purified_when_their_noise_is_told() -> None:
    points = pictures(8)
    y = (points[:4] + 0.05 * noise_for(4).normal(points[:4])).clamp(0, 1)
    found = diffpir_inpaint(IdealDenoiser(2 * points - 1), y, left_half(y), noise_for(4), noise_level=0.05)
    left = (found - points[:4])[..., :4].square().mean()
    assert left < 0.01 * (y - points[:4])[..., :4].square().mean()


def test_single_precision_follows_double_precision() -> None:
    y = pictures()
    exact = diffpir_inpaint(NETWORK, y, left_half(y), noise_for(3))

    def single(x: Tensor, sigma: Tensor) -> Tensor:
        return NETWORK(x.double(), sigma.double()).float()

    found = diffpir_inpaint(single, y.float(), left_half(y).float(), noise_for(3))
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-4)


# Cost, gradients, batches


@pytest.mark.parametrize(
    "settings", [*CASES, *(DiffPIRInpaint(**preset) for preset in DiffPIRInpaint.presets)], ids=str
)
def test_the_number_of_passes_is_as_declared(settings: DiffPIRInpaint) -> None:
    assert settings.passes == passes_taken(settings)


def test_default_passes_and_those_of_msid() -> None:
    assert DiffPIRInpaint().passes == 19
    assert DiffPIRInpaint(steps=20, resamplings=20).passes == 381
    assert DiffPIRInpaint(steps=20, resamplings=1, spacing="uniform").passes == 21
    assert DiffPIRInpaint(steps=20, resamplings=1, last_guess=False).passes == 19


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_gradients_are_exact_with_and_without_checkpointing(settings: DiffPIRInpaint) -> None:
    gradients_agree(settings)


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_images_do_not_depend_on_their_batch(settings: DiffPIRInpaint) -> None:
    image_stands_alone(settings)


@pytest.mark.parametrize("active", [False, True])
def test_masks_get_the_gradient_of_a_blend(active: bool) -> None:
    y = pictures(2)
    weights, generator = images(2), torch.Generator().manual_seed(5)
    known = (0.2 + 0.6 * torch.rand(2, 1, 8, 8, generator=generator, dtype=y.dtype)).requires_grad_()

    def value(known: Tensor) -> Tensor:
        return (weights * diffpir_inpaint(NETWORK, y, known, noise_for(2), steps=3)).sum()

    with checkpointing(active):
        (gradient,) = torch.autograd.grad(value(known), known)
    direction = torch.randn(known.shape, generator=generator, dtype=y.dtype)
    with torch.no_grad():
        slope = (value(known + 1e-6 * direction) - value(known - 1e-6 * direction)) / 2e-6
    assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-5)


# Masks


def test_every_pixel_is_hidden_with_the_probability_asked_for() -> None:
    x, noise = torch.zeros(600, 3, 13, 9), Noise(0, "cells", [str(row) for row in range(600)])
    for share, cell in ((0.3, 3), (0.7, 2), (0.1, 1)):
        often = jittered_cells(x, share, cell, noise).mean(0)[0]
        assert often.mean().item() == pytest.approx(share, abs=0.01)
        assert (often - share).abs().max() < 5 * math.sqrt(share * (1 - share) / 600)


def test_hidden_cells_are_squares_that_the_border_may_cut() -> None:
    x, cell = torch.zeros(20, 3, 24, 17), 4
    for mask in jittered_cells(x, 0.25, cell, noise_for(20))[:, 0].numpy() == 1:
        wide = np.pad(mask, cell, mode="edge")
        opened = scipy.ndimage.binary_opening(wide, np.ones((cell, cell)))
        assert np.array_equal(opened[cell:-cell, cell:-cell], mask)
        assert 0 < mask.mean() < 0.5


def test_masks_are_drawn_per_image_and_replay() -> None:
    x, noise = torch.zeros(5, 3, 16, 16), noise_for(5)
    first = jittered_cells(x, 0.3, 4, noise)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first[2:3], jittered_cells(x[2:3], 0.3, 4, noise_for(5).select([2])))
    assert not torch.equal(first, jittered_cells(x, 0.3, 4, noise)), "a second call must be a new draw"


# Errors


@pytest.mark.parametrize(
    ("known", "error", "message"),
    [
        (torch.ones(2, 3, 8, 8), ValueError, r"got \(2, 3, 8, 8\)"),
        (torch.ones(1, 1, 8, 8), ValueError, r"\(2, 1, 8, 8\), got \(1, 1, 8, 8\)"),
        (torch.ones(2, 1, 8, 8, dtype=torch.bool), TypeError, "use known.to"),
        (torch.full((2, 1, 8, 8), 2.0), ValueError, r"lie in \[0, 1\].*from 2 to 2"),
    ],
)
def test_masks_that_do_not_fit_are_explained(known: Tensor, error: type[Exception], message: str) -> None:
    denoise: Denoise = NETWORK
    with pytest.raises(error, match=message):
        diffpir_inpaint(denoise, pictures(2), known, noise_for(2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 1}, "2 to 500 steps, got 1"),
        ({"steps": 501, "spacing": "uniform"}, "2 to 500 steps, got 501"),
        ({"resamplings": 0}, "resamplings must be at least 1, got 0"),
        ({"regularisation": 0.0}, "regularisation must be above 0, got 0"),
        ({"zeta": 1.1}, r"zeta must be in \[0, 1\], got 1.1"),
        ({"noise_level": -0.1}, r"noise_level must be in \[0, 1\].*got -0.1"),
    ],
)
def test_bad_numbers_are_explained_by_the_function_too(fields: dict[str, Any], message: str) -> None:
    y = pictures(1)
    with pytest.raises(ValueError, match=message):
        diffpir_inpaint(NETWORK, y, left_half(y), noise_for(1), **fields)


@pytest.mark.parametrize("fields", [{"steps": 1}, {"steps": 501}, {"hidden": 0.0}, {"hidden": 1.0}, {"zeta": 1.1}])
def test_bad_settings_are_explained(fields: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=f"diffpir_inpaint.{next(iter(fields))}"):
        DiffPIRInpaint.make(**fields)
