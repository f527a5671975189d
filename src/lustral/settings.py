"""Frozen settings shared by every method: comparable, hashable, JSON round trip, no torch."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

__all__ = ["Number", "Settings", "SettingsError", "canonical", "choose", "digest", "parse_number", "parse_spec"]

_FRACTION = re.compile(r"[-+]?\d+(\.\d+)?\s*/\s*\d+(\.\d+)?")


class SettingsError(ValueError):
    """Settings that cannot be used; the message says what was expected, what came and what to do."""


def parse_number(value: object) -> object:
    """Read ``"8/255"`` as the fraction it is; leave anything else to pydantic.

    >>> parse_number("8/255") == 8 / 255
    True
    """
    if isinstance(value, str) and _FRACTION.fullmatch(value.strip()):
        over, under = (Fraction(part.strip()) for part in value.split("/"))
        if under == 0:
            raise ValueError(f"cannot divide by zero in {value!r}")
        return float(over / under)
    return value


Family = TypeVar("Family", bound="Settings")

Number = Annotated[float, BeforeValidator(parse_number)]
"""A float that people may write as a fraction of the 8-bit range, as in ``8/255``."""


class Settings(BaseModel):
    """Base of purifier, attack, target and data settings; subclasses add fields and ``name``.

    ``version`` is raised by one when a change of code changes results, so that stored cells of the
    old code are not mistaken for new ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: ClassVar[str]
    version: ClassVar[int] = 1

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary ``{"name": ..., **fields}`` that ``from_json`` of its family reads back."""
        return {"name": self.name, **self.model_dump(mode="json")}

    @classmethod
    def make(cls, **fields: object) -> Self:
        """Build from loose fields; unknown keys and bad values become one clear ``SettingsError``."""
        try:
            return cls(**fields)
        except ValidationError as error:
            raise SettingsError(_explain(cls, error)) from None


def _explain(cls: type[Settings], error: ValidationError) -> str:
    lines: list[str] = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(sorted(cls.model_fields)) or "none"
            lines.append(f"unknown setting {where!r} of {cls.name}; known settings: {known}")
        else:
            lines.append(f"{cls.name}.{where}: {problem['msg']}, got {problem.get('input')!r}")
    return "; ".join(lines)


def parse_spec(text: str) -> tuple[str, dict[str, str]]:
    """Split what people type, ``jpeg:quality=75,backward=identity``, into a name and fields.

    >>> parse_spec("jpeg:quality=75")
    ('jpeg', {'quality': '75'})
    """
    name, _, rest = text.partition(":")
    fields: dict[str, str] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise SettingsError(f"expected key=value after {name!r}, got {item!r} in {text!r}")
        fields[key.strip()] = value.strip()
    return name.strip(), fields


def choose(value: object, known: Mapping[str, type[Family]], what: str) -> Family:
    """Settings of one family from what people type or from JSON.

    Args:
        value: ``"name:key=value"`` or ``{"name": ..., settings}``.
        known: the family's dictionary, such as ``PURIFIERS``.
        what: "purifier", "attack" ..., for the error.

    Raises:
        SettingsError: unknown name (the known ones are listed), unknown setting or bad value.
    """
    if isinstance(value, str):
        name, fields = parse_spec(value)
    elif isinstance(value, Mapping) and "name" in value:
        fields: Mapping[str, Any] = {str(key): field for key, field in value.items() if key != "name"}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        name = str(value["name"])  # pyright: ignore[reportUnknownArgumentType]
    else:
        raise SettingsError(f'expected one {what} as "name:key=value" or {{"name": ..., settings}}, got {value!r}')
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise SettingsError(f"unknown {what} {name!r}{hint}; known {what}s: {', '.join(sorted(known))}")
    return known[name].make(**fields)


def canonical(value: object) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN. Equal settings give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(value: object) -> str:
    """32 hexadecimal characters (128 bits) of the canonical text."""
    return hashlib.blake2b(canonical(value).encode(), digest_size=16).hexdigest()
