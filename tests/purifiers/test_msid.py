"""MSID as a whole: what it hides, what it keeps, what it restores, and the surrogate for its mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lustral.diffusion.ideal import IdealDenoiser
from lustral.purifiers import MSID
from lustral.purifiers.fusion import fuse, stretch
from lustral.purifiers.masks import cluster_mask, threshold_mask
from lustral.purifiers.occlusion import fillings, sensitivity
from lustral.purifiers.soft_mask import soft_mask
from lustral.purifiers.superpixels import superpixels
from lustral.settings import SettingsError
from lustral.steps import watching
from tests.contracts.purifiers import noise_for, smooth_classifier

QUICK = MSID(
    scales=(4, 9), weights=(0.5, 0.5), clusters=3, top=1, cell=1, steps=2, resamplings=1, refine=0, blur=0.25, zeta=0.5
)


def quadrants(n: int = 2, side: int = 32) -> Tensor:
    """Four areas of different colours, so that superpixels follow them."""
    generator = torch.Generator().manual_seed(0)
    colours = 0.1 + 0.8 * torch.rand(n, 3, 2, 2, generator=generator, dtype=torch.float64)
    fine = 0.02 * torch.rand(n, 3, side, side, generator=generator, dtype=torch.float64)
    return torch.nn.functional.interpolate(colours, (side, side), mode="nearest") + fine


def corner(x: Tensor) -> Tensor:
    """Logits (n, 2) that depend on the mean of the upper left quadrant alone."""
    value = x[:, :, : x.shape[2] // 2, : x.shape[3] // 2].mean((1, 2, 3)) - 0.5
    return torch.stack([40 * value, -40 * value], 1)


def mask_of(settings: MSID, x: Tensor, target: object) -> Tensor:
    return 1 - settings._known(x, target, noise_for(len(x)))  # pyright: ignore[reportPrivateUsage, reportArgumentType]


def test_it_hides_the_region_that_the_target_looks_at_and_nothing_else() -> None:
    x = quadrants()
    hidden = mask_of(QUICK, x, corner)
    assert hidden[:, :, :16, :16].mean() > 0.5
    assert hidden[:, :, 18:].sum() == hidden[:, :, :, 18:].sum() == 0


def test_squares_of_the_grid_stay_known_inside_the_mask() -> None:
    x = quadrants(1)
    whole = mask_of(QUICK.model_copy(update={"pitch": 1024, "cell": 1, "jitter": 0}), x, corner)
    cued = mask_of(QUICK.model_copy(update={"pitch": 4, "cell": 2, "jitter": 0}), x, corner)
    assert bool((cued <= whole).all())
    assert cued[0, 0, 4:12, 4:12].mean() == 0.75


def test_what_is_not_hidden_stays_as_it_is_without_refinement() -> None:
    x = quadrants()
    known = QUICK._known(x, corner, noise_for(2))  # pyright: ignore[reportPrivateUsage]
    y = QUICK.build(target=corner)(x, noise_for(2))
    torch.testing.assert_close(known * y, known * x, rtol=0, atol=1e-12)
    assert float(((1 - known) * (y - x)).abs().amax()) > 0.05


def test_an_attacked_region_is_restored_from_the_others_by_a_perfect_denoiser() -> None:
    images = quadrants(6)
    x = images[:1].clone()
    x[:, :, :16, :16] += 0.1 * torch.randn(x[:, :, :16, :16].shape, generator=torch.Generator().manual_seed(1)).double()
    settings = QUICK.model_copy(
        update={"steps": 50, "resamplings": 5, "zeta": 1.0, "pitch": 1024, "mask": "threshold", "share": 0.3}
    )
    known = settings._known(x.clamp(0, 1), corner, noise_for(1))  # pyright: ignore[reportPrivateUsage]
    y = settings._restored(IdealDenoiser(2 * images - 1), x.clamp(0, 1), known, noise_for(1))  # pyright: ignore[reportPrivateUsage]
    torch.testing.assert_close((1 - known) * y, (1 - known) * images[:1], rtol=0, atol=1e-3)


def test_fusing_over_the_finest_scale_keeps_what_one_coarse_region_hides() -> None:
    x = quadrants(1)
    one = QUICK.model_copy(update={"scales": (1, 9)})
    assert not mask_of(one, x, corner).any()
    hidden = mask_of(one.model_copy(update={"regions": "finest"}), x, corner)
    assert hidden[:, :, :16, :16].mean() > 0.3
    assert hidden[:, :, 18:].sum() == hidden[:, :, :, 18:].sum() == 0


def test_refinement_comes_after_and_changes_known_pixels_too() -> None:
    x = quadrants(1)
    refined = QUICK.model_copy(update={"refine": 3}).build(target=corner)(x, noise_for(1))
    assert 0 < float((refined - x)[:, :, 20:, 20:].abs().mean()) < 0.1


def test_the_gradient_with_a_fixed_mask_misses_what_the_soft_one_has() -> None:
    x = quadrants(1).requires_grad_()
    weights = torch.linspace(0, 1, x.numel(), dtype=x.dtype).view_as(x)
    gradients = []
    for backward in ("fixed", "soft"):
        settings = QUICK.model_copy(update={"mask_backward": backward})
        y = settings.build(target=corner)(x, noise_for(1))
        gradients.append((torch.autograd.grad((weights * y).sum(), x)[0], y.detach()))
    (fixed, one), (soft, other) = gradients
    assert torch.equal(one, other)
    hidden = mask_of(QUICK, x.detach(), corner).bool().expand_as(x)
    assert not fixed[hidden].any(), "what hidden pixels held has no influence"
    assert soft[hidden].any(), "but they moved the mask"


def test_the_soft_mask_agrees_with_the_mask_and_its_gradient_is_that_of_its_values() -> None:
    image = quadrants(1)[0]
    labels = superpixels(image, (4, 9))
    filling = fillings(image, "blur", 0.25)
    (maps,) = sensitivity(image[None], labels[None], smooth_classifier, [filling])
    # The most sensitive region alone would not do: both maps are stretched to 1 there, whatever the image.
    mask = cluster_mask(fuse(stretch(maps), labels[0], (0.5, 0.5)), 3, 2)

    def soft(at: Tensor) -> Tensor:
        return soft_mask(at, labels, labels[0], smooth_classifier, filling, (0.5, 0.5), mask)

    assert torch.equal(soft(image) > 0.5, mask)
    sensitive = image.clone().requires_grad_()
    (slope,) = torch.autograd.grad(soft(sensitive)[mask].sum(), sensitive)
    assert float(slope.norm()) > 1e-3
    # The threshold and the spread count as constants, so the whole derivative is that of the sensitivities alone.
    fused = fuse(stretch(maps), labels[0], (0.5, 0.5))
    threshold, spread = (fused[mask].amin() + fused[~mask].amax()) / 2, fused.std()
    direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(2), dtype=image.dtype)

    def value(at: Tensor) -> Tensor:
        (moved,) = sensitivity(at[None], labels[None], smooth_classifier, [filling])
        moved = fuse(stretch(moved), labels[0], (0.5, 0.5))
        return ((moved - threshold) / spread).sigmoid()[mask].sum()

    difference = (value(image + 1e-6 * direction) - value(image - 1e-6 * direction)) / 2e-6
    assert float((slope * direction).sum()) == pytest.approx(float(difference), rel=1e-5)


def test_a_quality_metric_can_be_protected_too() -> None:
    y = QUICK.build(target=lambda x: corner(x)[:, 0])(quadrants(), noise_for(2))
    assert y.shape == (2, 3, 32, 32)


def test_an_image_in_which_nothing_stands_out_is_only_refined() -> None:
    x = torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64)
    assert torch.equal(QUICK.build(target=corner)(x, noise_for(1)), x)


def shown(settings: MSID, x: Tensor, target: Any = corner) -> tuple[dict[str, Tensor], Tensor]:
    """Pictures by name, and the result."""
    pictures: dict[str, Tensor] = {}

    def keep(event: str, facts: dict[str, Any]) -> None:
        if event == "picture":
            pictures[facts["name"]] = facts["x"]

    with watching(keep):
        return pictures, settings.build(target=target)(x, noise_for(len(x)))


def test_who_watches_sees_the_maps_the_mask_and_what_was_inpainted() -> None:
    x = quadrants()
    settings = QUICK.model_copy(update={"refine": 1})
    pictures, _ = shown(settings, x)
    assert list(pictures) == ["sensitivity 4", "sensitivity 9", "fused", "mask", "inpainted"]
    for picture in pictures.values():
        assert picture.shape == x.shape
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1
    for name in ("sensitivity 4", "sensitivity 9", "fused"):
        grey = pictures[name]
        assert torch.equal(grey[:, :1].expand_as(grey), grey)
        assert grey.amin((1, 2, 3)).tolist() == [0, 0]
        assert grey.amax((1, 2, 3)).tolist() == [1, 1]
        assert grey[:, :, 18:].sum() == 0, "the target looks at the upper left alone"
    hidden = mask_of(settings, x, corner).bool().expand_as(x)
    assert hidden.any()
    assert set(pictures["mask"][hidden].tolist()) == {0.5}
    assert torch.equal(pictures["mask"][~hidden], x[~hidden])
    assert torch.equal(pictures["inpainted"], shown(QUICK, x)[1])
    assert "inpainted" not in shown(QUICK, x)[0], "it is the result"


@pytest.mark.parametrize("backward", ["fixed", "soft"])
def test_watching_changes_no_bit_of_result_and_gradient(backward: str) -> None:
    settings = QUICK.model_copy(update={"refine": 1, "mask_backward": backward})
    found: list[tuple[Tensor, Tensor]] = []
    for is_watched in (False, True):
        x = quadrants(1).requires_grad_()
        y = shown(settings, x)[1] if is_watched else settings.build(target=corner)(x, noise_for(1))
        found.append((y.detach(), torch.autograd.grad(y.square().sum(), x)[0]))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_pixels_on_the_threshold_are_on_the_side_of_their_mask() -> None:
    """Shares cut a region of equal sensitivity in two; half way between equal numbers is the number itself."""
    image = quadrants(1)[0]
    labels = superpixels(image, (4,))
    filling = fillings(image, "blur", 0.25)
    fused = stretch(sensitivity(image[None], labels[None], smooth_classifier, [filling]))[0, 0]
    mask = threshold_mask(fused, 0.4)
    assert fused[mask].amin() == fused[~mask].amax(), "the problem should be cut in two"
    sensitive = image.clone().requires_grad_()
    soft = soft_mask(sensitive, labels, labels[0], smooth_classifier, filling, (1.0,), mask)
    assert torch.equal(soft > 0.5, mask)
    assert torch.equal(soft < 0.5, ~mask)
    assert torch.autograd.grad(soft[fused == fused[mask].amin()].sum(), sensitive)[0].any()


def test_squares_of_the_grid_have_no_derivative_wherever_the_mask_is() -> None:
    x = quadrants(1).requires_grad_()
    settings = QUICK.model_copy(update={"mask_backward": "soft", "pitch": 4, "cell": 2, "jitter": 0})
    known = settings._known(x, smooth_classifier, noise_for(1))  # pyright: ignore[reportPrivateUsage]
    inside = torch.arange(32) % 4 < 2
    squares = inside[:, None] & inside
    assert bool((known[0, 0][squares] == 1).all())
    assert not torch.autograd.grad(known[0, 0][squares].sum(), x, retain_graph=True)[0].any()
    assert torch.autograd.grad(known[0, 0][~squares].square().sum(), x)[0].any()


def test_slic_may_return_more_superpixels_than_asked_for() -> None:
    x = quadrants(1)
    assert int(superpixels(x[0], (500,)).max()) + 1 > 2 * 500 + 2
    settings = QUICK.model_copy(update={"scales": (500,), "weights": (1.0,), "imputer": "histogram"})
    assert mask_of(settings, x, corner).any()


def test_passes_are_those_for_as_many_superpixels_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def counted(x: Tensor, *_: Tensor) -> Tensor:
        nonlocal calls
        calls += len(x)
        return corner(x) if len(_) == 0 else x

    def grids(image: Tensor, counts: tuple[int, ...]) -> Tensor:
        places = [torch.arange(len(image[0])) * round(count**0.5) // len(image[0]) for count in counts]
        return torch.stack([place[:, None] * (place.max() + 1) + place for place in places])

    monkeypatch.setattr("lustral.purifiers.superpixels.superpixels", grids)
    x, settings = quadrants(1), QUICK.model_copy(update={"resamplings": 3, "refine": 2})
    known = settings._known(x, counted, noise_for(1))  # pyright: ignore[reportPrivateUsage]
    assert calls == 4 + 9 + 1
    settings._restored(counted, x, known, noise_for(1))  # pyright: ignore[reportPrivateUsage]
    assert calls == settings.passes == 4 + 9 + 1 + 3 + 1 + 4


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ({"scales": (5, 10)}, "expected a weight for each of 2 scales, got 3"),
        ({"scales": (15, 10, 5)}, r"scales must rise, coarse to fine, got 15\+10\+5"),
        ({"scales": (5, 5, 10)}, "scales must rise"),
        ({"weights": (0.0, 0.0, 0.0)}, "weights are all 0"),
        ({"top": 6}, "top must be below clusters, got top=6 and clusters=6"),
    ],
)
def test_settings_that_do_not_fit_together_are_errors(text: dict[str, object], match: str) -> None:
    with pytest.raises((SettingsError, ValueError), match=match):
        MSID.make(**text)
