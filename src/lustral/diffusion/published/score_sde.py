"""score_sde: DDPM++ and NCSN++ of Song et al., a numbered list of modules, to ``SongUNet``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from lustral.diffusion.published.checkpoint import (
    Converted,
    Options,
    Settings,
    Tensors,
    count,
    read_settings,
    tensors_in,
    wanted,
)
from lustral.diffusion.song import SongShape
from lustral.files import shown
from lustral.model_files import WeightsError

__all__ = ["convert_score_sde"]

_LIST = "all_modules"
_RESIDUAL = {
    "GroupNorm_0": "norm0", "Conv_0": "conv0", "Dense_0": "affine", "GroupNorm_1": "norm1", "Conv_1": "conv1",
    "Conv_2": "skip",
}  # fmt: skip
_AUXILIARY = {"fused": "aux_residual", "combine": "aux_skip"}
_ATTENDED_SIDE = 16


class ScoreOptions(Settings):
    """Options of the family.

    Attributes:
        sde: "vp" or "ve"; by default "ve" if the network embeds the noise level by random frequencies.
        fir: whether it resamples with the smooth filter; by default if it is "ve" or the image enters lower levels.
        side: of the images; by default from the level with attention, which these networks have at 16 pixels.
        ema: whether to take the averaged parameters, which the published samples were made with.
    """

    sde: Literal["vp", "ve"] | None = None
    fir: bool | None = None
    side: int | None = Field(default=None, ge=2, le=4096)
    ema: bool = True


def convert_score_sde(checkpoint: object, options: Options) -> Converted:
    """``SongUNet`` as a variance-preserving or variance-exploding denoiser."""
    settings = read_settings(ScoreOptions, options, "score_sde")
    tensors = tensors_in(checkpoint, "model", "state_dict")
    wanted(tensors, f"{_LIST}.1.weight", "score_sde", 2)
    if settings.ema:
        tensors = _averaged(tensors, checkpoint)
    tensors.pop("sigmas", None)
    fourier = f"{_LIST}.0.W" in tensors
    walk = _Walk(tensors, fourier)
    walk.run(settings.side)
    fir = settings.fir if settings.fir is not None else fourier or walk.encoder != "standard"
    width = len(wanted(tensors, f"{_LIST}.{3 if fourier else 2}.weight", "score_sde", 4))
    shape = SongShape(
        side=walk.side, width=width, multiples=tuple(found // width for found in walk.widths), blocks=walk.blocks,
        attention=tuple(walk.side >> level for level in walk.attended), fourier=fourier, encoder=walk.encoder,
        decoder=walk.decoder, taps=(1.0, 3.0, 3.0, 1.0) if fir else (1.0, 1.0),
        embedding=len(wanted(tensors, f"{_LIST}.{1 if fourier else 0}.weight", "score_sde", 2)) // width,
    )  # fmt: skip
    sde = settings.sde or ("ve" if fourier else "vp")
    song: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(shape).items()
    }
    return Converted(_renamed(tensors, walk.names), {"network": f"song_{sde}", "song": song, "side": walk.side})


def _averaged(tensors: Tensors, checkpoint: object) -> Tensors:
    """Parameters replaced by their running averages, which the checkpoint lists by position only."""
    ema = checkpoint.get("ema") if isinstance(checkpoint, dict) else None  # pyright: ignore[reportUnknownVariableType]
    values: Any = ema.get("shadow_params") if isinstance(ema, dict) else None
    names = [name for name in tensors if name not in ("sigmas", f"{_LIST}.0.W")]  # what training does not change
    shapes = [tuple(tensors[name].shape) for name in names]
    if not isinstance(values, list) or [tuple(getattr(value, "shape", ())) for value in values] != shapes:
        got = f"{len(values)} that do not match them one by one" if isinstance(values, list) else "none"
        raise WeightsError(
            f"family score_sde: expected averages of {len(names)} parameters in ema.shadow_params, got {got}; "
            "fetch the checkpoint again, or take the last parameters instead with --set ema=false"
        )
    return {**tensors, **dict(zip(names, values, strict=True))}


def _kind(inside: Tensors) -> str:
    """What a module is, from the names in it; one that resamples has a 1x1 skip although the width stays the same."""
    if "GroupNorm_1.weight" in inside:
        first = inside.get("Conv_0.weight")
        is_square = first is not None and first.ndim == 4 and first.shape[0] == first.shape[1]
        return "resample" if is_square and "Conv_2.weight" in inside else "block"
    named = {"W": "fourier", "NIN_0.W": "attention", "Conv2d_0.weight": "fused", "Conv_0.weight": "combine"}
    found = next((kind for name, kind in named.items() if name in inside), None)
    dimensions = inside["weight"].ndim if "weight" in inside else 0
    return found or {1: "norm", 2: "linear", 4: "conv"}.get(dimensions, "unknown")


class _Walk:
    """The modules in the order in which the published network runs them; gives every one its name in ``SongUNet``."""

    def __init__(self, tensors: Tensors, fourier: bool) -> None:
        self.tensors = tensors
        self.place = 0
        self.fourier = fourier
        total = count(tensors, rf"{_LIST}\.(\d+)\.")
        modules = _by_module(tensors)
        self.kinds = [_kind(modules[str(index)]) for index in range(total)]
        resampling = sum(kind == "resample" for kind in self.kinds)
        residual = sum(kind in ("block", "resample") for kind in self.kinds)
        self.levels = resampling // 2 + 1
        self.blocks, rest = divmod(residual - 3 * self.levels, 2 * self.levels)
        if resampling % 2 or rest or self.blocks < 1:
            raise self._unfit("residual blocks that come out even")
        self.names: dict[int, str] = {}
        self.widths: list[int] = []
        self.attended: list[int] = []
        self.encoder: Literal["standard", "skip", "residual"] = "standard"
        self.decoder: Literal["standard", "skip"] = "standard"
        self.side = 0

    def _unfit(self, expected: str) -> WeightsError:
        return WeightsError(
            f"family score_sde: expected {expected} at module {self.place} of a DDPM++ or NCSN++ with BigGAN blocks, "
            f"got {self._peek()}; the checkpoint is of another network"
        )

    def _peek(self) -> str:
        return self.kinds[self.place] if self.place < len(self.kinds) else "end"

    def _take(self, kind: str, name: str) -> None:
        if self._peek() != kind:
            raise self._unfit(kind)
        self.names[self.place] = name
        self.place += 1

    def _take_attention(self, name: str) -> bool:
        if self._peek() != "attention":
            return False
        self._take("attention", name)
        return True

    def run(self, side: int | None) -> None:
        """Name every module; levels are still numbers between ``{}`` until the side is known."""
        if self.fourier:
            self._take("fourier", "map_noise")
        self._take("linear", "map_layer0")
        self._take("linear", "map_layer1")
        self._take("conv", "enc.{0}_conv")
        self._down()
        self._up()
        if self.place != len(self.kinds):
            raise self._unfit("the end")
        if side is None and not self.attended:
            raise WeightsError(
                "family score_sde: no level has attention, which would tell the side of the images; --set side=32"
            )
        self.side = side or _ATTENDED_SIDE << min(self.attended)
        sides = [f"{self.side >> level}x{self.side >> level}" for level in range(self.levels)]
        self.names = {index: name.format(*sides) for index, name in self.names.items()}

    def _down(self) -> None:
        for level in range(self.levels):
            prefix = f"enc.{{{level}}}_"
            if level:
                self._take("resample", prefix + "down")
                if self._peek() in _AUXILIARY:
                    self.encoder = "residual" if self._peek() == "fused" else "skip"
                    self._take(self._peek(), prefix + _AUXILIARY[self._peek()])
            first = self.place
            for block in range(self.blocks):
                self._take("block", f"{prefix}block{block}")
                if self._take_attention(f"{prefix}block{block}") and level not in self.attended:
                    self.attended.append(level)
            self.widths.append(len(wanted(self.tensors, f"{_LIST}.{first}.Conv_0.weight", "score_sde", 4)))

    def _up(self) -> None:
        deepest = self.levels - 1
        self._take("block", f"dec.{{{deepest}}}_in0")
        self._take("attention", f"dec.{{{deepest}}}_in0")
        self._take("block", f"dec.{{{deepest}}}_in1")
        for level in range(deepest, -1, -1):
            prefix = f"dec.{{{level}}}_"
            if level < deepest:
                self._take("resample", prefix + "up")
            for block in range(self.blocks + 1):
                self._take("block", f"{prefix}block{block}")
            self._take_attention(f"{prefix}block{self.blocks}")
            if self._peek() == "norm":
                self.decoder = "skip" if level == deepest and deepest else self.decoder
                self._take("norm", prefix + "aux_norm")
                self._take("conv", prefix + "aux_conv")


def _by_module(tensors: Tensors) -> dict[str, Tensors]:
    """What each module holds, by its number as text."""
    modules: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        head, _, rest = name.partition(".")
        number, _, inside = rest.partition(".")
        if head == _LIST:
            modules.setdefault(number, {})[inside] = tensor
    return modules


def _renamed(tensors: Tensors, names: dict[int, str]) -> Tensors:
    found: Tensors = {}
    modules = _by_module(tensors)
    for index, name in names.items():
        inside = modules[str(index)]
        found |= dict(_attention(inside, name) if "NIN_0.W" in inside else _plain(inside, name))
    extra = next((name for name in tensors if not name.startswith(_LIST + ".")), None)
    if extra is not None:
        raise WeightsError(f"family score_sde: expected names that begin with {_LIST}, got {shown(extra)}")
    return found


def _plain(inside: Tensors, name: str) -> Iterator[tuple[str, Tensor]]:
    is_block = "GroupNorm_1.weight" in inside
    for key, tensor in inside.items():
        part, _, kind = key.rpartition(".")
        if is_block:
            yield f"{name}.{_RESIDUAL.get(part, part)}.{kind}", tensor
        else:  # one layer, whatever it is wrapped in
            yield f"{name}.{'freqs' if kind == 'W' else kind}", tensor


def _attention(inside: Tensors, name: str) -> Iterator[tuple[str, Tensor]]:
    """1x1 layers stored as (in, out) matrices; queries, keys and values take turns over the output channels."""
    try:
        turns = torch.stack([inside[f"NIN_{part}.W"].T for part in range(3)], dim=1).flatten(0, 1)  # (3 out, in)
        yield f"{name}.qkv.weight", turns[:, :, None, None]
        yield f"{name}.qkv.bias", torch.stack([inside[f"NIN_{part}.b"] for part in range(3)], dim=1).flatten()
        yield f"{name}.proj.weight", inside["NIN_3.W"].T[:, :, None, None]
        yield f"{name}.proj.bias", inside["NIN_3.b"]
        yield f"{name}.norm2.weight", inside["GroupNorm_0.weight"]
        yield f"{name}.norm2.bias", inside["GroupNorm_0.bias"]
    except (KeyError, RuntimeError) as problem:
        raise WeightsError(
            f"family score_sde: attention that becomes {name} is not whole: {problem}; fetch it again"
        ) from None
