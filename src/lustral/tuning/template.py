"""A purifier some of whose settings are open: what is fixed, and which setting a key means. No torch here."""

from __future__ import annotations

import copy
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lustral.purifiers import PURIFIERS, PurifierSettings, parse_purifier
from lustral.settings import SettingsError, canonical, choose, parse_spec

__all__ = ["Setting", "Values", "fill", "find_setting", "read_template", "typed_text", "value_at"]

Values = dict[str, Any]
"""Settings as JSON with the values as typed, not yet checked as a whole."""


class Setting:
    """One field of one purifier.

    Attributes:
        name: as errors call it, ``jpeg.quality``.
        number: what a range of it holds, or None if it is no number.
    """

    def __init__(self, owner: type[PurifierSettings], field: str) -> None:
        self.name = f"{owner.name}.{field}"
        self._field: FieldInfo = owner.model_fields[field]
        kinds = _kinds(self._field.annotation)
        self.number: Literal["int", "float"] | None = "float" if float in kinds else "int" if int in kinds else None

    def check(self, value: object) -> None:
        """Refuse a value that the field refuses whatever the other settings are.

        Raises:
            SettingsError: with what the field takes.
        """
        kind: Any = self._field.annotation
        if self._field.metadata:  # bounds and validators
            kind = Annotated[(kind, *self._field.metadata)]
        try:
            TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            messages = "; ".join(dict.fromkeys(problem["msg"] for problem in error.errors()))
            raise SettingsError(f"{self.name}: {messages}, got {value!r}") from None


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The type, or the members of a union."""
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if is_union else (annotation,)


def read_template(text: str) -> Values:
    """The fixed part, ``msid:steps=10`` or a chain; required settings may be missing.

    Raises:
        SettingsError: unknown purifier, unknown setting, or a value that the setting refuses.

    >>> read_template("jpeg:quality=75 | flip")["parts"]
    [{'name': 'jpeg', 'quality': '75'}, {'name': 'flip'}]
    """
    pieces = [_piece(piece.strip()) for piece in text.split("|")]
    return pieces[0] if len(pieces) == 1 else {"name": "chain", "parts": pieces}


def _piece(text: str) -> Values:
    name, fields = parse_spec(text)
    if name not in PURIFIERS:
        choose(name, PURIFIERS, "purifier")  # its error lists the known ones
    for key, value in fields.items():
        _setting(PURIFIERS[name], key).check(value)
    return {"name": name, **fields}


def _setting(owner: type[PurifierSettings], field: str) -> Setting:
    if field not in owner.model_fields:
        known = ", ".join(sorted(owner.model_fields)) or "none"
        raise SettingsError(f"unknown setting {field!r} of {owner.name}; known settings: {known}")
    return Setting(owner, field)


def find_setting(template: Values, key: str) -> Setting:
    """What ``quality`` means for a JPEG, or ``parts.0.quality`` for a chain that begins with one.

    Raises:
        SettingsError: there is no such part or setting; lists the known ones.
    """
    *path, field = key.split(".")
    return _setting(PURIFIERS[_part(copy.deepcopy(template), path, key)["name"]], field)


def _part(values: Values, path: list[str], key: str) -> Values:
    """The part of a composition that a path leads to; parts given as text become values on the way."""
    place: Any = values
    for step in path:
        known = range(len(place)) if isinstance(place, list) else place
        index: Any = int(step) if isinstance(place, list) and step.isdigit() else step
        if index not in known or index == "name":
            raise SettingsError(
                f"{key!r}: there is no part {step!r}; settings of parts are named parts.0.KEY in a chain a | b "
                "and part.KEY in a repeat"
            )
        if isinstance(place[index], str):
            place[index] = _piece(place[index])
        place = place[index]
    if not isinstance(place, dict):
        raise SettingsError(f"{key!r} names no setting; settings of the parts of a chain are named parts.0.KEY")
    return place  # pyright: ignore[reportUnknownVariableType]


def fill(template: Values, chosen: Mapping[str, Any]) -> Values:
    """A copy of the template with values for some keys."""
    made = copy.deepcopy(template)
    for key, value in chosen.items():
        *path, field = key.split(".")
        _part(made, path, key)[field] = value
    return made


def value_at(settings: PurifierSettings, key: str) -> Any:
    """What settings say under a key, as JSON."""
    place: Any = settings.to_json()
    for step in key.split("."):
        place = place[int(step)] if isinstance(place, list) else place[step]
    return place  # pyright: ignore[reportUnknownVariableType]


def typed_text(values: Values, settings: PurifierSettings | None = None) -> str:
    """What people can type for these values; the JSON of the settings where the command line has no words for them."""
    text = _text(values)
    try:
        return text if settings is None or parse_purifier(text) == settings else canonical(settings.to_json())
    except SettingsError:
        return text if settings is None else canonical(settings.to_json())


def _text(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    fields: dict[str, Any] = {str(key): inner for key, inner in value.items() if key != "name"}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if value["name"] == "chain" and isinstance(fields.get("parts"), list):
        return " | ".join(map(_text, fields["parts"]))
    listed = ",".join(f"{key}={_text(inner)}" for key, inner in fields.items())
    return f"{value['name']}:{listed}" if listed else str(value["name"])
