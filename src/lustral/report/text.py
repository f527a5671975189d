"""Names and numbers as people read them, safe to print wherever they came from."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from lustral.settings import Settings

__all__ = ["access_text", "data_text", "defence_text", "json_text", "no_nan", "plain", "spec_text", "target_text"]

_LONGEST = 160


def plain(text: str, longest: int = _LONGEST) -> str:
    r"""One harmless line: control, bidirectional and other invisible characters are written as escapes.

    >>> plain("a\x1b[2J\u202eb")
    'a\\x1b[2J\\u202eb'
    """
    shown = "".join(_visible(character) for character in text[: longest + 1])
    return shown if len(text) <= longest else f"{shown[:longest]}..."


def _visible(character: str) -> str:
    if character == " " or unicodedata.category(character)[0] not in "CZ":
        return character
    return character.encode("unicode_escape").decode("ascii") if character != "\xa0" else " "


def no_nan(value: Any) -> Any:
    """The same structure with NaN and infinities as None, ready for strict JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): no_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [no_nan(entry) for entry in value]
    return value


def json_text(value: Any, indent: int | None = None) -> str:
    """Strict ASCII JSON with sorted keys, NaN as null; equal values give equal text."""
    return json.dumps(no_nan(value), sort_keys=True, indent=indent, allow_nan=False, ensure_ascii=True)


def spec_text(settings: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> str:
    """Settings as people type them, without the fields that have their default value.

    >>> spec_text({"name": "jpeg", "quality": 75, "backward": "identity"}, {"backward": "identity"})
    'jpeg:quality=75'
    """
    skipped = dict(defaults or {})
    fields = [
        f"{key}={_value(value)}"
        for key, value in settings.items()
        if key != "name" and not (key in skipped and skipped[key] == value)
    ]
    name = str(settings.get("name", "?"))
    return f"{name}:{','.join(fields)}" if fields else name


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and value and all(isinstance(part, Mapping) and "name" in part for part in value):
        return "[" + " | ".join(defence_text(part) for part in value) + "]"
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return "+".join(value)
    return defence_text(value) if isinstance(value, Mapping) and "name" in value else str(value)


def defence_text(settings: Mapping[str, Any]) -> str:
    """Short name of a defence: a chain as ``a | b``, anything else without its defaults."""
    from lustral.purifiers import PURIFIERS

    if settings.get("name") == "chain" and isinstance(settings.get("parts"), list):
        return " | ".join(defence_text(part) for part in settings["parts"])
    known = PURIFIERS.get(str(settings.get("name")))
    fields = {} if known is None else known.model_fields
    # The presets vary a field around its default, so a default must not be hidden where it is what distinguishes.
    varied = {key for preset in (() if known is None else known.presets) for key in preset}
    defaults = {key: field.default for key, field in fields.items() if key not in varied}
    return spec_text(settings, defaults)


def access_text(settings: Mapping[str, Any]) -> str:
    """The threat model as people type it, ``exact:eot=10``."""
    fields = {key: value for key, value in settings.items() if key not in ("name", "knowledge") and value is not None}
    return spec_text({"name": settings.get("knowledge", "?"), **fields}, {"eot": 1})


def data_text(settings: Mapping[str, Any]) -> str:
    """Short name of a data set; one that changes another stands to its right, ``a | b``."""
    from lustral.data import DATA

    changed = settings.get("data")
    if isinstance(changed, Mapping):
        own = {key: value for key, value in settings.items() if key not in ("data", "split")}
        return f"{data_text(changed)} | {_short(own, DATA)}"  # pyright: ignore[reportUnknownArgumentType]
    return _short(settings, DATA)


def target_text(settings: Mapping[str, Any]) -> str:
    """Short name of a target."""
    from lustral.targets import TARGETS

    return _short(settings, TARGETS)


def _short(settings: Mapping[str, Any], known: Mapping[str, type[Settings]]) -> str:
    cls = known.get(str(settings.get("name")))
    defaults = {} if cls is None else {key: field.default for key, field in cls.model_fields.items()}
    # JSON has no tuples.
    plain_defaults = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return spec_text(settings, plain_defaults)
