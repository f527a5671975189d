"""Every file here is made by the test itself; it must give its documented picture or one clear ImageError, quickly."""

import contextlib
import io
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lustral.images import ImageError, check_array, decode_image, read_image, write_image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
PICTURE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(0, 256, 8)[:, None], np.arange(0, 256, 8), 90), axis=2).astype(np.uint8)


def chunk(kind, data, crc=None):
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(values, depth, colour, extra=b"", size=None, interlace=0):
    """A PNG of rows of raw bytes, so that nothing of the library under test helps to make it."""
    rows = [bytes(row) for row in values]
    channels = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}[colour]
    width, height = size or (len(rows[0]) * 8 // (depth * channels), len(rows))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def big_endian(values):
    return np.asarray(values).astype(">u2").tobytes()


def saved(kind, array=PICTURE, mode=None, **options):
    buffer = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def plain_png(array=PICTURE, **options):
    return png([row.tobytes() for row in array], 8, RGB, **options)


def exif(orientation, order=">"):
    mark = b"MM\0*" if order == ">" else b"II*\0"
    entry = struct.pack(f"{order}HHHIHH", 1, 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(f"{order}I", 8) + entry + struct.pack(f"{order}I", 0)


def jpeg_with(segment, jpeg):
    return jpeg[:2] + segment + jpeg[2:]


def app(number, data):
    return bytes((0xFF, 0xE0 + number)) + struct.pack(">H", len(data) + 2) + data


def patched(data, marker, offset, value):
    place = data.index(marker) + offset
    return data[:place] + value + data[place + len(value) :]


def animation(kind):
    frames = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=50)
    return buffer.getvalue()


def long_gif():
    frame = b"\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0"
    return b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 10_000 + b";"


def many_scans(count):
    """A progressive JPEG whose last scan is there ``count`` times."""
    data = saved("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def zip_archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "a")
    return buffer.getvalue()


def bomb(side):
    """A valid PNG header and a little valid data of a picture that would need side * side * 3 bytes."""
    return png([bytes(side * 3)], 8, RGB, size=(side, side))


def webp_bomb():
    data = bytearray(saved("WEBP", SMOOTH, lossless=True))
    place = data.index(b"VP8L") + 9
    bits = int.from_bytes(data[place : place + 4], "little")
    data[place : place + 4] = ((bits >> 28 << 28) | (9999 << 14) | 9999).to_bytes(4, "little")
    return bytes(data)


def bmp(width, height, bits, compression=0, body=b""):
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 2835, 2835, 0, 0)
    colours = bytes(4 * 2**bits) if bits <= 8 else b""
    start = 14 + len(info) + len(colours)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + info + colours + body


def text_bomb(kind):
    packed = zlib.compress(bytes(30_000_000), 9)
    return plain_png(extra=chunk(kind, b"k\0\0" + packed))


def crc_broken(kind):
    data = plain_png(extra=chunk(b"gAMA", struct.pack(">I", 45455)))
    start = data.index(kind)
    length = struct.unpack(">I", data[start - 4 : start])[0]
    return patched(data, kind, 4 + length, b"\0\1\2\3")


JPEG = saved("JPEG", SMOOTH, quality=90)
TIFF_FLOAT = saved("TIFF", np.full((2, 2), 0.5, np.float32))

REFUSED = {
    # name of the file: (bytes, what the message must say)
    "empty.png": (b"", "empty file"),
    "text.png": (b"hello, this is no picture\n", "starts with b'hello"),
    "drawing.svg": (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "HTML, SVG or XML"),
    "page.html.jpg": (b"\n <!DOCTYPE html><html><script>alert(1)</script></html>", "HTML, SVG or XML"),
    "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
    "dos_eps.png": (b"\xc5\xd0\xd3\xc6" + bytes(40), "PostScript"),
    "document.png": (b"%PDF-1.7\n", "a PDF"),
    "photoshop.png": (b"8BPS\0\1" + bytes(40), "Photoshop"),
    "jpeg2000.jpg": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000"),
    "still.gif": (saved("GIF"), "a GIF"),
    "animated.gif": (animation("GIF"), "a GIF"),
    "ten_thousand_frames.gif": (long_gif(), "a GIF"),
    "float.tif": (TIFF_FLOAT, "a TIFF"),
    "tiff_named.png": (saved("TIFF"), "a TIFF"),
    "tiff_motorola.png": (b"MM\0*" + bytes(30), "a TIFF"),
    "archive.png": (zip_archive(), "ZIP"),
    "float.pfm": (b"Pf\n2 1\n-1.0\n" + struct.pack("<2f", 0.5, 1), "floating point"),
    "float_colour.pfm": (b"PF\n1 1\n-1.0\n" + struct.pack("<3f", 0, 0.5, 1), "floating point"),
    "arbitrary.pam": (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\nabc", "a PAM"),
    "zeros.png": (bytes(1000), "starts with"),
    "signature_only.png": (SIGNATURE, "damaged"),
    "signature_only.jpg": (b"\xff\xd8\xff", "damaged"),
    "signature_only.webp": (b"RIFF\0\0\0\0WEBP", "damaged"),
    "signature_only.bmp": (b"BM", "damaged"),
    "signature_only.ppm": (b"P6", "damaged"),
    "no_end.png": (plain_png()[:-12], "damaged"),
    "no_pixels.png": (SIGNATURE + plain_png()[8:33] + chunk(b"IEND", b""), "damaged"),
    "bad_header_crc.png": (crc_broken(b"IHDR"), "damaged"),
    "bad_pixel_crc.png": (crc_broken(b"IDAT"), "damaged"),
    "bad_gamma_crc.png": (crc_broken(b"gAMA"), "damaged"),
    "bad_depth.png": (png([b"\0"], 8, GREY).replace(b"\x08\0\0\0\0", b"\x07\0\0\0\0"), "damaged"),
    "zero_wide.png": (png([b""], 8, RGB, size=(0, 1)), "damaged"),
    "zero_high.png": (png([b""], 8, RGB, size=(5, 0)), "damaged"),
    "two_to_31.png": (png([b"\0"], 8, GREY, size=(2**31 - 1, 2**31 - 1)), "pixels"),
    "bomb_8k.png": (bomb(8000), "got 8000 x 8000 = 64000000"),
    "bomb_10k.png": (bomb(10_000), "got 10000 x 10000 = 100000000"),
    "bomb_13k.png": (bomb(13_380), "pixels"),
    "bomb_30k.png": (bomb(30_000), "pixels"),
    "bomb.bmp": (bmp(60_000, 60_000, 24), "pixels"),
    "bomb.ppm": (b"P6 9000 9000 255\n", "got 9000 x 9000"),
    "bomb.jpg": (patched(JPEG, b"\xff\xc0", 5, struct.pack(">HH", 9000, 9000)), "got 9000 x 9000"),
    "bomb.webp": (webp_bomb(), "got 10000 x 10000"),
    "text_bomb.png": (text_bomb(b"zTXt"), "damaged"),
    "profile_bomb.png": (text_bomb(b"iCCP"), "damaged"),
    "animated.png": (animation("PNG"), "an animation"),
    "animated.webp": (animation("WEBP"), "an animation"),
    "too_short_for_its_size.jpg": (patched(JPEG, b"\xff\xc0", 5, struct.pack(">HH", 7000, 7000)), "cannot hold"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "damaged"),
    "half.webp": (saved("WEBP", SMOOTH)[:-40], "damaged"),
    "half.bmp": (saved("BMP")[:-40], "damaged"),
    "half.ppm": (saved("PPM")[:-40], "damaged"),
    "twelve_bits.jpg": (patched(JPEG, b"\xff\xc0", 4, b"\x0c"), "damaged or unsupported"),
    "lossless.jpg": (patched(JPEG, b"\xff\xc0", 0, b"\xff\xc3"), "damaged or unsupported"),
    "hierarchical.jpg": (patched(JPEG, b"\xff\xc0", 0, b"\xff\xc5"), "damaged or unsupported"),
    "five_channels.jpg": (patched(JPEG, b"\xff\xc0", 9, b"\x05"), "damaged or unsupported"),
    "no_height.jpg": (patched(JPEG, b"\xff\xc0", 5, b"\0\0"), "damaged"),
    "thousand_scans.jpg": (many_scans(1000), "at most 100 scans"),
    "broken_exif.jpg": (jpeg_with(app(1, b"Exif\0\0MM\0*\0\0\0\x08\0\x09" + bytes(9)), JPEG), "damaged"),
    "broken_exif.png": (plain_png(extra=chunk(b"eXIf", b"not exif at all")), "damaged"),
    "run_length.bmp": (bmp(4, 1, 8, compression=1, body=b"\4\1\0\1"), "coded as bmp_rle"),
    "seven_bits.bmp": (bmp(4, 1, 7, body=bytes(40)), "damaged"),
    "plain.ppm": (b"P3 1 1 255\n1 2 3\n", "coded as ppm_plain"),
    "plain.pbm": (b"P1 2 1\n1 0\n", "coded as ppm_plain"),
    "odd_range.ppm": (b"P6 1 1 254\n\1\2\3", "coded as ppm"),
    "wide_range.ppm": (b"P6 1 1 65535\n" + bytes(6), "coded as ppm"),
    "huge_number.ppm": (b"P6 " + b"9" * 100_000 + b" 1 255\n", "damaged"),
    "negative.ppm": (b"P6 -4 -4 255\n", "damaged"),
    "no_palette.png": (png([b"\0"], 8, PALETTE, chunk(b"tRNS", b"\0")), "beyond the 0 colours"),
    "beyond_palette.png": (png([b"\0\2"], 8, PALETTE, chunk(b"PLTE", bytes(6))), "beyond the 2 colours"),
}

GREY_16 = [0, 128, 129, 255, 4096, 32768, 65535]  # v / 257 rounds at 128.5
BY_257 = [0, 0, 1, 1, 16, 128, 255]
KEY = chunk(b"tRNS", struct.pack(">H", 1))
TWO_COLOURS = chunk(b"PLTE", bytes((10, 20, 30, 200, 100, 50)))
CORNERS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 10


def grey(*values):
    return [[[value] * 3 for value in values]]


def over_white(colour, alpha, top=255):
    """The compositing rule in exact arithmetic, rounded half up, then to 8 bits."""
    value = (2 * (colour * alpha + top * (top - alpha)) + top) // (2 * top)
    return (2 * value * 255 + top) // (2 * top)


CONVERTED = {
    # name of the file: (bytes, exact pixels)
    "plain.png": (plain_png(), PICTURE),
    "saved.png": (saved("PNG"), PICTURE),
    "saved.bmp": (saved("BMP"), PICTURE),
    "saved.ppm": (saved("PPM"), PICTURE),
    "lossless.webp": (saved("WEBP", lossless=True), PICTURE),
    "wrong_suffix.jpg": (plain_png(255 - PICTURE), 255 - PICTURE),
    "one_pixel.png": (png([b"\1\2\3"], 8, RGB), [[[1, 2, 3]]]),
    "thin.png": (png([bytes(60_000)], 8, RGB), np.zeros((1, 20_000, 3))),
    "tall.png": (png([b"\7\7\7"] * 20_000, 8, RGB), np.full((20_000, 1, 3), 7)),
    "one_bit.png": (png([b"\x40"], 1, GREY), [*grey(0, 255, 0, 0, 0, 0, 0, 0)]),
    "two_bits.png": (png([b"\x1b"], 2, GREY), grey(0, 85, 170, 255)),
    "four_bits.png": (png([b"\x1f"], 4, GREY), grey(17, 255)),
    "grey.png": (png([b"\0\x80\xff"], 8, GREY), grey(0, 128, 255)),
    "grey_16.png": (png([big_endian(GREY_16)], 16, GREY), grey(*BY_257)),
    "rgb_16.png": (png([big_endian([0, 128, 129, 4096, 65535, 65406])], 16, RGB), [[[0, 0, 1], [16, 255, 254]]]),
    "rgb_16_interlaced.png": (png([big_endian([129, 4096, 65535])], 16, RGB, interlace=1), [[[1, 16, 255]]]),
    "grey_16.pgm": (b"P5 7 1 65535\n" + big_endian(GREY_16), grey(*BY_257)),
    "one_bit.pbm": (b"P4 2 1\n\x40", grey(255, 0)),
    "grey_alpha.png": (
        png([bytes((0, 255, 100, 0, 100, 128))], 8, GREY_ALPHA),
        grey(0, 255, over_white(100, 128)),
    ),
    "rgba.png": (
        png([bytes((10, 20, 30, 255, 10, 20, 30, 0, 10, 20, 30, 77))], 8, RGBA),
        [[[10, 20, 30], [255] * 3, [over_white(value, 77) for value in (10, 20, 30)]]],
    ),
    "grey_alpha_16.png": (
        png([big_endian([4096, 65535, 300, 0, 4096, 129])], 16, GREY_ALPHA),
        grey(16, 255, over_white(4096, 129, 65535)),
    ),
    "rgba_16.png": (
        png([big_endian([129, 4096, 65535, 65535, 1, 2, 3, 0, 300, 5000, 60000, 33333])], 16, RGBA),
        [[[1, 16, 255], [255] * 3, [over_white(value, 33333, 65535) for value in (300, 5000, 60000)]]],
    ),
    "rgba.webp": (
        saved("WEBP", np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8), lossless=True, exact=True),
        [[[10, 20, 30], [255] * 3]],
    ),
    "key_1_bit.png": (png([b"\x00"], 1, GREY, chunk(b"tRNS", b"\0\0")), grey(*[255] * 8)),
    "key_2_bits.png": (png([b"\x1b"], 2, GREY, KEY), grey(0, 255, 170, 255)),
    "key_4_bits.png": (png([b"\x12"], 4, GREY, KEY), grey(255, 34)),
    "key_8_bits.png": (png([b"\1\2"], 8, GREY, KEY), grey(255, 2)),
    "key_16_bits.png": (png([big_endian([1, 257, 2 * 257])], 16, GREY, KEY), grey(255, 1, 2)),
    "key_rgb.png": (
        png([bytes((1, 2, 3, 1, 2, 4))], 8, RGB, chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))),
        [[[255] * 3, [1, 2, 4]]],
    ),
    "key_rgb_16.png": (
        png([big_endian([257, 514, 771, 257, 514, 772])], 16, RGB, chunk(b"tRNS", struct.pack(">3H", 257, 514, 771))),
        [[[255] * 3, [1, 2, 3]]],
    ),
    "palette.png": (png([b"\0\1"], 8, PALETTE, TWO_COLOURS), [[[10, 20, 30], [200, 100, 50]]]),
    "palette_1_bit.png": (png([b"\x40"], 1, PALETTE, TWO_COLOURS, size=(2, 1)), [[[10, 20, 30], [200, 100, 50]]]),
    "palette_transparent.png": (
        png([b"\0\1"], 8, PALETTE, TWO_COLOURS + chunk(b"tRNS", b"\0")),
        [[[255] * 3, [200, 100, 50]]],
    ),
    "palette_half_transparent.png": (
        png([b"\0\1"], 8, PALETTE, TWO_COLOURS + chunk(b"tRNS", b"\xff\x80")),
        [[[10, 20, 30], [over_white(value, 128) for value in (200, 100, 50)]]],
    ),
    "grey.bmp": (saved("BMP", mode="L"), np.asarray(Image.fromarray(PICTURE).convert("L"))[..., None].repeat(3, 2)),
    "upside_down.bmp": (bmp(1, -2, 24, body=bytes((3, 2, 1, 0, 6, 5, 4, 0))), [[[1, 2, 3]], [[4, 5, 6]]]),
    "gamma.png": (plain_png(extra=chunk(b"gAMA", struct.pack(">I", 100_000))), PICTURE),
    "other_profile.png": (plain_png(extra=chunk(b"iCCP", b"wide\0\0" + zlib.compress(b"not sRGB" * 20))), PICTURE),
    "trailing_zip.png": (plain_png() + zip_archive(), PICTURE),
    "orientation_0.png": (plain_png(CORNERS, extra=chunk(b"eXIf", exif(0))), CORNERS),
    "orientation_9.png": (plain_png(CORNERS, extra=chunk(b"eXIf", exif(9, "<"))), CORNERS),
}
# EXIF 2.32, table of tag 274: where row 0 and column 0 of the stored picture are in the picture to be shown.
FIRST_ROW_AND_COLUMN = {1: "TL", 2: "TR", 3: "BR", 4: "BL", 5: "LT", 6: "RT", 7: "RB", 8: "LB"}
SMALL = {name: case for name, case in {**CONVERTED}.items() if len(case[0]) < 2000}


@pytest.fixture(autouse=True)
def under_a_second():
    """Processor time: a wait for a pipe would hang the test, a busy machine must not fail it."""
    start = time.process_time()
    yield
    assert time.process_time() - start < 1


def test_there_are_enough_distinct_files():
    contents = [case[0] for case in (*REFUSED.values(), *CONVERTED.values())]
    assert len(set(contents)) == len(contents) >= 100


@pytest.mark.parametrize("name", REFUSED)
def test_bad_file_gives_one_clear_line(name, tmp_path):
    data, words = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / name)
    message = str(caught.value)
    assert words in message
    assert name in message
    assert "expected" in message
    assert "got" in message
    assert "\n" not in message
    assert len(message) < 600
    (tmp_path / "good.png").write_bytes(plain_png())
    np.testing.assert_array_equal(read_image(tmp_path / "good.png"), PICTURE)


@pytest.mark.parametrize("name", CONVERTED)
def test_unusual_file_is_converted_by_the_documented_rule(name, tmp_path):
    data, pixels = CONVERTED[name]
    (tmp_path / name).write_bytes(data)
    image = read_image(tmp_path / name)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("name", ["damaged_exif", "bomb"])
@pytest.mark.parametrize("action", ["error", "default", "ignore"])
def test_the_outcome_does_not_depend_on_warning_filters(name, action):
    data = REFUSED["broken_exif.jpg" if name == "damaged_exif" else "bomb_10k.png"][0]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter(action)
        with pytest.raises(ImageError):
            decode_image(data, name)
    assert not seen


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, kind):
    block = exif(orientation)
    if kind == "png":
        stored, data = CORNERS, plain_png(CORNERS, extra=chunk(b"eXIf", block))
    else:
        stored = np.zeros((16, 24, 3), np.uint8)  # colour blocks that survive lossy coding
        stored[:8, :8], stored[:8, 16:], stored[8:, :8] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
        options = {"quality": 100, "subsampling": 0} if kind == "jpeg" else {"lossless": True}
        data = saved(kind.upper(), stored, exif=b"Exif\0\0" + block, **options)
    row, column = FIRST_ROW_AND_COLUMN[orientation]
    shown = stored if row in "TB" else stored.transpose(1, 0, 2)
    shown = shown[::-1] if "B" in row + column else shown
    shown = shown[:, ::-1] if "R" in row + column else shown
    image = decode_image(data, "photo")
    assert image.shape == shown.shape
    assert np.abs(image.astype(int) - shown).max() <= (0 if kind != "jpeg" else 4)


def test_background_colour_shows_through_transparency():
    data = png([bytes((10, 20, 30, 0, 10, 20, 30, 255))], 8, RGBA)
    np.testing.assert_array_equal(decode_image(data, "a", background=(1, 2, 3)), [[[1, 2, 3], [10, 20, 30]]])


def test_interlaced_16_bit_colour_is_exact():
    values = np.random.default_rng(1).integers(0, 65536, (1, 1, 3))
    data = png([big_endian(values)], 16, RGB, interlace=1)
    np.testing.assert_array_equal(decode_image(data, "a"), (values + 128) // 257)


@pytest.mark.parametrize(("colour", "channels"), [(GREY, 1), (RGB, 3)])
@pytest.mark.parametrize("filtering", range(5))
def test_16_bit_values_are_exact_under_every_png_filter(filtering, colour, channels):
    values = np.random.default_rng(filtering).integers(0, 65536, (5, 6, channels))
    rows = np.frombuffer(big_endian(values), np.uint8).reshape(5, -1).astype(int)
    step = 2 * channels
    left = np.pad(rows, ((0, 0), (step, 0)))[:, :-step]
    up = np.pad(rows, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(left, ((1, 0), (0, 0)))[:-1]
    distance = [abs(left + up - corner - one) for one in (left, up, corner)]
    paeth = np.choose(np.argmin(distance, axis=0), (left, up, corner))  # argmin takes the first, as the standard says
    guess = (0, left, up, (left + up) // 2, paeth)[filtering]
    packed = zlib.compress(
        b"".join(bytes((filtering,)) + row.tobytes() for row in ((rows - guess) % 256).astype(np.uint8))
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 6, 5, 16, colour, 0, 0, 0))
    data = SIGNATURE + header + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode_image(data, "a"), np.broadcast_to((values + 128) // 257, (5, 6, 3)))


def flat_cmyk(ink):
    buffer = io.BytesIO()
    Image.new("CMYK", (16, 16), ink).save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue()


def test_cmyk_jpeg_follows_the_documented_formula():
    cyan, magenta, yellow, black = ink = (200, 30, 90, 60)
    expected = [(255 - one) * (255 - black) / 255 for one in (cyan, magenta, yellow)]
    assert np.abs(decode_image(flat_cmyk(ink), "ink.jpg") - np.array(expected)).max() <= 2


def test_ycck_jpeg_is_turned_into_cmyk_first():
    y, cb, cr, stored_black = 120, 140, 90, 200  # the Adobe marker says: values are stored inverted
    data = flat_cmyk((255 - y, 255 - cb, 255 - cr, 255 - stored_black))
    place = data.index(b"Adobe") + 11
    assert data[place] == 0
    data = data[:place] + b"\2" + data[place + 1 :]
    # JFIF, section 7. What libjpeg makes of YCC is RGB inverted, and the file is inverted once more, so this is ink.
    ink = np.array([y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128)])
    expected = (255 - ink) * stored_black / 255
    assert np.abs(decode_image(data, "ycck.jpg") - expected).max() <= 3


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}, {"quality": 10}], ids=str
)
def test_ordinary_jpeg_equals_pillow(options):
    data = saved("JPEG", SMOOTH, **options)
    np.testing.assert_array_equal(decode_image(data, "a"), np.asarray(Image.open(io.BytesIO(data))))


def test_jpeg_zip_polyglot_is_the_picture():
    np.testing.assert_array_equal(decode_image(JPEG + zip_archive(), "a"), np.asarray(Image.open(io.BytesIO(JPEG))))


def test_a_second_picture_in_a_jpeg_is_ignored():
    buffer = io.BytesIO()
    Image.fromarray(SMOOTH).save(buffer, "MPO", save_all=True, append_images=[Image.fromarray(255 - SMOOTH)])
    assert np.abs(decode_image(buffer.getvalue(), "a").astype(int) - SMOOTH).mean() < 10


def test_profile_of_a_jpeg_does_not_change_values():
    profile = app(2, b"ICC_PROFILE\0\1\1" + bytes(200))
    np.testing.assert_array_equal(decode_image(jpeg_with(profile, JPEG), "a"), decode_image(JPEG, "a"))


def test_pixel_and_byte_limits_are_arguments(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(plain_png())
    assert read_image(path, max_pixels=63, max_bytes=len(plain_png())).shape == (9, 7, 3)
    with pytest.raises(ImageError, match="at most 62 pixels, got 7 x 9 = 63"):
        read_image(path, max_pixels=62)
    with pytest.raises(ImageError, match="at most 100 bytes"):
        read_image(path, max_bytes=100)


def test_size_limit_is_checked_before_reading(tmp_path):
    path = tmp_path / "sparse.png"
    with open(path, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(ImageError, match="bytes, got 1099511627776"):
        read_image(path)


def test_bombs_need_little_memory():
    """In a process of its own, because peak memory never goes down."""
    program = (
        "import resource, sys\nfrom lustral.images import decode_image, ImageError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "data = sys.stdin.buffer.read()\n"
        "try:\n    decode_image(data, 'bomb')\nexcept ImageError:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    for name in ("bomb_13k.png", "bomb.webp"):
        run = subprocess.run([sys.executable, "-c", program], input=REFUSED[name][0], capture_output=True, check=True)
        assert int(run.stdout) < 50_000  # KiB


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # socket names are limited to 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


SPECIAL = {
    "pipe": (make_fifo, "named pipe"),
    "folder": (Path.mkdir, "a directory"),
    "socket": (make_socket, "a socket"),
    "missing": (lambda path: None, "No such file"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "loop": (lambda path: path.symlink_to(path), "symbolic links"),
    "password": (lambda path: path.symlink_to("/etc/passwd"), "starts with"),
    "zero": (lambda path: path.symlink_to("/dev/zero"), "character device"),
    "process_status": (lambda path: path.symlink_to("/proc/self/status"), "empty file"),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_files_do_not_hang(name, tmp_path):
    make, words = SPECIAL[name]
    make(tmp_path / name)
    with pytest.raises(ImageError, match=words):
        read_image(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        "nul\0name.png",
        "two\nlines.png",
        "x" * 300 + ".png",
        "../../../nowhere.png",
        b"\xff\xfe.png",
        "\udcff.png",
        "",
        "\x1b[2J",
    ],
    ids=ascii,
)
def test_odd_names_are_shown_safely(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError) as caught:
        read_image(name)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 400


def test_odd_names_that_exist_are_read(tmp_path):
    for name in (b"two\nlines", b"\xff\xfe", b"no suffix"):
        path = os.path.join(os.fsencode(tmp_path), name)
        with open(path, "wb") as file:
            file.write(plain_png())
        np.testing.assert_array_equal(read_image(path), PICTURE)
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "no suffix")
    np.testing.assert_array_equal(read_image(link), PICTURE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "PPM"])
def test_every_fiftieth_truncation_is_refused(kind):
    data = saved(kind, SMOOTH)
    for part in range(50):
        with pytest.raises(ImageError):
            decode_image(data[: len(data) * part // 50], "cut")


def test_every_flipped_byte_of_a_png_is_noticed():
    data = saved("PNG", SMOOTH)
    end = data.index(b"IEND") + 4
    for place in range(0, end, max(1, end // 300)):
        flipped = bytearray(data)
        flipped[place] ^= 0x55
        with pytest.raises(ImageError):
            decode_image(bytes(flipped), "flipped")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP", "PPM", "progressive", "exif", "lossless"])
def test_flipped_bytes_give_a_picture_or_an_image_error(kind):
    data = {
        "progressive": lambda: saved("JPEG", progressive=True),
        "exif": lambda: saved("JPEG", exif=b"Exif\0\0" + exif(6)),
        "lossless": lambda: saved("WEBP", lossless=True),
    }.get(kind, lambda: saved(kind))()
    random = np.random.default_rng(len(data))
    pictures, messages = 0, []
    for _ in range(200):
        flipped = bytearray(data)
        for place in random.integers(0, len(data), random.integers(1, 4)):
            flipped[place] = random.integers(0, 256)
        try:
            image = decode_image(bytes(flipped), "flipped", max_pixels=10**6)
        except ImageError as problem:
            messages.append(str(problem))
        else:
            assert image.dtype == np.uint8
            assert image.shape[2] == 3
            pictures += 1
    assert pictures
    assert messages
    assert all(message.isprintable() for message in messages)
    np.testing.assert_array_equal(decode_image(plain_png(), "next"), PICTURE)


def test_flipped_bytes_with_repaired_checksums_give_a_picture_or_an_image_error():
    """Reaches the decoders behind the checksums."""
    random = np.random.default_rng(3)
    for _ in range(200):
        rows = bytearray(zlib.compress(bytes(random.integers(0, 6, 66, dtype=np.uint8))))
        rows[random.integers(len(rows))] ^= 1 << int(random.integers(8))
        depth, colour = random.choice([1, 2, 4, 8, 16]), random.choice([0, 2, 3, 4, 6])
        header = struct.pack(">IIBBBBB", 3, 6, depth, colour, 0, 0, random.integers(2))
        extra = chunk(b"PLTE", bytes(9)) + chunk(b"tRNS", bytes(random.integers(0, 7)))
        data = SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", bytes(rows)) + chunk(b"IEND", b"")
        with contextlib.suppress(ImageError):
            assert decode_image(data, "flipped").shape == (6, 3, 3)


def test_threads_do_not_disturb_each_other():
    failures = []

    def work(name):
        for _ in range(15):
            try:
                if not np.array_equal(decode_image(SMALL[name][0], name), SMALL[name][1]):
                    failures.append(name)
            except ImageError as problem:
                failures.append(str(problem))

    threads = [threading.Thread(target=work, args=(name,)) for name in list(SMALL)[:8]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("suffix", [".png", ".webp", ".PNG"])
def test_written_pictures_come_back_exactly(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    write_image(path, PICTURE)
    write_image(path, PICTURE[:, ::-1])  # a negative stride, over an existing file
    np.testing.assert_array_equal(read_image(path), PICTURE[:, ::-1])
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) & 0o200


@pytest.mark.parametrize("name", ["a.jpg", "a", "nowhere/a.png", "nul\0.png", "x" * 300 + ".png"], ids=ascii)
def test_writing_to_a_bad_name_is_one_clear_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match="cannot write"):
        write_image(name, PICTURE)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_image(path, PICTURE)

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ImageError, match="No space left"):
        write_image(path, 255 - PICTURE)
    np.testing.assert_array_equal(read_image(path), PICTURE)
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"]


ARRAYS = {
    "float": (np.linspace(0, 1, 12).reshape(2, 2, 3), "got float64 with values from 0 to 1"),
    "half": (PICTURE.astype(np.float16), "float16"),
    "nan": (np.full((2, 2, 3), np.nan), "NaN or infinite"),
    "infinite": (np.full((2, 2, 3), np.inf, np.float32), "NaN or infinite"),
    "int64": (np.arange(12).reshape(2, 2, 3) - 1, "int64 with values from -1 to 10"),
    "uint16": (PICTURE.astype(np.uint16), "uint16"),
    "bool": (PICTURE > 9, "got bool"),
    "object": (PICTURE.astype(object), "got object"),
    "grey": (PICTURE[..., 0], "repeat grey"),
    "one_channel": (PICTURE[..., :1], "repeat grey"),
    "two_channels": (PICTURE[..., :2], "alpha"),
    "four_channels": (np.zeros((2, 2, 4), np.uint8), "alpha"),
    "channels_first": (np.zeros((3, 5, 7), np.uint8), "channels last"),
    "batch": (np.zeros((4, 5, 7, 3), np.uint8), "one picture at a time"),
    "empty_batch": (np.zeros((0, 5, 7, 3), np.uint8), "one picture at a time"),
    "no_pixels": (np.zeros((0, 7, 3), np.uint8), "at least one pixel"),
    "list": ([[[1, 2, 3]]], "got list"),
    "none": (None, "got NoneType"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_no_pictures_are_refused_with_a_hint(name, tmp_path):
    array, words = ARRAYS[name]
    with pytest.raises(ImageError, match=words):
        check_array(array)
    with pytest.raises(ImageError):
        write_image(tmp_path / "a.png", array)
    assert not list(tmp_path.iterdir())


def test_unusual_memory_layouts_are_accepted():
    for view in (PICTURE[::-1], PICTURE[:, ::2], np.asfortranarray(PICTURE), PICTURE[..., ::-1]):
        checked = check_array(view)
        assert checked.flags.c_contiguous
        np.testing.assert_array_equal(checked, view)


def test_import_loads_no_torch():
    program = "import sys, lustral.images, lustral.weights, lustral.files; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
