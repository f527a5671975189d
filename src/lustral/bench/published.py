"""Numbers that papers print, so that a report can put its own beside them. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf

from lustral.purifiers import PurifierSettings, parse_purifier

if TYPE_CHECKING:
    from lustral.bench.recipe import Suite

__all__ = ["Published", "check_published"]


def _labels(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _defence(value: Any) -> object:
    return None if value is None else parse_purifier(value)


class Published(BaseModel):
    """One row of a published table, and which of our numbers belong beside it.

    Args:
        table, paper, row: where the numbers stand, such as "Table 1" and the method's name there.
        suite: suite of the recipe in which it was made again.
        defence: the defence of that suite which is the paper's.
        clean, robust: accuracy in per cent, as printed; None where the paper has none.
        threat: the paper's threat model in words.
        same: label of the attack of the suite that is the same threat model.
        standard: labels of the attacks of the standard protocol; none names all attacks of the suite. Every image
            meets the one that breaks it most often.
        against: a defence of the suite with which this one is compared on the same images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    table: str = Field(min_length=1, max_length=80)
    paper: str = Field(min_length=1, max_length=160)
    row: str = Field(min_length=1, max_length=160)
    suite: str
    defence: Annotated[InstanceOf[PurifierSettings], BeforeValidator(_defence)]
    clean: float | None = Field(default=None, ge=0, le=100)
    robust: float | None = Field(default=None, ge=0, le=100)
    threat: str = Field(min_length=1, max_length=300)
    same: str
    standard: Annotated[tuple[str, ...], BeforeValidator(_labels)] = ()
    against: Annotated[InstanceOf[PurifierSettings] | None, BeforeValidator(_defence)] = None

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary that a recipe reads back."""
        values = self.model_dump(mode="json", exclude={"defence", "against"})
        against = None if self.against is None else self.against.to_json()
        return {**values, "defence": self.defence.to_json(), "against": against}


def check_published(published: Sequence[Published], suites: Sequence[Suite]) -> None:
    """Every claim must speak of suites, defences and attacks that the recipe has.

    Raises:
        ValueError: one does not; the known ones are listed.
    """
    by_name = {suite.name: suite for suite in suites}
    for claim in published:
        where = f"published {claim.row!r} of {claim.table}"
        _known(where, "suite", claim.suite, by_name)
        suite = by_name[claim.suite]
        defences = [_text(defence) for defence in suite.all_defences]
        for defence in (claim.defence, *filter(None, [claim.against])):
            _known(where, f"defence of suite {suite.name!r}", _text(defence), defences)
        for label in (claim.same, *claim.standard):
            _known(where, f"attack label of suite {suite.name!r}", label, [line.label for line in suite.attack])


def _known(where: str, what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ValueError(f"{where} names an unknown {what}: {name!r}; known: {', '.join(map(repr, known))}")


def _text(defence: PurifierSettings) -> str:
    """A defence as people type it, with every setting: two that differ have different texts."""
    values = defence.to_json()
    fields = ",".join(f"{key}={value}" for key, value in values.items() if key != "name")
    return f"{defence.name}:{fields}" if fields else defence.name
