import io
import os

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from lustral.data import MissingData, parse_data
from lustral.data.folder import ClassFolder, Folder
from lustral.data.nips2017 import Nips2017


def paint(path, size=(8, 6), colour=(10, 20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_pictures_are_found_below_sorted_and_named_by_relative_path(tmp_path):
    for name in ("b.png", "a/z.png", "a/.hidden.png", ".cache/x.png", "c.PNG"):
        paint(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    images = Folder(path=str(tmp_path)).load()
    assert images.ids == ("folder/a/z.png", "folder/b.png", "folder/c.PNG")
    assert images.images[0].shape == (6, 8, 3)
    assert images.images[0][0, 0].tolist() == [10, 20, 30]
    assert np.isnan(images.truth).all()


def test_side_keeps_the_centre_square(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    paint(tmp_path / "tall.png", (7, 31))
    same, larger = (Folder(path=str(tmp_path), side=side).load().images for side in (10, 16))
    assert [image.shape for image in (*same, *larger)] == [(10, 10, 3)] * 2 + [(16, 16, 3)] * 2
    assert (same[1] == 255).all()


def test_class_folders_give_labels_and_splits(tmp_path):
    for split, name in (("train", "dog/1.png"), ("train", "cat/2.png"), ("test", "cat/3.png"), ("test", "dog/4.png")):
        paint(tmp_path / split / name)
    train, test = (ClassFolder(path=str(tmp_path), split=split).load() for split in ("train", "test"))
    assert train.classes == test.classes == ("cat", "dog")
    assert train.ids == ("class_folder/train/cat/2.png", "class_folder/train/dog/1.png")
    assert test.truth.tolist() == [0, 1]
    flat = ClassFolder(path=str(tmp_path / "test")).load()
    assert flat.ids[0] == "class_folder/cat/3.png"
    with pytest.raises(MissingData, match="no folders train and test"):
        ClassFolder(path=str(tmp_path / "test"), split="train").load()
    paint(tmp_path / "test" / "loose.png")
    with pytest.raises(ValueError, match=r"loose\.png lies outside the class folders"):
        ClassFolder(path=str(tmp_path)).load()


def test_empty_or_absent_folders_and_broken_pictures_are_named(tmp_path):
    with pytest.raises(MissingData, match="has no picture in it"):
        Folder(path=str(tmp_path)).load()
    with pytest.raises(MissingData, match="nowhere is not a folder"):
        parse_data(f"folder:path={tmp_path / 'nowhere'}").load()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken\.png"):
        Folder(path=str(tmp_path)).load()


def test_nips2017_gives_labels_or_targets_of_the_same_images(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (299, 299)).save(file, "JPEG")
    columns = {"image": [file.getvalue()] * 2, "label": [388, 0], "target": [962, 999], "image_id": ["0a", "0b"]}
    parquet.write_table(arrow.table(columns), tmp_path / "nips2017_dev_q95.parquet")
    labels, targets = (Nips2017(truth=truth, root=str(tmp_path)).load() for truth in ("label", "target"))
    assert labels.ids == targets.ids == ("nips2017/0a", "nips2017/0b")
    assert (labels.truth.tolist(), targets.truth.tolist()) == ([388, 0], [962, 999])
    with pytest.raises(MissingData, match="LUSTRAL_DATA"):
        Nips2017(root=str(tmp_path / "elsewhere")).load()


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("LUSTRAL_DATA"), reason="LUSTRAL_DATA is not set")
def test_the_real_nips2017_file_is_whole():
    images = Nips2017().load()
    assert len(images) == 1000
    assert {image.shape for image in images.images} == {(299, 299, 3)}
    assert images.truth.min() >= 0
    assert images.truth.max() <= 999
