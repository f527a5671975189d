"""All purifiers. To add one: write a file, add one line here, add one golden value."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from lustral.purifiers.base import PurifierSettings
from lustral.purifiers.bit_depth import BitDepth
from lustral.purifiers.color_quantization import ColorQuantization
from lustral.purifiers.compose import Chain, RandomChoice, Repeat
from lustral.purifiers.diff_jpeg import DiffJPEG
from lustral.purifiers.flip import Flip
from lustral.purifiers.gaussian_blur import GaussianBlur
from lustral.purifiers.identity import Identity
from lustral.purifiers.jpeg import JPEG
from lustral.purifiers.median_blur import MedianBlur
from lustral.purifiers.random_crop import RandomCrop
from lustral.purifiers.random_noise import RandomNoise
from lustral.purifiers.random_rotate import RandomRotate
from lustral.purifiers.resize import Resize
from lustral.purifiers.unsharp import Unsharp
from lustral.purifiers.upscale import Upscale
from lustral.settings import SettingsError, parse_spec

__all__ = [
    "JPEG",
    "PURIFIERS",
    "BitDepth",
    "Chain",
    "ColorQuantization",
    "DiffJPEG",
    "Flip",
    "GaussianBlur",
    "Identity",
    "MedianBlur",
    "PurifierSettings",
    "RandomChoice",
    "RandomCrop",
    "RandomNoise",
    "RandomRotate",
    "Repeat",
    "Resize",
    "Unsharp",
    "Upscale",
    "parse_purifier",
]

PURIFIERS: dict[str, type[PurifierSettings]] = {
    cls.name: cls
    for cls in (
        Identity,
        GaussianBlur,
        MedianBlur,
        JPEG,
        DiffJPEG,
        ColorQuantization,
        BitDepth,
        Unsharp,
        Flip,
        Upscale,
        Resize,
        RandomRotate,
        RandomCrop,
        RandomNoise,
        Chain,
        Repeat,
        RandomChoice,
    )
}


def parse_purifier(value: str | Mapping[str, Any] | PurifierSettings) -> PurifierSettings:
    """Settings from what people type, from JSON, or as they are.

    Args:
        value: ``jpeg:quality=75``, a chain ``jpeg:quality=75 | flip``, or ``{"name": "jpeg", "quality": 75}``.

    Raises:
        SettingsError: unknown name, unknown or bad settings.

    >>> parse_purifier("jpeg:quality=75 | flip").to_json()["parts"][1]
    {'name': 'flip', 'axes': 'both'}
    """
    if isinstance(value, PurifierSettings):
        return value
    if isinstance(value, str):
        pieces = value.split("|")
        if len(pieces) > 1:
            return Chain(parts=tuple(parse_purifier(piece) for piece in pieces))
        name, fields = parse_spec(value)
        return _class(name).make(**fields)
    if not isinstance(value, Mapping) or "name" not in value:  # pyright: ignore[reportUnnecessaryIsInstance] comes from files
        raise SettingsError(f'a purifier is "name:key=value" or {{"name": ..., settings}}, got {value!r}')
    return _class(value["name"]).make(**{key: field for key, field in value.items() if key != "name"})


def _class(name: object) -> type[PurifierSettings]:
    if isinstance(name, str) and name in PURIFIERS:
        return PURIFIERS[name]
    close = difflib.get_close_matches(str(name), PURIFIERS, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise SettingsError(f"unknown purifier {name!r}{hint}; known purifiers: {', '.join(sorted(PURIFIERS))}")
