"""EDM: the ``SongUNet`` checkpoints of Karras et al., once they are plain tensors, to ours; the names are the same."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from lustral.diffusion.published.checkpoint import (
    Converted,
    Label,
    Options,
    Settings,
    Tensors,
    mean_or_row,
    read_settings,
    tensors_in,
    wanted,
)
from lustral.diffusion.song import SongShape
from lustral.model_files import WeightsError

__all__ = ["convert_edm"]


class EDMOptions(Settings):
    """Options of the family.

    Attributes:
        label: class of a class-conditional network, or "mean"; it becomes part of a bias.
    """

    label: Label = None


def convert_edm(checkpoint: object, options: Options) -> Converted:
    """``SongUNet`` between the scalings of EDM; labels for augmentation are dropped, as in published sampling."""
    settings = read_settings(EDMOptions, options, "edm")
    tensors = {
        name.removeprefix("model."): value
        for name, value in tensors_in(checkpoint, "ema", "state_dict", "model").items()
    }
    shape = _shape(tensors)
    taps = next((value for name, value in tensors.items() if name.endswith(".resample_filter")), None)
    tensors = {
        name: value
        for name, value in tensors.items()
        if not name.endswith(".resample_filter") and not name.startswith("map_augment.")
    }
    song: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(shape).items()
    }
    if taps is not None and taps.numel() > 0:
        line = taps.reshape(taps.shape[-2:]).sum(0)
        song["taps"] = [round(float(tap), 6) for tap in line / line.min()]
    architecture: dict[str, Any] = {"network": "song_edm", "song": song, "side": shape.side}
    if "map_label.weight" in tensors:
        tensors = _with_label(tensors, settings.label)
        architecture["label"] = settings.label
    return Converted(tensors, architecture)


def _shape(tensors: Tensors) -> SongShape:
    """Read off names and shapes, which hold all of it but the filter."""
    sides = sorted({int(match[1]) for name in tensors if (match := re.match(r"enc\.(\d+)x\1_", name))}, reverse=True)
    if not sides or f"dec.{sides[0]}x{sides[0]}_aux_conv.weight" not in tensors:
        raise WeightsError(
            "expected a checkpoint of family edm with the parts of a SongUNet, such as dec.32x32_aux_conv, got "
            f"{len(tensors)} other tensors; a DhariwalUNet cannot be converted, for guided-diffusion use family adm"
        )
    first = wanted(tensors, f"enc.{sides[0]}x{sides[0]}_conv.weight", "edm", 4)
    width = len(first)
    blocks = len({name.split(".")[1] for name in tensors if re.match(rf"enc\.{sides[0]}x{sides[0]}_block\d+\.", name)})
    outputs = [len(wanted(tensors, f"enc.{side}x{side}_block0.conv0.weight", "edm", 4)) for side in sides]
    if len(wanted(tensors, f"enc.{sides[0]}x{sides[0]}_block0.affine.weight", "edm", 2)) != outputs[0]:
        raise WeightsError(
            "family edm: expected blocks that the noise level shifts, got scale and shift; name another family"
        )
    fourier = "map_noise.freqs" in tensors
    names = set(tensors)
    kinds = {"residual": "aux_residual.weight", "skip": "aux_skip.weight"}
    encoder = next((kind for kind, part in kinds.items() if any(name.endswith(part) for name in names)), "standard")
    return SongShape(
        side=sides[0], width=width, multiples=tuple(value // width for value in outputs), blocks=blocks,
        attention=tuple(side for side in sides if f"enc.{side}x{side}_block0.qkv.weight" in names), fourier=fourier,
        embedding=len(wanted(tensors, "map_layer0.weight", "edm", 2)) // width,
        encoder=encoder,  # pyright: ignore[reportArgumentType]
        decoder="skip" if len(sides) > 1 and f"dec.{sides[-1]}x{sides[-1]}_aux_conv.weight" in names else "standard",
        taps=(1.0, 3.0, 3.0, 1.0) if fourier else (1.0, 1.0),
    )  # fmt: skip


def _with_label(tensors: Tensors, label: Label) -> Tensors:
    """The embedding of one class added to what follows the embedding of the noise level."""
    table = wanted(tensors, "map_label.weight", "edm", 2)  # (width, classes)
    bias = wanted(tensors, "map_label.bias", "edm", 1)
    row = mean_or_row(table.T * len(table.T) ** 0.5, label, "edm") + bias
    first = wanted(tensors, "map_layer0.weight", "edm", 2)
    rest: Tensors = {name: value for name, value in tensors.items() if not name.startswith("map_label.")}
    rest["map_layer0.bias"] = wanted(tensors, "map_layer0.bias", "edm", 1) + first @ row
    return rest
