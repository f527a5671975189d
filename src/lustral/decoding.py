"""From the stored values of a picture file, whatever its depth and channels, to 8-bit RGB.

The rules are listed in ``lustral.images``, which also decides what may be decoded at all.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

__all__ = ["Colour", "flattened", "open_header", "stored_values", "strict_warnings", "turned", "with_colour_key"]

Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8 | np.uint16]

_LOCK = threading.Lock()


@contextmanager
def strict_warnings() -> Generator[None]:
    """Turn Pillow's warnings about damaged metadata into errors, whatever filters the program has set.

    Filters are global to the process, hence the lock, and hence the filter names Pillow's modules only.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.filterwarnings("error", module=r"PIL\.")
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # max_pixels is checked right after
        yield


def open_header(data: bytes, kind: str) -> ImageFile.ImageFile:
    """The header only; Pillow decodes pixels at the first access to them."""
    with strict_warnings():
        return Image.open(io.BytesIO(data), formats=[kind])


def stored_values(picture: ImageFile.ImageFile, data: bytes) -> Pixels:
    """Stored values (h, w, c), 8 or 16 bits; c is 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha."""
    raw_mode = picture.tile[0].args if picture.tile else None
    if picture.format == "PNG" and raw_mode in ("RGB;16B", "RGBA;16B"):
        # Pillow has no 16-bit colour mode, but its two unpackers keep the first and the second byte of each value.
        second = _raw(data, f"{raw_mode[:-1]}L")
        first = _raw(data, raw_mode).astype(np.uint16)
        return (first << 8 | second).astype(np.uint16)
    if picture.format == "PNG" and raw_mode == "LA;16B":
        return _raw(data, "RGBA").view(">u2").astype(np.uint16)  # (h, w, 4) bytes are (h, w, 2) values
    if picture.mode in ("I;16", "I"):  # I: 16-bit PGM, held in 32 bits
        return np.asarray(picture).astype(np.uint16)[..., None]
    if picture.mode == "P":
        entries = len(picture.palette.palette) // len(picture.palette.mode) if picture.palette else 0
        if np.asarray(picture).max() >= entries:
            raise ValueError(f"pixels beyond the {entries} colours of the palette")
        return np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
    modes = {"1": "L", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB"}
    if picture.mode not in modes:
        raise ValueError(f"pixel type {picture.mode}")
    pixels = np.asarray(picture.convert(modes[picture.mode]))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _raw(data: bytes, raw_mode: str) -> NDArray[np.uint8]:
    """Decode a PNG with another unpacker than the one Pillow chose."""
    with open_header(data, "PNG") as picture:
        picture.tile = [tile._replace(args=raw_mode) for tile in picture.tile]
        return np.array(picture)


def with_colour_key(pixels: Pixels, picture: ImageFile.ImageFile, data: bytes) -> Pixels:
    """Add an alpha channel where a PNG declares one colour transparent (tRNS of grey and RGB pictures).

    The key is in units of the stored depth. Pillow compares it with values already scaled to 8 bits or cut to their
    high byte, so its own conversion misses 2-bit, 4-bit and 16-bit keys.
    """
    key = picture.info.get("transparency")
    if picture.format != "PNG" or key is None or picture.mode == "P":
        return pixels
    depth = data[24]  # the bit depth of IHDR, whose place is fixed
    scale = 255 // (2**depth - 1) if depth in (2, 4) else 1  # Pillow has scaled the pixels, and the key of 1-bit files
    matches = (pixels == np.asarray(key, dtype=np.uint32) * scale).all(axis=2, keepdims=True)
    top = np.iinfo(pixels.dtype).max
    return np.concatenate([pixels, np.where(matches, 0, top).astype(pixels.dtype)], axis=2)


def flattened(pixels: Pixels, background: Colour) -> NDArray[np.uint8]:
    """Composite alpha, scale to 8 bits and repeat grey: (h, w, c) -> (h, w, 3)."""
    height, width, channels = pixels.shape
    if channels == 3 and pixels.dtype == np.uint8:
        return pixels.astype(np.uint8)
    top = int(np.iinfo(pixels.dtype).max)
    to_8_bits = top // 255  # 1 or 257
    under = np.asarray(background, dtype=np.uint32) * to_8_bits
    out = np.empty((height, width, 3), dtype=np.uint8)
    rows = max(1, 2**20 // width)  # bands keep the 32-bit intermediates small
    for start in range(0, height, rows):
        band = pixels[start : start + rows].astype(np.uint32)
        colour = band[..., : 3 if channels >= 3 else 1]
        if channels in (2, 4) and band[..., -1].min() < top:
            alpha = band[..., -1:]
            colour = (colour * alpha + under * (top - alpha) + top // 2) // top  # at most 65535^2 + 32767 < 2^32
        out[start : start + rows] = (colour + to_8_bits // 2) // to_8_bits
    return out


def turned(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Apply an EXIF orientation: 5..8 are stored transposed, the rest is two mirrors."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)
