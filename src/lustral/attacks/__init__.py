"""All attacks. To add one: write a file, add one line here, add one golden value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lustral.attacks.apgd import APGD
from lustral.attacks.autoattack import AutoAttack
from lustral.attacks.base import Access, AttackSettings
from lustral.attacks.cadv import CAdv
from lustral.attacks.carlini_wagner import CarliniWagner
from lustral.attacks.color_shift import ColorShift
from lustral.attacks.deepfool import DeepFool
from lustral.attacks.diffattack import DiffAttack
from lustral.attacks.fab import FAB
from lustral.attacks.facpa import FACPA
from lustral.attacks.fgsm import FGSM
from lustral.attacks.ifgsm import IFGSM
from lustral.attacks.korhonen import Korhonen
from lustral.attacks.madc import MADC
from lustral.attacks.nattack import NAttack
from lustral.attacks.nes import NES
from lustral.attacks.one_pixel import OnePixel
from lustral.attacks.parsimonious import Parsimonious
from lustral.attacks.patch_rs import PatchRS
from lustral.attacks.pgd import PGD
from lustral.attacks.random_search import RandomSearch
from lustral.attacks.spsa import SPSA
from lustral.attacks.square import Square
from lustral.attacks.ssah import SSAH
from lustral.attacks.stadv import StAdv
from lustral.attacks.stored import Stored
from lustral.attacks.uap import UAP
from lustral.attacks.zhang import Zhang
from lustral.settings import SettingsError, choose, parse_spec

__all__ = [
    "APGD",
    "ATTACKS",
    "FAB",
    "FACPA",
    "FGSM",
    "IFGSM",
    "MADC",
    "NES",
    "PGD",
    "SPSA",
    "SSAH",
    "UAP",
    "Access",
    "AttackSettings",
    "AutoAttack",
    "CAdv",
    "CarliniWagner",
    "ColorShift",
    "DeepFool",
    "DiffAttack",
    "Korhonen",
    "NAttack",
    "OnePixel",
    "Parsimonious",
    "PatchRS",
    "RandomSearch",
    "Square",
    "StAdv",
    "Stored",
    "Zhang",
    "parse_access",
    "parse_attack",
]

ATTACKS: dict[str, type[AttackSettings]] = {
    cls.name: cls
    for cls in (
        RandomSearch,
        FGSM,
        IFGSM,
        MADC,
        Korhonen,
        Zhang,
        SSAH,
        PGD,
        APGD,
        FAB,
        DeepFool,
        CarliniWagner,
        Square,
        NAttack,
        SPSA,
        NES,
        Parsimonious,
        OnePixel,
        PatchRS,
        StAdv,
        ColorShift,
        CAdv,
        UAP,
        FACPA,
        AutoAttack,
        DiffAttack,
        Stored,
    )
}


def parse_attack(value: str | Mapping[str, Any] | AttackSettings) -> AttackSettings:
    """Read an attack as people type it, as recipes store it, or as it is.

    Raises:
        SettingsError: unknown attack (the known ones are listed), unknown setting or bad value.

    >>> parse_attack("pgd:epsilon=8/255,steps=40").steps
    40
    >>> parse_attack({"name": "fgsm", "epsilon": "4/255"}) == FGSM(epsilon=4 / 255)
    True
    """
    return value if isinstance(value, AttackSettings) else choose(value, ATTACKS, "attack")


def parse_access(value: str | Mapping[str, Any] | Access) -> Access:
    """Read a threat model: ``blind``, ``exact:eot=20``, or a mapping of the fields of ``Access``.

    Raises:
        SettingsError: unknown knowledge (the known kinds are listed), unknown setting or bad value.

    >>> parse_access("exact:eot=20").eot
    20
    """
    if isinstance(value, Access):
        return value
    if isinstance(value, str):
        knowledge, fields = parse_spec(value)
        return Access.make(knowledge=knowledge, **fields)
    if "knowledge" not in value:
        raise SettingsError(f"access needs the key 'knowledge', got the keys {', '.join(value) or 'none'}")
    return Access.make(**{key: field for key, field in value.items() if key != "name"})
