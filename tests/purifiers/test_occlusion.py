"""Occlusion sensitivity against closed forms of linear targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lustral import steps
from lustral.purifiers import occlusion
from lustral.purifiers.occlusion import fillings
from lustral.purifiers.smoothing import gaussian
from lustral.purifiers.superpixels import superpixels
from tests.contracts.purifiers import images, smooth_classifier

IMAGE = images(1, 12, 10, torch.float64)[0]
LABELS = superpixels(IMAGE, (2, 9, 20))
COUNTS = [int(part.max()) + 1 for part in LABELS]
WEIGHTS = torch.randn(3, 12, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def linear(x: Tensor) -> Tensor:
    return torch.stack([(image * WEIGHTS).sum() for image in x])  # image by image: the same for every batch


def margin(scale: float, shift: float = 0.0) -> Callable[[Tensor], Tensor]:
    """Logits of two classes whose difference is linear: the second class is ahead by it."""
    return lambda x: torch.stack([torch.zeros(len(x), dtype=x.dtype), scale * linear(x) + shift], 1)


def filled(imputer: Any) -> Tensor:
    chances = torch.rand(sum(COUNTS), generator=torch.Generator().manual_seed(2))
    return fillings(IMAGE, imputer, chances=chances)


def sensitivity(
    image: Tensor, labels: Tensor, target: Callable[[Tensor], Tensor], filling: Tensor, batch: int = 32
) -> Tensor:
    """The maps (s, h, w) of one image."""
    return occlusion.sensitivity(image[None], labels[None], target, [filling], batch)[0]


def closed_form(filling: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Maps from the difference that hiding a region makes to the linear function, region by region."""
    found, region = torch.zeros(LABELS.shape, dtype=torch.float64), 0
    for scale, labels in enumerate(LABELS):
        for number in range(COUNTS[scale]):
            patch = (filling[0] if len(filling) == 1 else filling[region]).expand(3, 12, 10)
            inside = labels == number
            found[scale][inside] = change(((patch - IMAGE) * WEIGHTS)[:, inside].sum())
            region += 1
    return found


def test_the_example_has_several_regions_at_each_scale() -> None:
    assert len(set(COUNTS)) == 3
    assert min(COUNTS) > 1


@pytest.mark.parametrize("imputer", ["blur", "zero", "histogram"])
def test_that_of_a_linear_score_is_what_the_region_contributes(imputer: str) -> None:
    found = sensitivity(IMAGE, LABELS, linear, filled(imputer))
    torch.testing.assert_close(found, closed_form(filled(imputer), torch.abs), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_that_of_a_classifier_is_the_drop_of_the_probability_of_what_it_sees(sign: int) -> None:
    lead = margin(0.1 * sign)(IMAGE[None])[0, 1]
    towards = 1 if lead > 0 else -1  # the class seen is the second or the first
    expected = closed_form(
        filled("zero"), lambda d: (lead * towards).sigmoid() - ((lead + 0.1 * sign * d) * towards).sigmoid()
    )
    assert expected.min() < -1e-3, "hiding some regions makes it surer"
    assert expected.max() > 1e-3
    found = sensitivity(IMAGE, LABELS, margin(0.1 * sign), filled("zero"))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_classifier_sure_beyond_rounding_still_shows_what_matters() -> None:
    certain = margin(0.1, 60.0)
    assert certain(IMAGE[None]).softmax(1)[0, 1] == 1
    lead = certain(IMAGE[None])[0, 1]
    expected = closed_form(filled("zero"), lambda d: (-(lead + 0.1 * d)).exp() - (-lead).exp())
    found = sensitivity(IMAGE, LABELS, certain, filled("zero"))
    assert float(found.abs().max()) < 1e-20
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-38)


@pytest.mark.parametrize("imputer", ["blur", "histogram"])
@pytest.mark.parametrize("target", [linear, margin(1.0)])
def test_the_batch_size_changes_no_bit(target: Callable[[Tensor], Tensor], imputer: str) -> None:
    whole = sensitivity(IMAGE, LABELS, target, filled(imputer), batch=1000)
    for batch in (1, 2, 7, sum(COUNTS), sum(COUNTS) + 1):
        assert torch.equal(sensitivity(IMAGE, LABELS, target, filled(imputer), batch=batch), whole)


@pytest.mark.parametrize("batch", [1, 4, 7, 1000])
def test_all_scales_share_batches_of_one_size_and_each_pass_is_a_step(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    made = 0

    def step(function: Callable[..., Any], *inputs: Tensor) -> Any:
        nonlocal made
        made += 1
        return function(*inputs)

    monkeypatch.setattr(steps, "step", step)
    sensitivity(IMAGE, LABELS, lambda x: seen.append(x) or linear(x), filled("zero"), batch)
    needed, sizes = sum(COUNTS) + 1, {len(x) for x in seen}
    assert made == len(seen) == -(-needed // batch)
    assert len(sizes) == 1
    assert sizes.pop() <= batch
    passed = torch.cat(seen)
    assert needed <= len(passed) < needed + len(seen)
    assert torch.equal(passed[0], IMAGE)
    assert all(torch.equal(spare, IMAGE) for spare in passed[needed:])
    areas = torch.cat([part.flatten().bincount() for part in LABELS])
    assert torch.equal((passed[1:needed] != IMAGE).any(1).sum((1, 2)), areas)


def test_each_scale_alone_gives_its_map() -> None:
    whole = sensitivity(IMAGE, LABELS, margin(1.0), filled("blur"))
    for scale in range(3):
        alone = sensitivity(IMAGE, LABELS[scale : scale + 1], margin(1.0), filled("blur"))
        torch.testing.assert_close(alone[0], whole[scale], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("imputer", ["blur", "histogram"])
def test_an_image_s_maps_are_the_same_among_others(imputer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shifted = IMAGE.roll(3, 2)
    labels = superpixels(shifted, (2, 9, 20))
    other = fillings(shifted, "zero")
    together = ([IMAGE, shifted, IMAGE], [LABELS, labels, LABELS], [filled(imputer), other, filled(imputer)])
    alone = [sensitivity(image, parts, margin(1.0), filling) for image, parts, filling in zip(*together, strict=True)]
    for most in (1, 2, 16):
        monkeypatch.setattr(occlusion, "_TOGETHER", most)
        found = occlusion.sensitivity(torch.stack(together[0]), torch.stack(together[1]), margin(1.0), together[2])
        assert torch.equal(found, torch.stack(alone))


def test_what_the_imputer_leaves_as_it_is_does_not_matter() -> None:
    flat = torch.full((3, 16, 16), 0.25)
    labels = torch.arange(16)[None, :, None].expand(1, 16, 16)
    assert not sensitivity(flat, labels, smooth_classifier, flat[None]).any()
    assert sensitivity(flat, labels, smooth_classifier, fillings(flat, "zero")).any()


def test_a_single_superpixel_is_the_whole_image() -> None:
    found = sensitivity(IMAGE, torch.zeros(1, 12, 10, dtype=torch.int64), linear, fillings(IMAGE, "zero"))
    torch.testing.assert_close(found, linear(IMAGE[None]).abs().expand(1, 12, 10), rtol=1e-12, atol=0)


def test_no_gradient_and_no_graph() -> None:
    image, weights = IMAGE.clone().requires_grad_(), WEIGHTS.clone().requires_grad_()
    filling = fillings(image, "blur")
    found = sensitivity(image, LABELS, lambda x: (x * weights).sum((1, 2, 3)), filling)
    assert not filling.requires_grad
    assert not found.requires_grad


def test_blur_is_the_library_s_gaussian_and_keeps_the_type() -> None:
    image = images(1, 32, 40)[0]
    blurred = fillings(image, "blur")
    assert blurred.dtype == torch.float32
    torch.testing.assert_close(blurred, gaussian(image[None], 13, 2.0), rtol=0, atol=1e-6)
    tiny = images(1, 4, 5, torch.float64)[0]  # the window is larger than the image
    torch.testing.assert_close(fillings(tiny, "blur", 0.75), gaussian(tiny[None], 19, 3.0), rtol=0, atol=1e-12)
    torch.testing.assert_close(fillings(torch.ones(3, 9, 7), "blur"), torch.ones(1, 3, 9, 7), rtol=0, atol=0)


def test_the_histogram_s_colours_are_those_of_the_pixels_each_as_often_as_it_occurs() -> None:
    chances = (torch.arange(120) + 0.5) / 120
    colours = fillings(IMAGE, "histogram", chances=chances)[:, :, 0, 0]
    assert torch.equal(colours, IMAGE.flatten(1).T)
    assert torch.equal(fillings(IMAGE, "histogram", chances=torch.tensor([0.0, 1.0]))[1, :, 0, 0], IMAGE[:, -1, -1])
    assert torch.equal(fillings(IMAGE, "zero"), torch.zeros(1, 3, 1, 1, dtype=IMAGE.dtype))


def test_bad_arguments_are_refused() -> None:
    zero = fillings(IMAGE, "zero")
    with pytest.raises(ValueError, match="pass chances"):
        fillings(IMAGE, "histogram")
    with pytest.raises(ValueError, match="expected images"):
        occlusion.sensitivity(IMAGE, LABELS, linear, [zero])
    with pytest.raises(ValueError, match="n fillings"):
        occlusion.sensitivity(IMAGE[None], LABELS[None], linear, [zero, zero])
    with pytest.raises(ValueError, match="expected images"):
        sensitivity(IMAGE, LABELS[:, :5], linear, zero)
    with pytest.raises(ValueError, match="one for each of the"):
        sensitivity(IMAGE, LABELS, linear, zero.expand(2, 3, 1, 1))
    with pytest.raises(ValueError, match="at least 1"):
        sensitivity(IMAGE, LABELS, linear, zero, batch=0)
    with pytest.raises(ValueError, match="at least 2 classes"):
        sensitivity(IMAGE, LABELS, lambda x: linear(x)[:, None], zero)
