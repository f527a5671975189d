"""The U-Net of diffusers: built from a configuration that is checked first, without memory and without its loader."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue
from torch import Tensor, nn

from lustral.model_files import WeightsError

__all__ = ["make_unet2d", "schedule_of", "side_of", "unet2d_names"]

_LARGEST = {"layers_per_block": 32, "block_out_channels": 8192}  # a hostile configuration must not fill the memory
_LEVELS = 16
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def _unet2d_class() -> Any:
    try:
        return importlib.import_module("diffusers").UNet2DModel
    except (ImportError, RuntimeError) as problem:  # RuntimeError: a torchvision built for another torch
        reason = " ".join(str(problem).split())[:200]
        raise ImportError(f'diffusers cannot be imported ({reason}); pip install "lustral[diffusion]"') from problem


def make_unet2d(config: Mapping[str, JsonValue]) -> nn.Module:
    """A ``diffusers.UNet2DModel`` that predicts noise; its attention has exact second derivatives in any precision.

    Raises:
        ImportError: diffusers is not installed.
        WeightsError: another class, an unknown or unsuitable setting.
    """
    cls = _unet2d_class()
    settings = _checked(config, set(inspect.signature(cls.__init__).parameters))
    try:
        network = cls(**settings)
    except Exception as problem:  # whatever a wrong value leads to in there
        reason = " ".join(str(problem).split())[:200]
        raise WeightsError(f"cannot build a UNet2DModel from its configuration: {reason}; fetch it again") from None
    processor = importlib.import_module("diffusers.models.attention_processor").AttnProcessor()
    for part in network.modules():
        if hasattr(part, "upcast_softmax"):
            part.upcast_softmax = False  # it would compute float64 in float32
            part.set_processor(processor)  # fused attention has no second derivative
    return network


def _checked(config: Mapping[str, JsonValue], known: set[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {key: value for key, value in config.items() if not key.startswith("_")}
    widths = settings.get("block_out_channels")
    fine = {
        "_class_name": config.get("_class_name", "UNet2DModel") == "UNet2DModel",
        "in_channels": settings.get("in_channels", 3) == 3,
        "out_channels": settings.get("out_channels", 3) in (3, 6),
        "time_embedding_type": settings.get("time_embedding_type", "positional") == "positional",
        "center_input_sample": not settings.get("center_input_sample"),
        "class_embed_type": settings.get("class_embed_type") is None,
        "num_class_embeds": settings.get("num_class_embeds") is None,
        "block_out_channels": isinstance(widths, list) and 0 < len(widths) <= _LEVELS,
    }
    fine |= {key: fine.get(key, True) and _small(settings, key) for key in _LARGEST} | {
        key: False for key in settings if key not in known
    }
    wrong = next((key for key, is_fine in fine.items() if not is_fine), None)
    if wrong is not None:
        raise WeightsError(
            "expected the configuration of an unconditional UNet2DModel that predicts noise from RGB images, "
            f"got {wrong[:80]!r}: {str(config.get(wrong))[:80]!r}; use another model"
        )
    return settings


def _small(settings: Mapping[str, Any], key: str) -> bool:
    values: Any = settings.get(key, 1)
    values = values if isinstance(values, list) else [values]
    return all(isinstance(value, int) and 0 < value <= _LARGEST[key] for value in values)


def side_of(config: Mapping[str, JsonValue]) -> int:
    """Side of the images of a configuration.

    Raises:
        WeightsError: none, or not square.
    """
    size = config.get("sample_size")
    size = size[0] if isinstance(size, list) and len(size) == 2 and size[0] == size[1] else size
    if not isinstance(size, int) or not 0 < size <= 4096:
        raise WeightsError(f"expected sample_size, the side of square images, got {str(size)[:80]}; edit config.json")
    return size


def schedule_of(scheduler: Mapping[str, JsonValue] | None) -> str:
    """The name "linear" or "cosine", from the configuration of a diffusers scheduler; linear without one.

    Raises:
        WeightsError: another schedule, or the network does not predict noise.
    """
    usual: dict[str, JsonValue] = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
    facts = usual | dict(scheduler or {})
    steps, predicts = facts.get("num_train_timesteps", 1000), facts.get("prediction_type", "epsilon")
    linear = all(facts[key] == value for key, value in usual.items())
    cosine = facts["beta_schedule"] == "squaredcos_cap_v2"
    if not (linear or cosine) or steps != 1000 or predicts != "epsilon" or facts.get("trained_betas"):
        got = ", ".join(f"{facts[key]!r}"[:80] for key in usual)
        raise WeightsError(
            "expected a scheduler over 1000 steps, linear from 0.0001 to 0.02 or squaredcos_cap_v2, with "
            f"prediction_type epsilon, got {got} over {str(steps)[:80]}, {str(predicts)[:80]!r}; use another model"
        )
    return "linear" if linear else "cosine"


def unet2d_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under today's names; attention of checkpoints from before diffusers 0.18 had others."""
    pattern = re.compile(r"(\.attentions\.\d+\.)(query|key|value|proj_attn)\.")
    return {pattern.sub(lambda m: f"{m[1]}{_OLD_NAMES[m[2]]}.", name): tensor for name, tensor in tensors.items()}
