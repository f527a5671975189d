"""Named pictures of one size side by side in one PNG file, which carries the names. No torch here."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

__all__ = ["join_strip", "split_strip"]

_NAMES = "names"

Picture = np.ndarray[Any, np.dtype[np.uint8]]


def join_strip(tiles: Mapping[str, Picture]) -> bytes:
    """PNG of pictures (h, w, 3) from left to right, with their names as a JSON list in the text chunk "names".

    Raises:
        ValueError: no pictures, or of different sizes.
    """
    if len({tile.shape for tile in tiles.values()}) != 1:
        raise ValueError(f"expected pictures of one size, got {[tile.shape for tile in tiles.values()] or 'none'}")
    text = PngInfo()
    text.add_text(_NAMES, json.dumps(list(tiles)))
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(list(tiles.values()), axis=1)).save(stream, format="PNG", pnginfo=text)
    return stream.getvalue()


def split_strip(data: bytes) -> list[tuple[str, Image.Image]]:
    """Names and RGB pictures of a strip, from left to right.

    Raises:
        ValueError: it is no strip.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        strip = Image.open(io.BytesIO(data), formats=["PNG"])
        names: object = json.loads(strip.info.get(_NAMES, "null"))
        picture = strip.convert("RGB")
    if not isinstance(names, list) or not names or picture.width % len(names):
        raise ValueError(f"expected a strip of named pictures, got a PNG of {picture.size} pixels named {names!r:.80}")
    width = picture.width // len(names)
    places = [(number * width, 0, (number + 1) * width, picture.height) for number in range(len(names))]
    return [(str(name), picture.crop(place)) for name, place in zip(names, places, strict=True)]
