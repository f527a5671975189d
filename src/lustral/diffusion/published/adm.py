"""ADM: the checkpoints of OpenAI's guided-diffusion, exactly as ``UNet2DModel``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue
from torch import Tensor

from lustral.diffusion.published.checkpoint import (
    Converted,
    Label,
    Options,
    Settings,
    Tensors,
    count,
    mean_or_row,
    read_settings,
    tensors_in,
    wanted,
)
from lustral.model_files import WeightsError

__all__ = ["convert_adm"]

_RESIDUAL = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut", "op": "conv",
}  # fmt: skip
_ATTENTION = {"norm": "group_norm", "proj_out": "to_out.0"}
_OUTER = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2", "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out", "out.2": "conv_out",
}  # fmt: skip
_LARGEST_ATTENDED_SIDE = 32


class ADMOptions(Settings):
    """Options of the family; the first two cannot be read off the tensors.

    Attributes:
        attention_order: how queries, keys and values are laid out: "legacy" (256x256_diffusion_uncond.pt), or "new"
            (64x64_diffusion.pt), the flag ``use_new_attention_order`` of the published code.
        schedule: "linear" (256x256_diffusion_uncond.pt) or "cosine" (64x64_diffusion.pt).
        head_channels: channels of an attention head; None for one head.
        side: of the images; by default from the highest level with attention, which is at 32 pixels.
        label: class of a class-conditional network, or "mean"; it becomes part of a bias.
    """

    attention_order: Literal["legacy", "new"]
    schedule: Literal["linear", "cosine"]
    head_channels: int | None = Field(default=64, ge=1)
    side: int | None = Field(default=None, ge=2, le=4096)
    label: Label = None


def convert_adm(checkpoint: object, options: Options) -> Converted:
    """``UNet2DModel`` with group normalisation in the middle attention, and queries, keys and values taken apart."""
    settings = read_settings(ADMOptions, options, "adm")
    tensors = tensors_in(checkpoint, "ema", "state_dict", "model")
    wanted(tensors, "time_embed.0.weight", "adm", 2)
    levels, blocks = _depth(tensors)
    config = _config(tensors, settings, levels, blocks)
    architecture: dict[str, JsonValue] = {
        "network": "unet2d_epsilon", "config": config, "schedule": settings.schedule, "side": config["sample_size"],
    }  # fmt: skip
    if "label_emb.weight" in tensors:
        row = mean_or_row(wanted(tensors, "label_emb.weight", "adm", 2), settings.label, "adm")
        tensors = {name: tensor for name, tensor in tensors.items() if name != "label_emb.weight"}
        tensors["time_embed.2.bias"] = wanted(tensors, "time_embed.2.bias", "adm", 1) + row
        architecture["label"] = settings.label
    return Converted(_renamed(tensors, levels, blocks, settings), architecture)


def _config(tensors: Tensors, settings: ADMOptions, levels: int, blocks: int) -> dict[str, JsonValue]:
    width = wanted(tensors, "time_embed.0.weight", "adm", 2).shape[1]
    firsts = [1 + level * (blocks + 1) for level in range(levels)]  # number of the first block of each level
    widths = [len(wanted(tensors, f"input_blocks.{first}.0.in_layers.2.weight", "adm", 4)) for first in firsts]
    attended = [f"input_blocks.{first}.1.qkv.weight" in tensors for first in firsts]
    if width != widths[0]:
        raise WeightsError(
            f"family adm: expected a first level of width {width}, as the time embedding, got {widths[0]}"
        )
    if settings.side is None and not any(attended):
        raise WeightsError("family adm: no level has attention, which would tell the side; --set side=256")
    strided = any(name.startswith("input_blocks.") and ".0.op." in name for name in tensors)
    down, up = ("DownBlock2D", "UpBlock2D") if strided else ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
    scales = len(wanted(tensors, "input_blocks.1.0.emb_layers.1.weight", "adm", 2)) == 2 * widths[0]
    return {
        "sample_size": settings.side or _LARGEST_ATTENDED_SIDE * 2 ** attended.index(True),
        "in_channels": 3, "out_channels": len(wanted(tensors, "out.2.weight", "adm", 4)),
        "block_out_channels": [*widths], "layers_per_block": blocks,
        "down_block_types": ["AttnDownBlock2D" if has else down for has in attended],
        "up_block_types": ["AttnUpBlock2D" if has else up for has in reversed(attended)],
        "downsample_type": "conv" if strided else "resnet", "upsample_type": "conv" if strided else "resnet",
        "resnet_time_scale_shift": "scale_shift" if scales else "default", "norm_eps": 1e-5, "norm_num_groups": 32,
        "attn_norm_num_groups": 32, "attention_head_dim": settings.head_channels,
    }  # fmt: skip


def _depth(tensors: Tensors) -> tuple[int, int]:
    """Levels, and residual blocks per level; the way up shows where a level ends."""
    stages = count(tensors, r"output_blocks\.(\d+)\.")
    wanted(tensors, "output_blocks.0.0.in_layers.2.weight", "adm", 4)
    upsamplers = [f"output_blocks.{stage}.{place}." for stage in range(stages) for place in (1, 2)]
    ends = sum(f"{place}in_layers.0.weight" in tensors or f"{place}conv.weight" in tensors for place in upsamplers)
    levels = ends + 1
    if stages % levels or stages // levels < 2 or count(tensors, r"input_blocks\.(\d+)\.") != stages:
        raise WeightsError(
            f"family adm: expected as many stages down as up and as many per level, got {stages} in {levels} levels; "
            "the checkpoint is not whole, fetch it again"
        )
    return levels, stages // levels - 1


def _renamed(tensors: Tensors, levels: int, blocks: int, settings: ADMOptions) -> Tensors:
    places = _places(levels, blocks, tensors)
    found: Tensors = {}
    for name, tensor in tensors.items():
        stage = next((stage for stage in (_prefix(name, 3), _prefix(name, 2)) if stage in places), None)
        if stage is None:
            outer = next((old for old in _OUTER if name.startswith(old + ".")), None)
            found[name if outer is None else _OUTER[outer] + name.removeprefix(outer)] = tensor
            continue
        inside, _, kind = name.removeprefix(stage + ".").rpartition(".")
        attention = places[stage].replace("*", "attentions")
        if inside == "qkv":
            parts = _split(tensor.flatten(1) if kind == "weight" else tensor, settings)
            found |= {f"{attention}.to_{part}.{kind}": value for part, value in zip("qkv", parts, strict=True)}
        elif inside in _ATTENTION:
            found[f"{attention}.{_ATTENTION[inside]}.{kind}"] = tensor.flatten(1) if tensor.ndim == 3 else tensor
        else:
            found[f"{places[stage].replace('*', 'resnets')}.{_RESIDUAL.get(inside, inside)}.{kind}"] = tensor
    return found


def _prefix(name: str, parts: int) -> str:
    return ".".join(name.split(".")[:parts])


def _places(levels: int, blocks: int, tensors: Tensors) -> dict[str, str]:
    """Where each part of a stage belongs; ``*`` stands for ``resnets`` or ``attentions``."""
    places = {"middle_block.0": "mid_block.*.0", "middle_block.1": "mid_block.*.0", "middle_block.2": "mid_block.*.1"}
    for level in range(levels):
        for block in range(blocks):
            stage = f"input_blocks.{1 + level * (blocks + 1) + block}"
            places |= {f"{stage}.{part}": f"down_blocks.{level}.*.{block}" for part in (0, 1)}
        if level < levels - 1:
            places[f"input_blocks.{(level + 1) * (blocks + 1)}.0"] = f"down_blocks.{level}.downsamplers.0"
        for block in range(blocks + 1):
            stage = f"output_blocks.{level * (blocks + 1) + block}"
            places |= {f"{stage}.{part}": f"up_blocks.{level}.*.{block}" for part in (0, 1)}
            if block == blocks and level < levels - 1:
                last = 2 if f"{stage}.1.qkv.weight" in tensors else 1
                places[f"{stage}.{last}"] = f"up_blocks.{level}.upsamplers.0"
    return places


def _split(qkv: Tensor, settings: ADMOptions) -> tuple[Tensor, ...]:
    """Queries, keys and values from (3 c, ...): one after the other, or in the legacy order in turn for every head."""
    if settings.attention_order == "new":
        return qkv.chunk(3)
    channels = len(qkv) // 3
    size = settings.head_channels or channels
    heads = qkv.reshape(channels // size, 3, size, *qkv.shape[1:])
    return tuple(heads[:, part].reshape(channels, *qkv.shape[1:]) for part in range(3))
