"""Superpixels against scikit-image, and where it returns fewer than asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import label
from skimage.segmentation import slic
from torch import Tensor

from lustral.purifiers.superpixels import superpixels
from tests.contracts.purifiers import images


def numbers(labels: Tensor) -> list[int]:
    return labels.unique().tolist()


@pytest.mark.parametrize("count", [1, 5, 15, 60])
def test_they_are_those_of_scikit_image_numbered_without_gaps(count: int) -> None:
    image = images(1, 32, 24)[0]
    found = superpixels(image, (count,))[0]
    assert found.shape == (32, 24)
    assert found.dtype == torch.int64
    assert numbers(found) == list(range(int(found.max()) + 1))
    theirs = slic(image.permute(1, 2, 0).double().numpy(), n_segments=count, compactness=10)
    pairs = set(zip(found.flatten().tolist(), theirs.ravel().tolist(), strict=True))
    assert len(pairs) == len(numbers(found)) == len(np.unique(theirs)), "the two partitions are one"


def test_several_scales_are_those_of_each_alone() -> None:
    image = images(1, 32, 24)[0] * 0.5 + 0.2
    found = superpixels(image, (5, 60, 15))
    assert found.shape == (3, 32, 24)
    for labels, count in zip(found, (5, 60, 15), strict=True):
        assert torch.equal(labels, superpixels(image, (count,))[0])


def test_they_follow_edges_and_are_connected() -> None:
    image = torch.zeros(3, 24, 24)
    image[0, :, :9] = 1  # red beside blue, off the middle
    image[2, :, 9:] = 1
    found = superpixels(image, (8,))[0]
    assert not set(numbers(found[:, :9])) & set(numbers(found[:, 9:]))
    assert len(numbers(found)) > 2
    for number in numbers(found):
        assert label((found == number).numpy())[1] == 1


def test_compactness_makes_squares() -> None:
    image, squares = images(1, 32, 32)[0], torch.arange(32).div(16, rounding_mode="floor")
    blocks = squares[:, None] * 2 + squares
    found = superpixels(image, (4,), compactness=1e6)[0]
    assert torch.equal(found, blocks)
    assert not torch.equal(superpixels(image, (4,), compactness=1.0)[0], blocks)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (1, 9), (8, 8), (9, 7)])
@pytest.mark.parametrize("kind", ["noise", "black", "grey"])
def test_small_and_flat_images_have_fewer_than_asked_and_at_least_one(height: int, width: int, kind: str) -> None:
    value = {"black": 0.0, "grey": 0.5}
    image = torch.full((3, height, width), value[kind]) if kind in value else images(1, height, width)[0]
    for count in (1, 5, 300):
        found = superpixels(image, (count,))[0]
        assert numbers(found) == list(range(int(found.max()) + 1))
        assert len(numbers(found)) <= height * width
    assert len(numbers(superpixels(images(1, 8, 8)[0], (5,))[0])) < 5


def test_they_depend_on_the_image_alone_and_carry_no_gradient() -> None:
    image = images(1, 20, 20)[0].requires_grad_()
    before = image.detach().clone()
    found = superpixels(image, (9,))[0]
    assert not found.requires_grad
    assert torch.equal(image, before)
    for other in (image, image.detach().double(), image.detach().permute(1, 2, 0).contiguous().permute(2, 0, 1)):
        assert torch.equal(superpixels(other, (9,))[0], found)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one RGB image.*x\[0\]"):
        superpixels(images(1, 8, 8), (5,))[0]
    with pytest.raises(ValueError, match="one RGB image"):
        superpixels(torch.zeros(1, 8, 8), (5,))[0]
    with pytest.raises(ValueError, match="at least 1"):
        superpixels(images(1, 8, 8)[0], (0,))[0]
