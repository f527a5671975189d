"""DDPM: the checkpoints of Ho et al. as ported to PyTorch (pesser), and those of SDEdit, to ``UNet2DModel``."""

from __future__ import annotations

import re

from pydantic import Field, JsonValue

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
from lustral.model_files import WeightsError

__all__ = ["convert_ddpm"]

_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_OUTER = {
    "temb.dense.0": "time_embedding.linear_1", "temb.dense.1": "time_embedding.linear_2", "norm_out": "conv_norm_out",
    "mid.block_1": "mid_block.resnets.0", "mid.block_2": "mid_block.resnets.1", "mid.attn_1": "mid_block.attentions.0",
}  # fmt: skip
_ATTENDED_SIDE = 16


class DDPMOptions(Settings):
    """Options of the family.

    Attributes:
        side: of the images; by default from the level with attention, which these networks have at 16 pixels.
    """

    side: int | None = Field(default=None, ge=2, le=4096)


def convert_ddpm(checkpoint: object, options: Options) -> Converted:
    """``UNet2DModel`` with sine before cosine, asymmetric padding and one attention head."""
    settings = read_settings(DDPMOptions, options, "ddpm")
    tensors = tensors_in(checkpoint, "ema", "state_dict", "model")
    width = len(wanted(tensors, "conv_in.weight", "ddpm", 4))
    levels = count(tensors, r"down\.(\d+)\.block\.")
    wanted(tensors, "down.0.block.0.conv1.weight", "ddpm", 4)
    widths = [len(wanted(tensors, f"down.{i}.block.0.conv1.weight", "ddpm", 4)) for i in range(levels)]
    attended = [f"down.{i}.attn.0.q.weight" in tensors for i in range(levels)]
    if settings.side is None and not any(attended):
        raise WeightsError(
            "family ddpm: no level has attention, which would tell the side of the images; --set side=32"
        )
    config: dict[str, JsonValue] = {
        "sample_size": settings.side or _ATTENDED_SIDE * 2 ** attended.index(True),
        "in_channels": 3, "out_channels": len(wanted(tensors, "conv_out.weight", "ddpm", 4)),
        "block_out_channels": [*widths], "layers_per_block": count(tensors, r"down\.0\.block\.(\d+)\."),
        "down_block_types": ["AttnDownBlock2D" if has else "DownBlock2D" for has in attended],
        "up_block_types": ["AttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attended)],
        "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6,
        "attention_head_dim": None, "norm_num_groups": 32,
    }  # fmt: skip
    if width != widths[0]:
        raise WeightsError(f"family ddpm: expected a first level as wide as the stem, {width}, got {widths[0]}")
    architecture: dict[str, JsonValue] = {
        "network": "unet2d_epsilon", "config": config, "schedule": "linear", "side": config["sample_size"],
    }  # fmt: skip
    return Converted(_renamed(tensors, levels), architecture)


def _renamed(tensors: Tensors, levels: int) -> Tensors:
    found: Tensors = {}
    for name, tensor in tensors.items():
        new = _new_name(name, levels)
        squeeze = re.search(r"\.to_(q|k|v|out\.0)\.weight$", new) and tensor.ndim == 4
        found[new] = tensor[:, :, 0, 0] if squeeze else tensor
    return found


def _new_name(name: str, levels: int) -> str:
    stem, _, kind = name.rpartition(".")
    head, _, last = stem.rpartition(".")
    if ".attn" in head and last in _ATTENTION:
        stem = f"{head}.{_ATTENTION[last]}"
    stem = re.sub(r"\btemb_proj$", "time_emb_proj", re.sub(r"\bnin_shortcut$", "conv_shortcut", stem))
    for old, new in _OUTER.items():
        if stem == old or stem.startswith(old + "."):
            stem = new + stem.removeprefix(old)
    stem = re.sub(r"^down\.(\d+)", r"down_blocks.\1", stem)
    stem = re.sub(r"^up\.(\d+)", lambda match: f"up_blocks.{levels - 1 - int(match[1])}", stem)
    stem = re.sub(r"^((?:down|up)_blocks\.\d+)\.block\.", r"\1.resnets.", stem)
    stem = re.sub(r"^((?:down|up)_blocks\.\d+)\.attn\.", r"\1.attentions.", stem)
    stem = re.sub(r"\.(down|up)sample\.conv$", r".\1samplers.0.conv", stem)
    return f"{stem}.{kind}"
