"""lustral: adversarial purification of images, attacked properly, measured honestly.

Names are imported on first use, so that ``import lustral`` costs nothing and loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lustral.attacks import ATTACKS, Access, parse_access, parse_attack
    from lustral.data import DATA, parse_data
    from lustral.defended import Defended
    from lustral.evaluation import Evaluation, evaluate
    from lustral.images import read_image, write_image
    from lustral.purifiers import PURIFIERS, parse_purifier
    from lustral.seeds import Noise
    from lustral.targets import TARGETS, parse_target
    from lustral.tensors import from_uint8, to_uint8

__version__ = "0.1.0"

__all__ = [
    "ATTACKS",
    "DATA",
    "PURIFIERS",
    "TARGETS",
    "Access",
    "Defended",
    "Evaluation",
    "Noise",
    "evaluate",
    "from_uint8",
    "parse_access",
    "parse_attack",
    "parse_data",
    "parse_purifier",
    "parse_target",
    "read_image",
    "to_uint8",
    "write_image",
]

_HOMES = {
    "ATTACKS": "attacks",
    "Access": "attacks",
    "DATA": "data",
    "Defended": "defended",
    "Evaluation": "evaluation",
    "Noise": "seeds",
    "PURIFIERS": "purifiers",
    "TARGETS": "targets",
    "evaluate": "evaluation",
    "from_uint8": "tensors",
    "parse_access": "attacks",
    "parse_attack": "attacks",
    "parse_data": "data",
    "parse_purifier": "purifiers",
    "parse_target": "targets",
    "read_image": "images",
    "to_uint8": "tensors",
    "write_image": "images",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"lustral has no public name {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"lustral.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
