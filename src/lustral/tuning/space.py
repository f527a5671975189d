"""What is searched: ranges and choices of settings, and the candidates drawn from them. No torch here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lustral.purifiers import PurifierSettings, parse_purifier
from lustral.settings import SettingsError, canonical, parse_number
from lustral.targets.extra import require_extra
from lustral.tuning.template import Setting, Values, fill, find_setting, read_template, typed_text, value_at

__all__ = ["Axis", "Candidate", "draw_candidates", "read_space"]

_DIGITS = 4  # significant ones of a drawn float, so that what is recommended can be typed
_TRIES = 100  # draws per candidate before a space counts as exhausted
_FORMS = "key=low..high, key=log:low..high or key=a|b|c"


@dataclass(frozen=True)
class Axis:
    """One searched setting: a range from ``low`` to ``high``, or ``choices`` as typed.

    Attributes:
        key: the setting, ``quality`` or ``parts.0.quality``.
        text: what was asked for.
        log: whether the logarithm is drawn uniformly, and not the value.
    """

    key: str
    text: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[str, ...] = ()

    @property
    def size(self) -> float:
        """How many values it has."""
        if self.choices:
            return len(self.choices)
        return self.high - self.low + 1 if isinstance(self.low, int) else math.inf

    def distribution(self, optuna: Any) -> Any:
        """The axis in optuna's words."""
        if self.choices:
            return optuna.distributions.CategoricalDistribution(self.choices)
        if isinstance(self.low, int):
            return optuna.distributions.IntDistribution(self.low, self.high, log=self.log)
        return optuna.distributions.FloatDistribution(self.low, self.high, log=self.log)

    def rounded(self, value: Any) -> Any:
        """A drawn value with few digits, inside the range."""
        if not isinstance(value, float):
            return value
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True)
class Candidate:
    """One setting of the purifier.

    Attributes:
        number: place in the sequence; 0 is the purifier as it was given, where that is complete.
        chosen: values of the searched settings.
        settings: None if they were rejected.
        text: what people type for it.
        reason: why it was rejected.
    """

    number: int
    chosen: dict[str, Any]
    settings: PurifierSettings | None
    text: str
    reason: str = ""

    @property
    def key(self) -> str:
        """The settings as canonical JSON, or the choice where they were rejected."""
        return canonical(self.chosen if self.settings is None else self.settings.to_json())


def read_space(template: Values, changes: Sequence[str]) -> tuple[Axis, ...]:
    """Axes of ``key=low..high``, ``key=log:low..high`` and ``key=a|b|c``, sorted by key.

    The type of the setting decides whether a range holds whole numbers or floats.

    Raises:
        SettingsError: none, one key twice, another form, an unknown key, or values that the setting refuses.
    """
    axes = sorted((_axis(template, change) for change in changes), key=lambda axis: axis.key)
    if not axes:
        raise SettingsError(f"nothing to search; give --set {_FORMS} at least once")
    for one, other in itertools.pairwise(axes):
        if one.key == other.key:
            raise SettingsError(f"{one.key!r} is searched twice, as {one.text!r} and as {other.text!r}")
    return tuple(axes)


def _axis(template: Values, change: str) -> Axis:
    key, _, text = (part.strip() for part in change.partition("="))
    if "|" not in text and ".." not in text:
        raise SettingsError(
            f"expected {_FORMS}, got {change!r}; a fixed value belongs into PURIFIER, as in name:{key}=1"
        )
    setting = find_setting(template, key)
    if "|" in text:
        choices = tuple(dict.fromkeys(choice.strip() for choice in text.split("|")))
        for choice in choices:
            setting.check(choice)
        return Axis(key, text, choices=choices)
    low, high = (_bound(setting, bound, text) for bound in text.removeprefix("log:").split("..", 1))
    is_log = text.startswith("log:")
    if not (low < high and (low > 0 or not is_log)):
        raise SettingsError(f"{setting.name}: expected low below high{', both above 0' * is_log}, got {text!r}")
    return Axis(key, text, low, high, is_log)


def _bound(setting: Setting, text: str, whole: str) -> int | float:
    if setting.number is None:
        raise SettingsError(f"{setting.name} is no number, so it has no range {whole!r}; list its values as a|b|c")
    try:
        value = int(text) if setting.number == "int" else float(str(parse_number(text)))
    except ValueError:
        kind = "whole numbers" if setting.number == "int" else "numbers"
        raise SettingsError(f"{setting.name}: expected low..high of {kind}, got {whole!r}") from None
    if not math.isfinite(value):
        raise SettingsError(f"{setting.name}: a range must be finite, got {whole!r}")
    setting.check(value)
    return value


def draw_candidates(purifier: str, changes: Sequence[str], trials: int, seed: int) -> tuple[Candidate, ...]:
    """The purifier as given, where that is complete, and what the seed draws: ``trials`` in all, no two alike.

    Fewer where a space of choices has no more. The sequence depends on the arguments only, not on results.

    Raises:
        SettingsError: see ``read_template`` and ``read_space``; or no candidate has usable settings.
        ImportError: the extra ``tune`` is not installed.
    """
    template = read_template(purifier)
    axes = read_space(template, changes)
    given = _candidate(0, template, {}, axes)
    found = {} if given.settings is None else {given.key: given}
    first, seen, size = 1 - len(found), set[str](), math.prod(axis.size for axis in axes)
    for chosen in itertools.islice(_draws(axes, seed), _TRIES * trials):
        if len(found) >= trials or len(seen) >= size:
            break
        seen.add(canonical(chosen))
        drawn = _candidate(first + len(found), template, chosen, axes)
        found.setdefault(drawn.key, drawn)
    candidates = tuple(found.values())
    if all(candidate.settings is None for candidate in candidates):
        raise SettingsError(f"none of {len(candidates)} candidates can be used; the first: {candidates[0].reason}")
    return candidates


def _draws(axes: Sequence[Axis], seed: int) -> Iterator[dict[str, Any]]:
    optuna = require_extra("optuna", "tune")
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of every study
    try:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    finally:
        optuna.logging.set_verbosity(verbosity)
    distributions = {axis.key: axis.distribution(optuna) for axis in axes}
    while True:
        drawn = study.ask(distributions).params
        yield {axis.key: axis.rounded(drawn[axis.key]) for axis in axes}


def _candidate(number: int, template: Values, chosen: dict[str, Any], axes: Sequence[Axis]) -> Candidate:
    values = fill(template, chosen)
    try:
        settings = parse_purifier(values)
    except SettingsError as error:
        return Candidate(number, chosen, None, typed_text(values), str(error))
    read = {axis.key: value_at(settings, axis.key) for axis in axes}
    return Candidate(number, read, settings, typed_text(values, settings))
