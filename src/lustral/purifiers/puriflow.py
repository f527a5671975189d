"""PuriFlow: super-resolution and back, then diffusion."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lustral.purifiers.base import Family, PurifierSettings
from lustral.purifiers.compose import Part, Series

__all__ = ["PuriFlow"]


class PuriFlow(Series):
    """Restore what early layers see, then purify by diffusion; the chain ``restore | diffusion``.

    Args:
        restore: first purifier: super-resolution, or what table 7 puts in its place.
        diffusion: second purifier: ``diffpure`` (VP-SDE), ``ve_sde``, or ``scoreopt`` (iterative one-shot denoising).

    Cost: the network passes of both.

    Source: Park et al., "Adversarial purification via super-resolution and diffusion", ICCV 2025, section 4. Time of
        the diffusion: 130 against AutoAttack, 90 in the ablations, 100 on CIFAR-10 (table 4), 10 against
        attackers that do not know the purifier (tables 5 and 6).
    Differs: see ``SuperResolve``, ``DiffPure``, ``VESDE`` and ``ScoreOpt``; the image is clamped to [0, 1]
        between the two.
    """

    name: ClassVar[str] = "puriflow"
    family: ClassVar[Family] = "diffusion"
    source: ClassVar[str] = "Park et al. 2025 (PuriFlow), section 4"
    presets: ClassVar = (
        {"diffusion": "diffpure:time=10"},
        {"diffusion": "diffpure:time=90"},
        {"diffusion": "ve_sde:time=90"},
        {"diffusion": "scoreopt:variant=image,sigma=0.25,steps=5"},
        {"diffusion": "diffpure:time=130"},
    )
    restore: Part = Field(default="super_resolve", validate_default=True)  # pyright: ignore[reportAssignmentType] read as settings
    diffusion: Part = Field(default="diffpure", validate_default=True)  # pyright: ignore[reportAssignmentType] read as settings

    @property
    def stages(self) -> tuple[PurifierSettings, ...]:
        """Restoration, then diffusion."""
        return self.restore, self.diffusion
