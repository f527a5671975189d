"""The unit of benchmark work as the store and the engines see it, and its result. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["CellLike", "CellResult"]


class CellLike(Protocol):
    """What a cell must have; ``lustral.bench.plan.Cell`` has it.

    ``id`` is ``lustral.settings.digest(settings)`` and nothing else identifies a cell: ``suite``, ``role``
    and ``label`` are how the recipe that first asked for it speaks of it.
    """

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def suite(self) -> str: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def role(self) -> str: ...
    @property
    def label(self) -> str: ...


@dataclass
class CellResult:
    """What running a cell gives.

    Attributes:
        columns: name -> one value per image: str, int, float, bool, bytes, None, or a list of those.
        facts: JSON about the cell as a whole, such as the hash of the purifier that was attacked.
    """

    columns: dict[str, list[Any]]
    facts: dict[str, Any] = field(default_factory=dict)
