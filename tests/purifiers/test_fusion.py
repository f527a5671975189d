"""Fusion of sensitivity maps against a loop over regions and pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lustral.purifiers.fusion import WEIGHTS, fuse, stretch


def draw(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 6, (3, 9, 7), generator=generator)
    labels[:, 0, :6] = torch.arange(6)  # every number is in use
    scores = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    return torch.stack([part[own] for part, own in zip(scores, labels, strict=True)]), labels


@pytest.mark.parametrize("weights", [WEIGHTS, (0.5, 0.3, 0.2), (2.0, 0.0, -1.0)])
def test_it_is_equation_4_1_with_means_over_the_pixels_of_a_region(weights: tuple[float, ...]) -> None:
    maps, labels = draw()
    expected = torch.zeros(9, 7, dtype=torch.float64)
    for region in range(6):
        places = [(r, c) for r in range(9) for c in range(7) if labels[0, r, c] == region]
        total = 0.0
        for weight, scale in zip(weights, maps, strict=True):
            total += weight * sum(float(scale[place]) for place in places) / len(places)
        for place in places:
            expected[place] = total
    torch.testing.assert_close(fuse(maps, labels[0], weights), expected, rtol=0, atol=1e-12)


def test_a_finer_superpixel_counts_by_the_area_it_shares() -> None:
    coarse = torch.tensor([[0, 0, 0, 0, 1, 1]])
    fine = torch.tensor([[[8.0, 8.0, 8.0, 0.0, 0.0, 0.0]]])
    assert fuse(fine, coarse, [1.0]).tolist() == [[6.0, 6.0, 6.0, 6.0, 0.0, 0.0]]


def test_the_coarse_map_is_kept_and_numbers_mean_nothing() -> None:
    maps, labels = draw()
    torch.testing.assert_close(fuse(maps[:1], labels[0], [1.0]), maps[0], rtol=0, atol=1e-12)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.equal(fuse(maps, order[labels[0]]), fuse(maps, labels[0]))


def test_table_5_6_gives_the_fine_scale_the_largest_weight() -> None:
    maps = torch.eye(3)[:, :, None].expand(3, 3, 4)[:, :1]  # only the first map is not zero
    assert fuse(maps, torch.zeros(1, 4, dtype=torch.int64)).unique().tolist() == pytest.approx([0.2])
    assert WEIGHTS == (0.2, 0.3, 0.5)


def test_a_single_region_and_another_type() -> None:
    maps, _ = draw()
    found = fuse(maps.float(), torch.zeros(9, 7, dtype=torch.int64))
    assert found.dtype == torch.float32
    expected = sum(weight * float(part.mean()) for weight, part in zip(WEIGHTS, maps, strict=True))
    torch.testing.assert_close(found, torch.full((9, 7), expected), rtol=0, atol=1e-6)


def test_stretched_maps_fill_the_range_and_keep_their_order() -> None:
    maps, _ = draw()
    found = stretch(maps)
    assert found.amin((1, 2)).tolist() == [0, 0, 0]
    assert found.amax((1, 2)).tolist() == [1, 1, 1]
    for before, after in zip(maps, found, strict=True):
        assert torch.equal(before.flatten().argsort(stable=True), after.flatten().argsort(stable=True))
    assert not stretch(torch.full((2, 3, 3), -4.0)).any()


def test_what_does_not_fit_is_refused() -> None:
    maps, labels = draw()
    with pytest.raises(ValueError, match="2 weights"):
        fuse(maps, labels[0], [1.0, 2.0])
    with pytest.raises(ValueError, match="expected maps"):
        fuse(maps, labels, [1.0, 2.0, 3.0])
