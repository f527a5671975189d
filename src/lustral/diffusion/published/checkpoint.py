"""What the families share: finding the tensors in a checkpoint, options, and looking at names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from torch import Tensor

from lustral.files import shown
from lustral.model_files import WeightsError

__all__ = [
    "Converted",
    "Options",
    "Settings",
    "Tensors",
    "count",
    "mean_or_row",
    "read_settings",
    "tensors_in",
    "wanted",
]

Options = Mapping[str, JsonValue]
Tensors = dict[str, Tensor]
Label = int | Literal["mean"] | None


class Settings(BaseModel):
    """Options of one family."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Converted:
    """Tensors under the names of a network that ``lustral.diffusion.architectures`` builds from ``architecture``."""

    tensors: Tensors
    architecture: dict[str, JsonValue]


_AnySettings = TypeVar("_AnySettings", bound=Settings)


def read_settings(kind: type[_AnySettings], options: Options, family: str) -> _AnySettings:
    """Options of a family; unknown ones and bad values are one clear error.

    Raises:
        WeightsError: see above.
    """
    try:
        return kind.model_validate(dict(options))
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WeightsError(
            f"family {family}: option {where[:80]!r}: {first['msg']}; known options: {', '.join(kind.model_fields)}"
        ) from None


def tensors_in(checkpoint: object, *places: str) -> Tensors:
    """The dictionary of tensors in what a file held: that itself, or under the first of ``places`` that is there.

    A prefix ``module.``, which data-parallel training leaves, is removed.

    Raises:
        WeightsError: there is none.
    """
    found: Any = checkpoint
    place = next((name for name in places if isinstance(found, dict) and isinstance(found.get(name), dict)), None)
    found = found if place is None else found[place]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        keys = (
            ", ".join(shown(str(key)) for key in list(found)[:3]) if isinstance(found, dict) else type(found).__name__
        )
        raise WeightsError(
            f"expected a dictionary of tensors{' under ' + ' or '.join(places) if places else ''}, got {keys}; "
            "name the family it belongs to"
        )
    return {str(key).removeprefix("module."): tensor for key, tensor in found.items()}


def wanted(tensors: Tensors, name: str, family: str, dimensions: int) -> Tensor:
    """One tensor that every checkpoint of a family has.

    Raises:
        WeightsError: it is missing, or has another number of dimensions.
    """
    tensor = tensors.get(name)
    if tensor is None or tensor.ndim != dimensions or 0 in tensor.shape:
        got = (
            f"the shape {tuple(tensor.shape)}"
            if tensor is not None
            else f"names such as {shown(next(iter(tensors), ''))}"
        )
        raise WeightsError(
            f"expected a checkpoint of family {family} with {name} of {dimensions} dimensions, got {got}; "
            "name the family it belongs to, or fetch it again"
        )
    return tensor


def count(tensors: Tensors, pattern: str) -> int:
    """How many consecutive numbers from 0 stand in the group of ``pattern`` among the names."""
    found = {int(match[1]) for name in tensors if (match := re.match(pattern, name))}
    return next(number for number in range(len(found) + 1) if number not in found)


def mean_or_row(table: Tensor, label: Label, family: str) -> Tensor:
    """The row of a class in a table (classes, width), or the mean row.

    Raises:
        WeightsError: no label was given although the network needs one, or there is no such class.
    """
    if label == "mean":
        return table.mean(0)
    if label is None or not 0 <= label < len(table):
        raise WeightsError(
            f"family {family}: this network was told the class of every image and knows no 'any class', which "
            f"a purifier needs; choose one of {len(table)} with --set label=NUMBER, or --set label=mean for the mean "
            f"of their embeddings, which it was not trained for; got {label}"
        )
    return table[label]
