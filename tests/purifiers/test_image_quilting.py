"""Image quilting: the search against an exhaustive one, seams against all paths, stitching one patch at a time."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lustral.data import parse_data
from lustral.purifiers import ImageQuilting
from lustral.purifiers.quilting import PatchBank, cut_patches, right_of_seam, stitch
from lustral.settings import SettingsError
from tests.contracts.purifiers import PurifierContract
from tests.purifiers.test_input_transformations import apply, photographs


class TestSmallPatches(PurifierContract):
    cases = (ImageQuilting(patches=100, side=4, overlap=1, neighbours=3),)


def test_nearest_patches_are_those_of_an_exhaustive_search() -> None:
    rng = np.random.default_rng(0)
    bank, wanted = (rng.integers(0, 256, (count, 3, 5, 5), dtype=np.uint8) for count in (700, 60))
    distances = ((wanted[:, None].astype(int) - bank.astype(int)) ** 2).sum(axis=(2, 3, 4))  # (60, 700)
    for neighbours in (1, 4):
        found = PatchBank(bank).nearest(torch.from_numpy(wanted), neighbours).numpy()
        expected = np.sort(distances, axis=1)[:, :neighbours]
        assert np.array_equal(np.take_along_axis(distances, found, axis=1), expected)


def test_patches_are_cut_evenly_from_all_pictures() -> None:
    pictures = [np.arange(h * w * 3, dtype=np.uint8).reshape(h, w, 3) for h, w in ((4, 5), (2, 9), (3, 3))]
    every = [
        picture[row : row + 3, column : column + 3].transpose(2, 0, 1)
        for picture in (pictures[0], pictures[2])
        for row in range(picture.shape[0] - 2)
        for column in range(picture.shape[1] - 2)
    ]
    assert np.array_equal(cut_patches(pictures, 3, 100), np.stack(every))
    assert np.array_equal(cut_patches(pictures, 3, 3), np.stack([every[index] for index in (0, 2, 4)]))
    with pytest.raises(ValueError, match="as large as a patch of 9 x 9"):
        cut_patches(pictures, 9, 3)


def seam_cost(error: np.ndarray, path: tuple[int, ...]) -> int:
    return int(sum(error[row, column] for row, column in enumerate(path)))


@pytest.mark.parametrize(("length", "width"), [(1, 2), (4, 2), (5, 3), (4, 4)])
def test_the_seam_is_the_cheapest_of_all_paths(length: int, width: int) -> None:
    paths = [
        path
        for path in itertools.product(range(width), repeat=length)
        if all(abs(a - b) <= 1 for a, b in itertools.pairwise(path))
    ]
    errors = np.random.default_rng(0).integers(0, 6, (20, length, width))
    for error, right in zip(errors, right_of_seam(errors), strict=True):
        path = tuple(int(row.argmax()) for row in right)
        assert all((row == (np.arange(width) >= first)).all() for row, first in zip(right, path, strict=True))
        assert path in paths
        assert seam_cost(error, path) == min(seam_cost(error, other) for other in paths)


@pytest.mark.parametrize(
    ("rows", "columns", "side", "overlap"), [(3, 4, 5, 2), (1, 1, 5, 2), (4, 2, 4, 2), (2, 5, 3, 1)]
)
def test_stitching_at_the_same_time_equals_stitching_one_after_the_other(
    rows: int, columns: int, side: int, overlap: int
) -> None:
    patches = np.random.default_rng(0).integers(0, 256, (2, rows, columns, 3, side, side), dtype=np.uint8)
    stride = side - overlap
    expected = np.zeros((2, 3, rows * stride + overlap, columns * stride + overlap), dtype=int)
    for image, row, column in itertools.product(range(2), range(rows), range(columns)):
        window = expected[image, :, row * stride : row * stride + side, column * stride : column * stride + side]
        new = patches[image, row, column].astype(int)
        error = ((new - window) ** 2).sum(axis=0)
        keep = np.ones((side, side), dtype=bool)
        if column:
            keep[:, :overlap] &= right_of_seam(error[:, :overlap])
        if row:
            keep[:overlap] &= right_of_seam(error[:overlap].T).T
        window[:] = np.where(keep, new, window)
    assert np.array_equal(stitch(patches, overlap), expected)


def quilting_from(folder: Path, **fields: object) -> ImageQuilting:
    found = parse_data(f"folder:path={folder}").load().fingerprint()
    return ImageQuilting.make(photographs=f"folder:path={folder}", fingerprint=found, **fields)


def test_an_image_whose_patches_are_all_in_the_bank_comes_back(tmp_path: Path) -> None:
    x = photographs(20, 23)
    for row, image in enumerate(x):
        Image.fromarray(image.mul(255).round().byte().permute(1, 2, 0).numpy()).save(tmp_path / f"{row}.png")
    settings = quilting_from(tmp_path)
    torch.testing.assert_close(apply(settings, x + 0.4 / 255), x, rtol=0, atol=1e-6)
    y = apply(quilting_from(tmp_path, neighbours=5), x)
    assert not torch.equal(y, x)
    assert (y - x).abs().mean() < 0.1


def test_every_patch_of_a_quilt_without_neighbours_is_in_the_bank() -> None:
    x = photographs(5, 5)  # one patch only
    bank = {patch.tobytes() for patch in ImageQuilting(patches=2000, neighbours=3).build().networks[0].patches.numpy()}
    y = apply(ImageQuilting(patches=2000, neighbours=3), x)
    assert len(bank) > 1900
    assert all(patch.mul(255).round().byte().numpy().tobytes() in bank for patch in y)


def test_a_bank_of_other_pictures_is_an_error_that_names_their_fingerprint(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9, 3), dtype=np.uint8)).save(tmp_path / "black.png")
    right = quilting_from(tmp_path).fingerprint
    with pytest.raises(ValueError, match=f"set fingerprint={right}"):
        ImageQuilting(photographs=f"folder:path={tmp_path}").build()
    with pytest.raises(ValueError, match="expected at least 30 patches to choose from, got 25"):
        quilting_from(tmp_path, neighbours=30).build()
    with pytest.raises(SettingsError, match="at most half of the side, 5"):
        ImageQuilting.make(overlap=3)
