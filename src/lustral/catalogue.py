"""What there is: purifiers, attacks, targets, data sets, recipes and weights as plain rows. No torch here."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from typing import Any

from lustral.attacks import ATTACKS
from lustral.data import DATA
from lustral.purifiers import PURIFIERS
from lustral.settings import Settings, SettingsError
from lustral.targets import TARGETS
from lustral.weights import list_weights

_PURIFIER_FACTS = ("source", "gradient", "is_random", "passes")

__all__ = ["KINDS", "catalogue", "find_recipe", "recipe_folders"]

KINDS = ("purifiers", "attacks", "targets", "data", "recipes", "weights")


def recipe_folders() -> list[Path]:
    """Where recipes are looked for by name: here, in the installed package, in a checkout."""
    package = Path(__file__).parent
    return [Path("recipes"), package / "recipes", package.parents[1] / "recipes"]


def find_recipe(name: str) -> Path:
    """A recipe by path or by name.

    Raises:
        SettingsError: there is none; lists those that exist.
    """
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path
    for folder in recipe_folders():
        found = folder / f"{path.stem}.toml"
        if found.is_file():
            return found
    known = ", ".join(row["name"] for row in _recipes()) or "none"
    raise SettingsError(f"no recipe {name!r}; give the path of a TOML file or one of: {known}")


def catalogue(kind: str) -> list[dict[str, Any]]:
    """Rows of one kind, each with at least ``name`` and ``summary``.

    Raises:
        SettingsError: unknown kind.
    """
    makers = {
        "purifiers": lambda: [
            _method(cls, ("source", "gradient", "is_random", "passes")) for cls in PURIFIERS.values()
        ],
        "attacks": lambda: [_method(cls, ("source", "needs", "kinds")) for cls in ATTACKS.values()],
        "targets": lambda: [_method(cls, ("source", "needs")) for cls in TARGETS.values()],
        "data": lambda: [_method(cls, ("kind", "origin")) for cls in DATA.values()],
        "recipes": _recipes,
        "weights": _weights,
    }
    if kind not in makers:
        raise SettingsError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    return makers[kind]()


def _method(cls: type[Settings], attributes: tuple[str, ...]) -> dict[str, Any]:
    summary = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
    row: dict[str, Any] = {"name": cls.name, "summary": summary}
    for attribute in attributes:
        value = inspect.getattr_static(cls, attribute, None)
        row[attribute] = "depends on its parts" if isinstance(value, property) else getattr(cls, attribute)
    row["settings"] = {
        name: "required" if field.is_required() else field.get_default(call_default_factory=True)
        for name, field in cls.model_fields.items()
    }
    return row


def _recipes() -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for folder in recipe_folders():
        for path in sorted(folder.glob("*.toml")):
            try:
                summary = tomllib.loads(path.read_text(encoding="utf-8")).get("title", "")
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                summary = f"cannot be read: {error}"
            rows.setdefault(path.stem, {"name": path.stem, "summary": summary, "path": str(path)})
    return list(rows.values())


def _weights() -> list[dict[str, Any]]:
    return [
        {"name": name, "summary": card.origin, **card.model_dump(mode="json")} for name, card in list_weights().items()
    ]
