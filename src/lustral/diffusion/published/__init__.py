"""Published checkpoints, one file per family: how its names and shapes become those of a network we can build."""

from collections.abc import Callable

from lustral.diffusion.published.adm import convert_adm
from lustral.diffusion.published.checkpoint import Converted, Options
from lustral.diffusion.published.ddpm import convert_ddpm
from lustral.diffusion.published.edm import convert_edm
from lustral.diffusion.published.score_sde import convert_score_sde

__all__ = ["FAMILIES", "Converted", "Options"]

FAMILIES: dict[str, Callable[[object, Options], Converted]] = {
    "adm": convert_adm,
    "ddpm": convert_ddpm,
    "score_sde": convert_score_sde,
    "edm": convert_edm,
}
"""By the name on the command line: what a file holds, and options -> tensors and architecture."""
