"""Pictures from files that nobody vouches for, as 8-bit RGB arrays, and back to files without loss.

Every picture is converted by the rules below or refused with one ``ImageError``; nothing is guessed in silence.

Formats: PNG, JPEG, WebP, BMP and PPM (P4, P5 and P6 with at most 8 bits, P5 with 16). Refused: every other format,
animations (APNG, animated WebP), floating point, run-length BMP, plain-text and odd-range PPM (their decoders are
interpreted and slow), JPEG of more than 100 scans, 12-bit and lossless JPEG.

Conversions, in this order:

1. 16-bit values v become round(v / 257). Pillow itself clips 16-bit grey at 255 when converted, and keeps only
   the high byte of 16-bit RGB, RGB + alpha and grey + alpha PNG files, so those are read here byte by byte.
2. CMYK becomes R = (255 - C)(255 - K) / 255 and so on; YCCK is converted to CMYK by libjpeg first.
3. Grey, 1-bit and palette pictures become RGB with equal or looked-up channels.
4. Transparency (an alpha channel, or the tRNS chunk of PNG) is composited on ``background``, white unless told
   otherwise, in stored values (not in linear light), at the depth of the file, before rounding to 8 bits.
5. The EXIF orientation is applied; values outside 1..8 count as 1.

Colour profiles (ICC) and gamma (gAMA) are ignored: stored values are taken to be sRGB, which is what data loaders of
this field do. Bytes after the end of a picture, and further pictures embedded in a JPEG (MPO), are ignored.
The checksums of PNG are verified. JPEG, WebP, BMP and PPM have none, so an altered byte there can alter pixels, and a
JPEG that lost data in its middle is filled with grey by libjpeg; only one too short for its size is noticed.
"""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from lustral.decoding import Colour, flattened, open_header, stored_values, strict_warnings, turned, with_colour_key
from lustral.files import StrPath, read_regular, replace_file, shown

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "ImageError",
    "check_array",
    "decode_image",
    "read_image",
    "write_image",
]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM")
MAX_PIXELS = 50_000_000
MAX_BYTES = 128 * 2**20
MAX_SCANS = 100  # a progressive JPEG has about ten; each one costs a pass over all pixels
WHITE = (255, 255, 255)


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    *((b"P" + digit, "PPM") for digit in (b"1", b"2", b"3", b"4", b"5", b"6")),
)
_REFUSED = (
    (b"GIF8", "a GIF"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\0\x0cjP", "a JPEG 2000"),
    (b"Pf", "a floating point PFM"),
    (b"PF", "a floating point PFM"),
    (b"P7", "a PAM"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"<", "text that looks like HTML, SVG or XML"),
)


class ImageError(ValueError):
    """A picture that is refused; one line says which, what was expected, what came and what to do."""


def read_image(
    path: StrPath, *, background: Colour = WHITE, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> NDArray[np.uint8]:
    """Read a picture by the rules at the top of this module.

    Args:
        path: a regular file, or a link to one.
        background: colour (0..255 each) under transparent pixels.
        max_pixels: pictures with more pixels are refused from their header, before decoding.
        max_bytes: larger files are refused before reading.

    Returns:
        uint8 array (h, w, 3), RGB, contiguous.

    Raises:
        ImageError: the file is not a picture of a kind that is read here, is damaged, or is too large.
    """
    data = read_regular(path, max_bytes, ImageError)
    return decode_image(data, os.fsdecode(path), background=background, max_pixels=max_pixels)


def decode_image(
    data: bytes, name: str, *, background: Colour = WHITE, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """The same as ``read_image`` for the bytes of a file; ``name`` is used in error messages.

    >>> decode_image(b"P5 2 1 255 ab", "tiny.pgm").tolist()
    [[[97, 97, 97], [98, 98, 98]]]
    """
    name = shown(name)
    kind = _kind(data, name)
    try:
        with open_header(data, kind) as picture:
            _check_header(picture, kind, data, name, max_pixels)
            pixels = stored_values(picture, data)
            pixels = with_colour_key(pixels, picture, data)
            with strict_warnings():
                orientation = int(picture.getexif().get(0x0112, 1))
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise _too_many_pixels(name, "far more", max_pixels) from None
    except Exception as problem:  # decoders of damaged data raise anything from OSError to struct.error
        reason = " ".join(str(problem).split())[:160]
        reason = type(problem).__name__ if not reason or "BytesIO" in reason else reason
        raise ImageError(
            f"cannot read {name}: expected a sound {kind} file, got damaged or unsupported data ({reason}); "
            "open it in an image editor and export it as 8-bit PNG"
        ) from None
    return turned(flattened(pixels, background), orientation)


def _kind(data: bytes, name: str) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    head = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    came = next((what for signature, what in _REFUSED if head.startswith(signature)), None)
    came = came or ("an empty file" if not data else f"data that starts with {data[:8]!r}")
    raise ImageError(f"cannot read {name}: expected one of {', '.join(FORMATS)}, got {came}; convert it to PNG")


def _too_many_pixels(name: str, came: object, max_pixels: int) -> ImageError:
    return ImageError(
        f"cannot read {name}: expected at most {max_pixels} pixels, got {came}; raise max_pixels if you trust the file"
    )


def _check_header(picture: ImageFile.ImageFile, kind: str, data: bytes, name: str, max_pixels: int) -> None:
    """Refuse what must not be decoded."""
    width, height = picture.size
    if width * height > max_pixels:
        raise _too_many_pixels(name, f"{width} x {height} = {width * height}", max_pixels)
    if kind != "JPEG" and getattr(picture, "is_animated", False):
        raise ImageError(f"cannot read {name}: expected one still picture, got an animation; extract a frame as PNG")
    coders = {tile.codec_name for tile in picture.tile} - {"zip", "jpeg", "raw"}
    if coders:
        what = f"{kind} coded as {', '.join(sorted(coders))}"
        raise ImageError(f"cannot read {name}: expected an ordinary {kind}, got {what}; convert it to PNG")
    if kind == "JPEG" and (scans := data.count(b"\xff\xda")) > MAX_SCANS:
        raise ImageError(
            f"cannot read {name}: expected at most {MAX_SCANS} scans, got {scans}; save it as baseline JPEG"
        )
    if kind == "JPEG" and len(data) * 8 < (blocks := -(-width // 8) * -(-height // 8)):
        # libjpeg fills what is missing with grey and Pillow does not pass its warning on
        raise ValueError(f"{len(data)} bytes cannot hold {blocks} blocks of at least one bit")
    if kind == "PNG":
        _verify_png(data)


def _verify_png(data: bytes) -> None:
    """Check that every chunk is whole, to the last; decoding alone looks at some checksums only."""
    view, place, kind = memoryview(data), 8, b""
    while kind != b"IEND":
        if place + 12 > len(data):
            raise ValueError("the file is cut off")
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if bytes(view[end : end + 4]) != zlib.crc32(view[place + 4 : end]).to_bytes(4, "big"):
            raise ValueError(f"chunk {kind!r} is damaged")
        place = end + 4


def check_array(array: object, name: str = "image") -> NDArray[np.uint8]:
    """The array itself, contiguous, if it is a picture: uint8 (h, w, 3), not empty.

    Raises:
        ImageError: anything else, with a hint how to convert it.
    """
    want = f"{name} must be a uint8 array (h, w, 3)"
    if not isinstance(array, np.ndarray):
        raise ImageError(f"{want}, got {type(array).__name__}; convert it with numpy.asarray")
    if array.dtype != np.uint8:
        raise ImageError(f"{want}, got {array.dtype}{_values(array)}; clip, scale to 0..255, round, then astype(uint8)")
    if array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(f"{want}, got shape {array.shape}{_shape_hint(array.shape)}")
    if array.size == 0:
        raise ImageError(f"{want} with at least one pixel, got shape {array.shape}; check the crop that made it")
    return np.ascontiguousarray(array)


def _values(array: NDArray[np.generic]) -> str:
    if array.dtype.kind not in "fiu" or array.size == 0:
        return ""
    if not np.isfinite(array).all():
        return " with NaN or infinite values"
    return f" with values from {array.min():.4g} to {array.max():.4g}"


def _shape_hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 2 or (len(shape) == 3 and shape[2] == 1):
        return "; repeat grey three times with numpy.repeat"
    if len(shape) == 3 and shape[2] in (2, 4):
        return "; composite the alpha channel on a colour first"
    if len(shape) == 3 and shape[0] == 3:
        return "; move channels last with array.transpose(1, 2, 0)"
    return "; pass one picture at a time" if len(shape) == 4 else ""


def write_image(path: StrPath, array: NDArray[np.uint8]) -> None:
    """Write a picture without loss as PNG or WebP, chosen by the suffix; all of the file appears at once or none.

    Args:
        path: ends in .png or .webp; an existing file is replaced.
        array: uint8 (h, w, 3), RGB.

    Raises:
        ImageError: the array is not a picture, the suffix is another, or the file cannot be written.
    """
    pixels = check_array(array)
    suffix = os.path.splitext(os.fsdecode(path))[1].lower()
    if suffix not in (".png", ".webp"):
        raise ImageError(
            f"cannot write {shown(path)}: expected a name ending in .png or .webp, got {suffix!r}; rename it"
        )
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, format=suffix[1:].upper(), lossless=True)
        replace_file(path, buffer.getvalue())
    except (OSError, ValueError) as problem:
        reason = (problem.strerror if isinstance(problem, OSError) else None) or problem
        raise ImageError(f"cannot write {shown(path)}: {reason}; check folder, rights, free space and size") from None
