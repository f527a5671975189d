import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from lustral.data import builtin
from lustral.data.base import MissingData
from lustral.data.builtin import PHOTOGRAPHS, photograph, resized_to
from lustral.data.scenes import FLAT, PIXELS, Scenes
from lustral.data.tiles import luma, tiles


@pytest.fixture(scope="module")
def splits():
    return {split: Scenes(split=split).load() for split in ("train", "test")}


def painted(split, name, shape):
    """Pixels of one photograph that images of the split cover, from their ids alone."""
    covered = np.zeros(shape, dtype=bool)
    for identity in split.ids:
        _, owner, place = identity.split("/")
        if owner == name:
            row, column = map(int, place.split("-"))
            covered[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] = True
    return covered


def test_no_test_pixel_is_in_a_training_tile_and_images_are_what_their_ids_say(splits):
    for name in PHOTOGRAPHS:
        pixels = resized_to(photograph(name), PIXELS)
        train, test = (painted(splits[split], name, pixels.shape[:2]) for split in ("train", "test"))
        assert test.any()
        assert train.any()
        assert not (train & test).any()
        for split in splits.values():
            for identity, image in zip(split.ids, split.images, strict=True):
                if f"/{name}/" in identity:
                    row, column = map(int, identity.rsplit("/", 1)[1].split("-"))
                    np.testing.assert_array_equal(image, pixels[row * 32 :, column * 32 :][:32, :32])


def test_no_patch_is_in_both_splits(splits):
    train, test = ({image.tobytes() for image in split.images} for split in splits.values())
    assert not train & test


def test_there_are_ten_classes_of_usable_size(splits):
    train, test = splits["train"], splits["test"]
    assert train.classes == tuple(PHOTOGRAPHS)
    assert (len(train), len(test)) == (2222, 560)
    assert np.bincount(train.truth, minlength=10).min() >= 100
    assert np.bincount(test.truth, minlength=10).min() >= 25
    assert all(PHOTOGRAPHS[identity.split("/")[1]] for identity in test.ids)


def test_labels_are_the_photograph_of_the_id(splits):
    for split in splits.values():
        assert [split.classes[label] for label in split.truth] == [identity.split("/")[1] for identity in split.ids]


def test_flat_tiles_are_dropped_and_only_those(splits):
    assert min(luma(image).std() for split in splits.values() for image in split.images) >= FLAT
    pixels = resized_to(photograph("retina"), PIXELS)
    textured = sum(luma(tile.cut(pixels)).std() >= FLAT for tile in tiles(pixels, 32))
    assert textured == sum("/retina/" in identity for split in splits.values() for identity in split.ids)
    assert textured < len(tiles(pixels, 32))


def test_the_photograph_can_be_told_from_the_patch(splits):
    """Nearest neighbour by colour histogram: no training, yet far above the 10 % of guessing."""
    features = {}
    for name, split in splits.items():
        bins = split.stack().reshape(len(split), -1, 3) // 16 + 16 * np.arange(3)
        rows = [np.bincount(image.ravel(), minlength=48) for image in bins]
        features[name] = np.sqrt(np.stack(rows) / 1024)
    distance = ((features["test"][:, None] - features["train"][None]) ** 2).sum(-1)
    found = splits["train"].truth[distance.argmin(1)] == splits["test"].truth
    assert 0.85 < found.mean() < 0.99


def test_two_loads_are_the_same_set(splits):
    assert Scenes().load().fingerprint() == splits["test"].fingerprint()


def test_nothing_is_downloaded(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert len(Scenes(count=20).load()) == 20


def test_an_absent_photograph_is_an_error_that_names_it_and_not_a_download(monkeypatch):
    monkeypatch.setitem(builtin.PHOTOGRAPHS, "chelsea", "no_such_cat.png")
    with pytest.raises(MissingData, match=r"no_such_cat\.png.*pip install scikit-image"):
        Scenes().load()


def test_grey_photographs_have_three_equal_channels():
    pixels = np.asarray(photograph("grass"))
    assert pixels.shape == (512, 512, 3)
    assert (pixels == pixels[..., :1]).all()


def test_no_two_test_tiles_share_an_edge_and_one_in_five_is_for_testing():
    grid = tiles(np.zeros((320, 320, 3), np.uint8), 32)
    places = {(tile.row, tile.column) for tile in grid if tile.split == "test"}
    assert len(places) == len(grid) / 5
    assert not any((row + 1, column) in places or (row, column + 1) in places for row, column in places)


def test_every_photograph_is_where_scikit_image_keeps_it():
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    assert all((folder / file).is_file() for file in PHOTOGRAPHS.values())
