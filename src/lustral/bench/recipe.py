"""A benchmark as a TOML file, read into checked settings. No torch here."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, ValidationError, model_validator

from lustral.attacks import Access, AttackSettings, parse_access, parse_attack
from lustral.bench.aligned import expand_aligned
from lustral.bench.presets import PresetChoice, expand_presets
from lustral.bench.published import Published, check_published
from lustral.bench.strengths import Calibration, Strength
from lustral.data import DataSettings, parse_data
from lustral.purifiers import PURIFIERS, PurifierSettings, parse_purifier
from lustral.settings import SettingsError
from lustral.targets import TargetSettings, parse_target

__all__ = ["AttackLine", "Protocol", "Recipe", "Suite", "load_recipe", "parse_recipe"]

FILTERS_NEED_PARTS = ("chain", "repeat", "random_choice")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Protocol(_Strict):
    """Numbers of the two-phase protocol.

    Args:
        draws: fresh purifications per image in the scoring phase of a random defence (one otherwise).
        worst_of: resubmissions M of the worst-of-M figure; at most ``draws``.
        votes: draws of the majority vote.
        selection_draws: judgements per candidate when the attack chooses its final image.
        check_images: images on which the extra runs of the indicators are made.
        gradient_images: images on which gradients are compared with central differences, once per defence; about
            25 forward and backward passes each, in float64.
        checks: whether these extra runs are made at all; without them their indicators read NOT RUN.
        paired: score random defences of a quality metric twice, also with the noise that the clean image met. Published
            scores pair it, which favours random defences; reports show both. Costs as many draws again.
    """

    draws: int = Field(default=20, ge=1)
    worst_of: int = Field(default=10, ge=1)
    votes: int = Field(default=10, ge=1)
    selection_draws: int = Field(default=20, ge=1)
    check_images: int = Field(default=64, ge=1)
    gradient_images: int = Field(default=2, ge=1)
    checks: bool = True
    paired: bool = False

    @model_validator(mode="after")
    def _enough_draws(self) -> Self:
        if max(self.worst_of, self.votes) > self.draws:
            raise ValueError(
                f"worst_of={self.worst_of} and votes={self.votes} need at least that many draws, got draws={self.draws}"
            )
        return self


class AttackLine(_Strict):
    """One attack of a suite: what it is called, what it does, what it knows.

    Args:
        main: whether the indicators examine it.
        transfer: whether the images that it makes on each defence are also put before all others.
        strength: what it was aligned to; written by ``expand_aligned`` from the key ``aligned``.
    """

    label: str = Field(min_length=1, max_length=80)
    attack: Annotated[InstanceOf[AttackSettings], BeforeValidator(parse_attack)]
    access: Annotated[InstanceOf[Access], BeforeValidator(parse_access)] = Access()
    main: bool = False
    transfer: bool = False
    strength: Strength | None = None

    @model_validator(mode="after")
    def _can_transfer(self) -> Self:
        if self.transfer and (not self.access.is_adaptive or self.access.knowledge == "known_noise"):
            raise ValueError(
                f"{self.label!r}: transfer is for attacks made on a defence without its noise, got access "
                f"{self.access.knowledge}; blind attacks meet every defence anyway"
            )
        return self


def _defences(value: object) -> object:
    if value == "all":
        return tuple(cls.make() for name, cls in PURIFIERS.items() if name not in FILTERS_NEED_PARTS)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(parse_purifier(item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportArgumentType]
    raise SettingsError(f'defences must be "all" or a list of purifiers, got {value!r}')


class Suite(_Strict):
    """One target on one data set, with its defences and attacks; ``identity`` is always among the defences.

    ``calibration`` are images on which strengths of its attacks were aligned or its presets chosen; none of them may
    be evaluated. ``chosen`` says how presets were, written by ``expand_presets`` from the key ``presets``.
    """

    name: str = Field(min_length=1, max_length=80)
    data: Annotated[InstanceOf[DataSettings], BeforeValidator(parse_data)]
    target: Annotated[InstanceOf[TargetSettings], BeforeValidator(parse_target)]
    defences: Annotated[tuple[InstanceOf[PurifierSettings], ...], BeforeValidator(_defences)]
    attack: tuple[AttackLine, ...] = Field(min_length=1)
    calibration: tuple[Calibration, ...] = ()
    chosen: PresetChoice | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        labels = [line.label for line in self.attack]
        if len(set(labels)) != len(labels):
            raise ValueError(f"attack labels repeat in suite {self.name!r}: {labels}")
        if sum(line.main for line in self.attack) > 1:
            raise ValueError(f"suite {self.name!r} marks several attacks as main; indicators examine exactly one")
        threats = [(line.attack, line.access.to_json()) for line in self.attack]
        for index, line in enumerate(self.attack):
            if threats[index] in threats[:index]:
                raise ValueError(f"suite {self.name!r} names the same attack and access twice: {line.label!r}")
            if self.target.kind not in line.attack.kinds:
                raise ValueError(f"{line.attack.name} has no meaning for a {self.target.kind} ({line.label!r})")
        return self

    @property
    def all_defences(self) -> tuple[PurifierSettings, ...]:
        """The defences with the identity control first, each once."""
        control = PURIFIERS["identity"].make()
        return tuple(dict.fromkeys((control, *self.defences)))


class Recipe(_Strict):
    """A whole benchmark.

    Args:
        seed: everything random follows from it.
        chunk: images per cell; floating point depends on the batch shape, so it is part of a cell's identity.
        pictures: images of each suite of which pictures are kept for the report.
        published: rows of papers that the report prints beside its own; no part of any cell's identity.
    """

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str = ""
    description: str = ""
    seed: int = 0
    chunk: int = Field(default=64, ge=1)
    pictures: int = Field(default=6, ge=0)
    device: str = "cpu"
    protocol: Protocol = Protocol()
    suite: tuple[Suite, ...] = Field(min_length=1)
    published: tuple[Published, ...] = ()

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [suite.name for suite in self.suite]
        if len(set(names)) != len(names):
            raise ValueError(f"suite names repeat: {names}")
        check_published(self.published, self.suite)
        return self

    def to_json(self) -> dict[str, Any]:
        """Canonical JSON; ``parse_recipe`` reads it back to an equal recipe."""
        suites = [
            {
                "name": suite.name,
                "data": suite.data.to_json(),
                "target": suite.target.to_json(),
                "defences": [defence.to_json() for defence in suite.defences],
                "attack": [
                    {
                        "label": line.label,
                        "attack": line.attack.to_json(),
                        "access": line.access.to_json(),
                        "main": line.main,
                        **({"transfer": True} if line.transfer else {}),
                        **({} if line.strength is None else {"strength": line.strength.model_dump(mode="json")}),
                    }
                    for line in suite.attack
                ],
                **(
                    {"calibration": [entry.model_dump(mode="json") for entry in suite.calibration]}
                    if suite.calibration
                    else {}
                ),
                **({} if suite.chosen is None else {"chosen": suite.chosen.model_dump(mode="json")}),
            }
            for suite in self.suite
        ]
        claims = {"published": [claim.to_json() for claim in self.published]} if self.published else {}
        return {**self.model_dump(mode="json", exclude={"suite", "published"}), "suite": suites, **claims}


def parse_recipe(values: dict[str, Any], where: str = "recipe") -> Recipe:
    """Check a dictionary as read from TOML or JSON.

    Raises:
        SettingsError: one line per mistake, with the keys that are known.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines: list[str] = []
        for problem in error.errors():
            place = ".".join(str(part) for part in problem["loc"])
            lines.append(f"  {place}: {problem['msg']}{_known_keys(problem['loc'], problem['type'])}")
        raise SettingsError(f"{where} cannot be used:\n" + "\n".join(lines)) from None


def _known_keys(place: tuple[int | str, ...], kind: str) -> str:
    if kind != "extra_forbidden":
        return ""
    names = [part for part in place if isinstance(part, str)]
    owner: type[BaseModel] = Recipe
    for name in names[:-1]:
        owner = {"suite": Suite, "attack": AttackLine, "protocol": Protocol, "published": Published}.get(name, owner)
    return f"; known keys: {', '.join(owner.model_fields)}"


def load_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe and apply ``key=value`` changes such as ``seed=1`` or ``protocol.draws=10``.

    A suite is named in a key by its name: ``suite.scenes.data=scenes:count=32``. Attacks with the key ``aligned``
    become one for each level, see ``expand_aligned``; suites with the key ``presets`` get the defences of a file, see
    ``expand_presets``.

    Raises:
        SettingsError: the file is not TOML, a key is unknown or a value is wrong.
    """
    if not path.is_file():
        raise SettingsError(f"no recipe at {path}; `lustral list recipes` shows those that ship with lustral")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not a TOML file: {error}") from None
    for change in changes:
        _apply(values, change)
    return parse_recipe(expand_presets(expand_aligned(values, path.parent), path.parent), str(path))


def _apply(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals:
        raise SettingsError(f"expected key=value, got {change!r}")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    place: Any = values
    *path, last = key.strip().split(".")
    for part in path:
        if isinstance(place, list):
            found = [item for item in place if item.get("name", item.get("label")) == part]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            if not found:
                raise SettingsError(f"{key!r}: nothing is called {part!r}")
            place = found[0]
        else:
            place = place.setdefault(part, {})
    place[last] = value
