"""From the architecture that a weight file states to the network it fits, without memory for its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from torch import nn

from lustral.diffusion.epsilon import ContinuousDenoiser, EpsilonDenoiser, ExplodingDenoiser, vp_cosine
from lustral.diffusion.preconditioned import PreconditionedDenoiser
from lustral.diffusion.schedules import vp_linear
from lustral.diffusion.song import SongShape, SongUNet
from lustral.diffusion.unet2d import make_unet2d
from lustral.model_files import WeightsError

__all__ = ["NETWORKS", "empty_denoiser", "multiple_of", "network_of"]


_Blocks = Annotated[int, Field(ge=1, le=32)]


class _Own(BaseModel):
    """Limits of our own network, so that a hostile file cannot fill the memory or never end."""

    widths: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(min_length=1, max_length=16)
    blocks: _Blocks | tuple[_Blocks, ...]
    patch: int = Field(ge=1, le=16)
    embedding: int = Field(ge=1, le=65536)
    side: int = Field(ge=1, le=4096)


class _Song(BaseModel):
    """Limits of a ``SongShape``, for the same reason."""

    model_config = ConfigDict(extra="forbid")
    side: int = Field(ge=2, le=4096)
    width: int = Field(ge=4, le=4096, multiple_of=4)
    multiples: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(min_length=1, max_length=16)
    blocks: int = Field(ge=1, le=32)
    attention: tuple[int, ...]
    fourier: bool
    embedding: int = Field(ge=1, le=64)
    encoder: Literal["standard", "skip", "residual"]
    decoder: Literal["standard", "skip"]
    taps: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=2, max_length=16)


def _own(architecture: Mapping[str, Any]) -> nn.Module:
    _Own.model_validate(dict(architecture))
    return PreconditionedDenoiser.of(architecture)


def _song(architecture: Mapping[str, Any]) -> tuple[SongUNet, int]:
    shape = _Song.model_validate(architecture["song"])
    return SongUNet(SongShape(**shape.model_dump())), shape.side


def _epsilon(architecture: Mapping[str, Any]) -> nn.Module:
    schedule = {"linear": vp_linear, "cosine": vp_cosine}[architecture["schedule"]]()
    return EpsilonDenoiser(make_unet2d(architecture["config"]), schedule, int(architecture["side"]))


NETWORKS: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "preconditioned_denoiser": _own,
    "unet2d_epsilon": _epsilon,
    "song_edm": lambda architecture: PreconditionedDenoiser(*_song(architecture)),
    "song_vp": lambda architecture: ContinuousDenoiser(*_song(architecture)),
    "song_ve": lambda architecture: ExplodingDenoiser(*_song(architecture)),
}
"""By the name in ``architecture["network"]``: what builds the denoiser."""


def empty_denoiser(architecture: Mapping[str, JsonValue], name: str) -> nn.Module:
    """The denoiser of an architecture, on torch's "meta" device: ``load_into`` gives it its weights.

    Args:
        architecture: settings with the key ``network``, one of ``NETWORKS``.
        name: of the weights, for the error.

    Raises:
        ImportError: the network needs an extra.
        WeightsError: unknown network, missing or bad settings.
    """
    kind = architecture.get("network")
    if not isinstance(kind, str) or kind not in NETWORKS:
        raise WeightsError(
            f"weights {name}: expected a denoiser ({', '.join(NETWORKS)}), got network {str(kind)[:80]!r}; "
            "`lustral list weights` says what each is"
        )
    try:
        with torch.device("meta"):
            return NETWORKS[kind](architecture)
    except WeightsError as problem:
        raise WeightsError(f"weights {name}: {problem}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        reason = " ".join(str(problem).split())[:300]
        raise WeightsError(
            f"weights {name}: cannot build {kind} from its architecture: {reason}; convert it again"
        ) from None


def network_of(denoiser: nn.Module, architecture: Mapping[str, JsonValue]) -> nn.Module:
    """The part whose names the weight file uses: the network, or for our own denoiser all of it."""
    return denoiser if architecture["network"] == "preconditioned_denoiser" else denoiser.get_submodule("network")


def multiple_of(architecture: Mapping[str, Any]) -> int:
    """What the sides of images must be divisible by; 1 for our own network, which pads them itself."""
    if architecture["network"] == "preconditioned_denoiser":
        return 1
    levels = (
        architecture["song"]["multiples"] if "song" in architecture else architecture["config"]["block_out_channels"]
    )
    return 2 ** (len(levels) - 1)
