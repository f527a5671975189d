"""Data sets made of another data set: what stands to the right of ``|``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, PlainSerializer, model_validator

from lustral.data.base import DataSettings
from lustral.settings import SettingsError

__all__ = ["Derived", "read_data"]


def read_data(data: Any) -> DataSettings:
    """Settings of a data set; see ``lustral.data.parse_data``."""
    from lustral.data import parse_data  # the list of data sets contains this file

    return parse_data(data)


def _write(data: DataSettings) -> Any:
    return data.to_json()


class Derived(DataSettings):
    """Base of data sets that take another one, ``data``, and keep its kind, truth and split."""

    origin: ClassVar[str] = "made from another data set"
    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")
    data: Annotated[DataSettings, BeforeValidator(read_data), PlainSerializer(_write)]

    @model_validator(mode="before")
    @classmethod
    def _split_of_the_data(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or "data" not in given:
            return given  # pyright: ignore[reportUnknownVariableType]
        try:
            return {"split": read_data(given["data"]).split, **given}
        except SettingsError:
            return given  # pyright: ignore[reportUnknownVariableType] the field itself reports it

    @model_validator(mode="after")
    def _same_split(self) -> Self:
        if self.split != self.data.split:
            raise ValueError(
                f"split={self.split} contradicts split={self.data.split} of {self.data.name}; set it there only"
            )
        return self

    @property
    def kind(self) -> Literal["classes", "quality", "plain"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The truth is that of the other set."""
        return self.data.kind
