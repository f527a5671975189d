import io
import os
import pickle
import struct

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from lustral.data import MissingData
from lustral.data.cifar import Cifar10, Cifar100
from lustral.data.cifar_batches import read_python

ROWS = 4


def text(value):
    """A short byte string as Python 2 pickled it."""
    return b"U" + bytes([len(value)]) + value


def integer(value):
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)


def official(pixels, labels, key=b"labels", kind=b"u1"):
    """A batch byte for byte as in the official archives: protocol 2, Python 2 strings, numpy 1 names."""
    shape = b"(" + b"".join(b"M" + struct.pack("<H", side) for side in pixels.shape) + b"t"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + integer(0) + b"\x85" + text(b"b") + b"\x87R"
    )
    plain = integer(-1) + integer(-1) + integer(0)
    dtype = b"cnumpy\ndtype\n" + text(kind) + integer(0) + integer(1) + b"\x87R(" + integer(3) + text(b"|") + b"NNN"
    dtype += plain + b"tb"
    data = pixels.tobytes()
    array += b"(" + integer(1) + shape + dtype + b"\x89" + b"T" + struct.pack("<i", len(data)) + data + b"tb"
    listed = b"](" + b"".join(map(integer, labels)) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(key) + listed + text(b"batch_label") + text(b"made up") + b"u."


def records(seed, classes):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (ROWS, 3072), dtype=np.uint8), random.integers(0, classes, ROWS).tolist()


def write_cifar10(root, layout):
    """Five training batches and a test batch in one of the official layouts; returns what they hold."""
    folder = root / layout
    folder.mkdir(parents=True)
    held = {}
    for number, name in enumerate([*(f"data_batch_{part}" for part in range(1, 6)), "test_batch"]):
        pixels, labels = held[name] = records(number, 10)
        if layout.endswith("py"):
            (folder / name).write_bytes(official(pixels, labels))
        else:
            rows = np.hstack([np.array(labels, np.uint8)[:, None], pixels])
            (folder / f"{name}.bin").write_bytes(rows.tobytes())
    return held


@pytest.mark.parametrize("layout", ["cifar-10-batches-py", "cifar-10-batches-bin"])
def test_official_cifar10_is_read_in_order(tmp_path, layout):
    held = write_cifar10(tmp_path, layout)
    train, test = (Cifar10(split=split, root=str(tmp_path)).load() for split in ("train", "test"))
    assert len(train) == 5 * ROWS
    assert test.ids == tuple(f"cifar10/test/{row}" for row in range(ROWS))
    assert train.truth.tolist() == [label for part in range(1, 6) for label in held[f"data_batch_{part}"][1]]
    assert train.truth.dtype == np.int64
    planes = held["data_batch_3"][0][1].reshape(3, 32, 32)
    for channel in range(3):
        np.testing.assert_array_equal(train.images[2 * ROWS + 1][..., channel], planes[channel])
    assert train.classes[:2] == ("airplane", "automobile")


def test_python_and_binary_versions_are_the_same_set(tmp_path):
    write_cifar10(tmp_path / "a", "cifar-10-batches-py")
    write_cifar10(tmp_path / "b", "cifar-10-batches-bin")
    first, second = (Cifar10(split="train", root=str(tmp_path / name)).load() for name in "ab")
    assert first.fingerprint() == second.fingerprint()


def test_batches_pickled_by_new_python_are_read_too(tmp_path):
    pixels, labels = records(0, 10)
    path = tmp_path / "test_batch"
    path.write_bytes(pickle.dumps({b"data": pixels, b"labels": labels}, protocol=4))
    images, found = read_python(path, b"labels", 10)
    np.testing.assert_array_equal(images.transpose(0, 3, 1, 2).reshape(ROWS, -1), pixels)
    assert found.tolist() == labels


@pytest.mark.parametrize("layout", ["python", "binary"])
def test_official_cifar100_gives_fine_labels(tmp_path, layout):
    pixels, labels = records(0, 100)
    (tmp_path / f"cifar-100-{layout}").mkdir()
    if layout == "python":
        (tmp_path / "cifar-100-python" / "test").write_bytes(official(pixels, labels, b"fine_labels"))
    else:
        fine = np.array(labels, np.uint8)[:, None]
        (tmp_path / "cifar-100-binary" / "test.bin").write_bytes(np.hstack([fine // 5, fine, pixels]).tobytes())
    images = Cifar100(root=str(tmp_path)).load()
    assert images.truth.tolist() == labels
    assert images.ids[0] == "cifar100/test/0"
    assert images.name == "cifar100 test"
    assert len(images.classes) == len(set(images.classes)) == 100
    np.testing.assert_array_equal(images.images[1].transpose(2, 0, 1).ravel(), pixels[1])


class Trap:
    def __reduce__(self):
        return (os.system, ("touch trap",))


@pytest.mark.parametrize(
    "payload",
    [
        pickle.dumps({b"data": Trap(), b"labels": []}),
        b"cos\nsystem\n(S'touch trap'\ntR.",
        b'cbuiltins\neval\n(S\'open("trap","w")\'\ntR.',
        b"cnumpy\nload\n(S'x'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
    ],
)
def test_a_batch_that_wants_to_run_code_is_refused(tmp_path, monkeypatch, payload):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "test_batch"
    path.write_bytes(payload)
    with pytest.raises(ValueError, match=r"test_batch is not an official CIFAR batch.*no place in a CIFAR batch"):
        read_python(path, b"labels", 10)
    assert not (tmp_path / "trap").exists()


def test_damaged_batches_are_named(tmp_path):
    pixels, labels = records(0, 10)
    path = tmp_path / "data_batch_1"
    whole = official(pixels, labels)
    for content, reason in {
        whole[:-500]: "damaged",
        b"": "damaged",
        b"\x80\x02].": "damaged",
        official(pixels, labels, b"fine_labels"): "KeyError",
        official(pixels, labels, kind=b"O8"): "array of bytes",
        official(pixels[:, :100], labels): "3072",
        official(pixels[:2], labels): "2 images but 4 labels",
        official(pixels, [*labels[:3], 10]): "labels 0 to 9",
    }.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"data_batch_1 .*{reason}"):
            read_python(path, b"labels", 10)


def test_reading_a_batch_leaves_the_byte_type_of_numpy_alone(tmp_path):
    pixels, labels = records(0, 10)
    (tmp_path / "test_batch").write_bytes(official(pixels, labels))
    read_python(tmp_path / "test_batch", b"labels", 10)
    assert np.dtype("u1") == np.uint8
    assert np.zeros(3, np.uint8).dtype is np.dtype("u1")


def test_a_cut_binary_batch_is_named(tmp_path):
    write_cifar10(tmp_path, "cifar-10-batches-bin")
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"test_batch\.bin is damaged: expected whole records of 3073"):
        Cifar10(root=str(tmp_path)).load()


def write_parquet(path, labels):
    cells = []
    for label in labels:
        file = io.BytesIO()
        Image.new("RGB", (32, 32), (label, 0, 255)).save(file, "WEBP", lossless=True)
        cells.append(file.getvalue())
    parquet.write_table(arrow.table({"image": cells, "label": arrow.array(labels, arrow.int16())}), path)


def test_parquet_shards_are_read_in_order_and_none_may_be_absent(tmp_path):
    for part in range(3):
        write_parquet(tmp_path / f"cifar10_train-0000{part}-of-00003.parquet", [part, part + 3])
    train = Cifar10(split="train", root=str(tmp_path)).load()
    assert train.truth.tolist() == [0, 3, 1, 4, 2, 5]
    assert train.images[3][0, 0].tolist() == [4, 0, 255]
    (tmp_path / "cifar10_train-00001-of-00003.parquet").unlink()
    with pytest.raises(MissingData, match="lacks cifar10_train-00001-of-00003"):
        Cifar10(split="train", root=str(tmp_path)).load()


def test_the_own_split_of_cifar100_says_so(tmp_path):
    write_parquet(tmp_path / "cifar100_test.parquet", [5, 99, 1, 2, 3, 4])
    images = Cifar100(root=str(tmp_path)).load()
    assert images.ids == ("cifar100/own/0", "cifar100/own/5")
    assert images.truth.tolist() == [5, 4]
    assert images.name == "cifar100 own split test"
    train = Cifar100(root=str(tmp_path), split="train").load()
    assert train.ids == tuple(f"cifar100/own/{row}" for row in (1, 2, 3, 4))


def test_missing_files_say_where_to_get_them_and_which_variable(tmp_path, monkeypatch):
    with pytest.raises(MissingData, match=r"none of: cifar-10-batches-py/test_batch.*cs\.toronto\.edu"):
        Cifar10(root=str(tmp_path)).load()
    monkeypatch.delenv("LUSTRAL_DATA", raising=False)
    with pytest.raises(MissingData, match=r"set LUSTRAL_DATA to the folder"):
        Cifar10().load()
    monkeypatch.setenv("LUSTRAL_DATA", str(tmp_path))
    write_parquet(tmp_path / "cifar10_test.parquet", [1])
    assert Cifar10().load().truth.tolist() == [1]


needs_data = pytest.mark.skipif(not os.environ.get("LUSTRAL_DATA"), reason="LUSTRAL_DATA is not set")


@pytest.mark.data
@needs_data
def test_the_real_test_file_is_whole():
    images = Cifar10().load()
    assert len(images) == 10_000
    assert set(np.bincount(images.truth, minlength=10)) == {1000}
    assert {image.shape for image in images.images} == {(32, 32, 3)}


@pytest.mark.data
@needs_data
def test_the_two_parts_of_cifar100_are_whole_and_share_no_image():
    train, test = (Cifar100(split=split).load() for split in ("train", "test"))
    assert not set(train.ids) & set(test.ids)
    assert {image.shape for image in (*train.images, *test.images)} == {(32, 32, 3)}
    if "own split" not in test.name:
        pytest.skip("these are the official files, of which the training part is large enough to be right")
    assert (len(train), len(test)) == (8_000, 2_000)
    counts = [np.bincount(part.truth, minlength=100) for part in (train, test)]
    assert set(sum(counts)) == {100}
    assert min(counts[1]) >= 10
