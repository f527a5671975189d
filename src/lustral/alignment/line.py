"""Which settings of an attack are moved, and how far they may go. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lustral.alignment.intensity import Measure
from lustral.attacks import AttackSettings, parse_attack
from lustral.attacks.budgets import UNBOUNDED
from lustral.settings import SettingsError, canonical

__all__ = ["Line", "attack_text", "line_of"]

_NAMED_LIKE = {"linf": "epsilon", "pixels": "pixels"}  # settings in units of the measure itself


@dataclass(frozen=True)
class Line:
    """A line through the settings of an attack.

    One setting is moved as it is. Several are moved together: the position is a common factor of their starting
    values, and whole numbers among them are rounded.

    Attributes:
        attack: the settings at the start.
        names: which settings are moved.
        low, high: positions between which all of them keep their own bounds.
        whole: whether positions are whole numbers.
    """

    attack: AttackSettings
    names: tuple[str, ...]
    low: float
    high: float
    whole: bool

    @property
    def start(self) -> float:
        """The position of the starting values."""
        return 1.0 if len(self.names) > 1 else float(getattr(self.attack, next(iter(self.names))))

    def at(self, position: float) -> AttackSettings:
        """The attack at a position.

        Raises:
            SettingsError: the attack refuses such settings.
        """
        factor = position / self.start
        values = {name: getattr(self.attack, name) for name in self.names}
        single = len(self.names) == 1
        moved = {name: position if single else value * factor for name, value in values.items()}
        changed = {
            name: max(1, round(value)) if isinstance(values[name], int) else value for name, value in moved.items()
        }
        fields = {key: value for key, value in self.attack.to_json().items() if key != "name"}
        return type(self.attack).make(**{**fields, **changed})

    def guess(self, measure: Measure, wanted: float) -> float | None:
        """The position where the setting itself has the wanted value, where it is in units of the measure."""
        name = _NAMED_LIKE.get(measure.name)
        if name not in self.names or (name == "epsilon" and self.attack.norm != "linf"):
            return None
        return wanted * self.start / getattr(self.attack, name)


def line_of(attack: AttackSettings, names: tuple[str, ...] = ()) -> Line:
    """The line of some settings, by default of the attack's ``strength``.

    Raises:
        SettingsError: a setting is unknown, no number, has no starting value, or bounds nothing.
    """
    names = names or (attack.strength,)
    if len(set(names)) != len(names):
        raise SettingsError(f"a setting is moved twice: {', '.join(names)}")
    for name in names:
        _check(attack, name)
    whole = len(names) == 1 and isinstance(getattr(attack, names[0]), int)
    low, high = 0.0, math.inf
    for name in names:
        value = 1.0 if len(names) == 1 else float(getattr(attack, name))
        least, most = _bounds(attack, name)
        low, high = max(low, least / value), min(high, most / value)
    return Line(attack, names, low, high, whole)


def _check(attack: AttackSettings, name: str) -> None:
    values: dict[str, Any] = {field: getattr(attack, field) for field in type(attack).model_fields}
    numbers = {field: value for field, value in values.items() if type(value) in (int, float)}  # True is no number here
    known = ", ".join(numbers)
    if name in values and values[name] is None:
        raise SettingsError(f"{attack.name}.{name} has no value to start from; give one as in {name}=0.01")
    if name not in numbers:
        raise SettingsError(f"{attack.name} has no number {name!r}; its numbers: {known}")
    if not numbers[name] > 0:
        raise SettingsError(f"{attack.name}.{name}={numbers[name]:g} cannot be moved by factors; start above 0")
    if name == "epsilon" and numbers[name] >= UNBOUNDED:
        raise SettingsError(f"epsilon bounds nothing in {attack.name}; name another setting with --parameter: {known}")


def _bounds(attack: AttackSettings, name: str) -> tuple[float, float]:
    """Smallest and largest value that the field itself takes."""
    low, high = 0.0, math.inf
    for entry in type(attack).model_fields[name].metadata:
        above, below = getattr(entry, "gt", None), getattr(entry, "lt", None)
        least, most = getattr(entry, "ge", None), getattr(entry, "le", None)
        low = max(low, -math.inf if above is None else math.nextafter(above, math.inf), least or 0.0)
        high = min(high, math.inf if below is None else math.nextafter(below, -math.inf))
        high = high if most is None else min(high, most)
    return low, high


def attack_text(attack: AttackSettings) -> str:
    """What people can type for an attack, exactly; JSON where the command line has no words for it.

    >>> attack_text(parse_attack("pgd:epsilon=2/255,steps=5"))
    'pgd:epsilon=2/255,steps=5'
    """
    fields = type(attack).model_fields
    changed = {name: getattr(attack, name) for name in fields if getattr(attack, name) != fields[name].default}
    text = ",".join(f"{name}={_exact(value)}" for name, value in changed.items())
    text = f"{attack.name}:{text}" if text else attack.name
    try:
        if parse_attack(text) == attack:
            return text
    except SettingsError:
        pass
    return canonical(attack.to_json())


def _exact(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    levels = round(value * 255, 6)
    text = f"{levels:g}/255"
    return text if value < 1 and float(f"{levels:g}") / 255 == value else repr(value)
