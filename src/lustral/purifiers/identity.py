"""No purification: the control that every table needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lustral.purifiers.base import Family, PurifierSettings

if TYPE_CHECKING:
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Identity"]


class Identity(PurifierSettings):
    """Return the images unchanged.

    Source: the undefended row of every table.
    """

    name: ClassVar[str] = "identity"
    family: ClassVar[Family] = "control"
    source: ClassVar[str] = "control"
    gradient: ClassVar = "exact"

    def purify(self, x: Images, noise: Noise) -> Images:
        return x.clone()
