"""Masks against brute force: all partitions of a map's values, all pixels of a grid."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import torch
from torch import Tensor

from lustral.purifiers.masks import cluster_mask, contextual_cues, threshold_mask
from tests.contracts.purifiers import noise_for


def piecewise(values: list[float], seed: int = 0) -> Tensor:
    """A map 12 x 12 that shows all of the values, some more often than others."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(144, generator=generator, dtype=torch.float64).pow(2).mul(len(values)).long()
    places[: len(values)] = torch.arange(len(values))
    return torch.tensor(values, dtype=torch.float64)[places].view(12, 12)


def squares(part: Tensor) -> float:
    return float((part - part.mean()).square().sum())


def best_split(sensitivity: Tensor, clusters: int) -> list[Tensor]:
    """The pixels in ascending order, split into intervals with the least sum of squares, by trying all of them."""
    pixels, found = sensitivity.flatten().sort().values, sensitivity.unique()
    cuts = [int((pixels < value).sum()) for value in found[1:]]
    splits = [[0, *chosen, len(pixels)] for chosen in combinations(cuts, clusters - 1)]
    parts = [[pixels[a:b] for a, b in pairwise(split)] for split in splits]
    return min(parts, key=lambda split: sum(map(squares, split)))


@pytest.mark.parametrize("clusters", [2, 3, 5, 7])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clusters_are_those_with_the_least_squares_of_all(clusters: int, seed: int) -> None:
    values = torch.randn(9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).pow(3)
    sensitivity = piecewise(values.tolist(), seed)
    parts = best_split(sensitivity, clusters)
    for top in range(1, clusters):
        assert torch.equal(cluster_mask(sensitivity, clusters, top), sensitivity >= parts[-top].min())


@pytest.mark.parametrize(("scale", "shift"), [(1e-7, 0.0), (40.0, 3.0), (0.01, 1e4)])
def test_scale_and_shift_change_no_cluster(scale: float, shift: float) -> None:
    sensitivity = piecewise([0, 0.1, 0.15, 0.5, 0.52, 0.9, 1.0])
    expected = cluster_mask(sensitivity, 3, 1)
    assert torch.equal(expected, sensitivity >= 0.9)
    assert torch.equal(cluster_mask(scale * sensitivity + shift, 3, 1), expected)
    assert torch.equal(cluster_mask((scale * sensitivity).float(), 3, 1), expected)


def test_maps_of_few_values_keep_something_unmasked() -> None:
    assert not cluster_mask(torch.full((6, 6), 0.3), 5, 2).any()
    two = piecewise([0.1, 0.7])
    assert torch.equal(cluster_mask(two, 5, 4), two == 0.7)
    three = piecewise([0.1, 0.2, 0.7])
    assert torch.equal(cluster_mask(three, 7, 2), three >= 0.2)
    assert torch.equal(cluster_mask(three, 7, 1), three == 0.7)


@pytest.mark.parametrize("size", [(32, 32), (9, 7)])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.3])
def test_thresholds_mask_the_stated_share_of_most_sensitive_pixels(share: float, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(4)
    for sensitivity in (torch.randn(size, generator=generator), torch.randint(0, 4, size, generator=generator).float()):
        mask = threshold_mask(sensitivity, share)
        assert int(mask.sum()) == round(share * sensitivity.numel())
        assert sensitivity[mask].min() >= sensitivity[~mask].max()


def test_equal_sensitivities_are_taken_in_reading_order() -> None:
    sensitivity = torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.0, 1.0]])
    assert threshold_mask(sensitivity, 0.5).tolist() == [[False, True, True], [True, False, False]]
    assert int(threshold_mask(torch.zeros(3, 3), 0.01).sum()) == 1, "at least one pixel"


def test_without_jitter_cues_are_a_square_grid() -> None:
    masks = torch.ones(2, 11, 9, dtype=torch.bool)
    masks[0, :, 4:] = False
    found = contextual_cues(masks, 4, 2, 0, noise_for(2))
    for n in range(2):
        for row in range(11):
            for column in range(9):
                cue = row % 4 < 2 and column % 4 < 2
                assert found[n, row, column] == (masks[n, row, column] and not cue)


def test_cues_only_unmask_and_come_from_the_noise_of_their_image() -> None:
    masks = torch.rand(5, 24, 17, generator=torch.Generator().manual_seed(6)) < 0.6
    before = masks.clone()
    noise = noise_for(5)
    found = contextual_cues(masks, 5, 2, 2, noise)
    assert noise.step == 1
    assert torch.equal(masks, before)
    assert not (found & ~masks).any()
    assert all((found[row] != masks[row]).any() for row in range(5))
    assert torch.equal(contextual_cues(masks, 5, 2, 2, noise_for(5)), found)
    for row in range(5):
        alone = contextual_cues(masks[row : row + 1], 5, 2, 2, noise_for(5).select([row]))
        assert torch.equal(alone[0], found[row])
    full = torch.ones_like(masks)
    known = [~contextual_cues(full, 5, 2, 2, noise_for(5, seed=seed)) for seed in (0, 1)]
    pictures = [picture for batch in known for picture in batch]
    assert not any(torch.equal(one, other) for one, other in combinations(pictures, 2))


def test_each_square_is_moved_by_up_to_the_jitter_along_both_axes() -> None:
    count, pitch, cell, jitter = 300, 20, 3, 4
    known = ~contextual_cues(torch.ones(count, 40, 40, dtype=torch.bool), pitch, cell, jitter, noise_for(count))
    inner = known[:, pitch - jitter :, pitch - jitter :]  # the square of the grid point (20, 20) alone
    assert (inner.sum((1, 2)) == cell**2).all()
    rows, columns = inner.any(2).int().argmax(1), inner.any(1).int().argmax(1)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) <= {(r, c) for r in range(9) for c in range(9)}
    for places in (rows, columns):
        shares = places.bincount(minlength=9) / count
        assert (shares - 1 / 9).abs().max() < 0.07, "four standard deviations"
    assert abs(float(torch.corrcoef(torch.stack([rows, columns]).double())[0, 1])) < 0.25
    corner = known[:, : pitch - jitter, : pitch - jitter]  # that of (0, 0) may be cut at the border, to nothing
    assert set(corner.sum((1, 2)).tolist()) == {a * b for a in (0, 1, 2, 3) for b in (0, 1, 2, 3)}


def test_bad_arguments_are_refused() -> None:
    masks = torch.ones(1, 8, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match="top=3 and clusters=3"):
        cluster_mask(torch.zeros(4, 4), 3, 3)
    with pytest.raises(ValueError, match="finite"):
        cluster_mask(torch.full((4, 4), float("nan")), 3, 1)
    with pytest.raises(ValueError, match=r"5 % = 0\.05"):
        threshold_mask(torch.zeros(4, 4), 5)
    with pytest.raises(ValueError, match="dtype bool"):
        contextual_cues(masks.float(), 4, 1, 1, noise_for(1))
    with pytest.raises(ValueError, match="pitch >= 1"):
        contextual_cues(masks, 0, 1, 1, noise_for(1))
    with pytest.raises(ValueError, match="made for 1 images"):
        contextual_cues(masks.expand(2, 8, 8), 4, 1, 1, noise_for(1))
