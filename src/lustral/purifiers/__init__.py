"""All purifiers. To add one: write a file, add one line here, add one golden value."""

from __future__ import annotations

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
from lustral.settings import choose

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
    if isinstance(value, str) and "|" in value:
        return Chain(parts=tuple(parse_purifier(piece.strip()) for piece in value.split("|")))
    return choose(value, PURIFIERS, "purifier")
