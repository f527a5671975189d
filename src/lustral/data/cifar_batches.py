"""The official CIFAR archives, python and binary version, read without running anything that is in them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_binary", "read_python"]

PIXELS = 3 * 32 * 32
Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]

# What numpy itself calls to rebuild an array; asking numpy avoids naming a private module that has moved before.
_RECONSTRUCT: Callable[..., Any] = np.zeros(0).__reduce__()[0]  # pyright: ignore[reportAssignmentType]


def _byte_type(code: bytes | str, *_: object) -> np.dtype[Any]:
    """Stands in for ``numpy.dtype``: the archives hold bytes and nothing else is let in."""
    if code not in (b"u1", "u1"):
        raise pickle.UnpicklingError(f"expected an array of bytes, got type {code!r}")
    # A copy: the state that follows in the file must not reach the type that all of numpy shares.
    return np.dtype("u1", align=False, copy=True)


class _ArraysOnly(pickle.Unpickler):
    """Unpickler of plain containers and byte arrays; any other class or function in the file is refused."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name in ("numpy.core.multiarray", "numpy._core.multiarray") and global_name == "_reconstruct":
            return _RECONSTRUCT
        if module_name == "numpy" and global_name in ("ndarray", "dtype"):
            return np.ndarray if global_name == "ndarray" else _byte_type
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which has no place in a CIFAR batch")


def _shaped(pixels: NDArray[np.uint8], labels: NDArray[np.int64], classes: int, path: Path) -> Batch:
    if len(pixels) != len(labels):
        raise ValueError(f"{path} is not a CIFAR batch: {len(pixels)} images but {len(labels)} labels")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{path} is not a CIFAR batch: expected labels 0 to {classes - 1}")
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels  # (n, 32, 32, 3): planes become channels


def read_python(path: Path, key: bytes, classes: int) -> Batch:
    """One batch of the python version: images uint8 (n, 32, 32, 3) and labels int64 (n,).

    These files are pickles, which can run code when read; this reader admits arrays of bytes and plain
    containers and refuses a file that asks for anything else.

    Args:
        path: for example ``cifar-10-batches-py/data_batch_1``.
        key: ``b"labels"`` (CIFAR-10) or ``b"fine_labels"`` (CIFAR-100).
        classes: labels must be below this.

    Raises:
        ValueError: the file is damaged, is not a CIFAR batch, or asks for a forbidden class; it is named.
    """
    try:
        with path.open("rb") as file:
            batch = _ArraysOnly(file, encoding="bytes").load()
        pixels = batch[b"data"]
        labels = np.asarray(batch[key], dtype=np.int64)
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is not an official CIFAR batch, or it is damaged ({reason})") from error
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,):
        raise ValueError(f"{path} is not a CIFAR batch: expected bytes (n, {PIXELS}) under the key data")
    return _shaped(pixels, labels, classes, path)


def read_binary(path: Path, header: int, classes: int) -> Batch:
    """One batch of the binary version: images uint8 (n, 32, 32, 3) and labels int64 (n,).

    Args:
        path: for example ``cifar-10-batches-bin/data_batch_1.bin``.
        header: bytes before the pixels of each image, the last of which is the label: 1 for
            CIFAR-10, 2 (coarse, fine) for CIFAR-100.
        classes: labels must be below this.

    Raises:
        ValueError: the size is not a whole number of records, or a label is out of range; the file is named.
    """
    data = np.fromfile(path, dtype=np.uint8)
    record = header + PIXELS
    if data.size == 0 or data.size % record:
        raise ValueError(f"{path} is damaged: expected whole records of {record} bytes, got {data.size} bytes")
    rows = data.reshape(-1, record)
    return _shaped(rows[:, header:], rows[:, header - 1].astype(np.int64), classes, path)
