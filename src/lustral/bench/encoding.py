"""How images become cells of a table: fidelity, packed 8-bit pixels, pictures."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from lustral.measures.fidelity import linf, psnr, ssim_gaussian
from lustral.tensors import Images, to_uint8

__all__ = ["change", "fidelity", "pack_images", "pictures", "unpack_images"]

Columns = dict[str, list[Any]]
SSIM_WINDOW = 11


def fidelity(name: str, x: Images, reference: Images) -> Columns:
    """PSNR and Gaussian-window SSIM of 8-bit images per image; SSIM is NaN where its window does not fit."""
    first, second = _pixels(x), _pixels(reference)
    fits = min(first.shape[1:3]) >= SSIM_WINDOW
    similarity = ssim_gaussian(first, second) if fits else np.full(len(first), np.nan)
    return {f"psnr_{name}": psnr(first, second).tolist(), f"ssim_{name}": similarity.tolist()}


def change(name: str, purified: Images, reference: Images) -> Columns:
    """How far 8-bit purified images are from others: ``fidelity`` and the largest difference of a channel (Linf)."""
    largest = linf(_pixels(purified), _pixels(reference))
    return {**fidelity(name, purified, reference), f"linf_{name}": largest.tolist()}


def _pixels(x: Images) -> np.ndarray[Any, np.dtype[np.float64]]:
    return to_uint8(x).permute(0, 2, 3, 1).cpu().numpy().astype(np.float64) / 255


def pack_images(x: Images) -> list[bytes]:
    """Rounded to 8 bits, height x width x channel, compressed without loss; ``unpack_images`` reads them."""
    images = to_uint8(x).permute(0, 2, 3, 1).cpu().numpy()
    return [zlib.compress(np.ascontiguousarray(image).tobytes()) for image in images]


def unpack_images(columns: Mapping[str, list[Any]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The adversarial images of a cell as uint8 (n, h, w, 3)."""
    shape = (columns["height"][0], columns["width"][0], 3)
    return np.stack(
        [np.frombuffer(zlib.decompress(packed), dtype=np.uint8).reshape(shape) for packed in columns["adversarial"]]
    )


def pictures(x: Images, count: int) -> list[bytes | None]:
    """PNG files of the first ``count`` images, None for the others."""
    found: list[bytes | None] = [None] * len(x)
    for row, image in enumerate(to_uint8(x[:count]).permute(0, 2, 3, 1).cpu().numpy()):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, format="PNG")
        found[row] = stream.getvalue()
    return found
