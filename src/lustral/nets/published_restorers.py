"""Reading the shape of published networks that keep the size of images off their weights: DISCO and MPRNet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lustral.nets.local_implicit import LocalImplicit
from lustral.nets.mprnet import MPRNet

__all__ = ["published_local_implicit", "published_mprnet"]

Published = tuple[nn.Module, dict[str, Tensor]]
"""An untrained network and the weights that fit it."""


def _numbers(weights: Mapping[str, Tensor], pattern: str) -> list[int]:
    """The numbers that the one group of ``pattern`` takes among the names, in order."""
    return sorted({int(match[1]) for match in (re.fullmatch(pattern, name) for name in weights) if match})


def _decoder_name(name: str) -> str:
    """Published ``imnet.layers.0`` is the layer that lustral keeps apart; a ReLU stands before each later one."""
    match = re.fullmatch(r"imnet\.layers\.(\d+)\.(weight|bias)", name)
    if match is None:
        return name
    place = int(match[1])
    return f"others.{place - 1}.{match[2]}" if place else f"first.{match[2]}"


def published_local_implicit(checkpoint: Mapping[str, Any]) -> Published | None:
    """A DISCO network and its weights; None if these are not published weights of one.

    Args:
        checkpoint: what ``torch.load(path, weights_only=True)`` reads from a published file, with the weights in
            ``["model"]["sd"]``, or these weights alone, as a safetensors file holds them.

    Raises:
        ValueError: a decoder that is not told nine features, the place and the size of the pixel.

    Source: names of the authors' code. The shift by the mean of DIV2K, which it carries along, it never uses.
    """
    model = checkpoint.get("model", {})
    weights: dict[str, Tensor] = model["sd"] if isinstance(model, Mapping) and "sd" in model else dict(checkpoint)  # pyright: ignore[reportAssignmentType] checkpoints hold anything
    if not {"encoder.head.0.weight", "encoder.body.0.body.0.weight", "imnet.layers.0.weight"} <= weights.keys():
        return None
    width = len(weights["encoder.head.0.weight"])
    inputs = weights["imnet.layers.0.weight"].shape[1]
    if inputs != 9 * width + 4:
        raise ValueError(f"expected a decoder of {9 * width + 4} inputs, nine features and a place, got {inputs}")
    layers = _numbers(weights, r"imnet\.layers\.(\d+)\.weight")
    hidden = [len(weights[f"imnet.layers.{layer}.weight"]) for layer in layers[:-1]]
    blocks = len(_numbers(weights, r"encoder\.body\.(\d+)\.body\.0\.weight"))
    unused = ("encoder.sub_mean.", "encoder.add_mean.")
    tensors = {_decoder_name(name): value for name, value in weights.items() if not name.startswith(unused)}
    return LocalImplicit(width, blocks, hidden, skip=False), tensors


def published_mprnet(weights: Mapping[str, Tensor]) -> Published | None:
    """An MPRNet and its weights; None if these are not published weights of one.

    The networks for denoising, deblurring and deraining differ in their widths only.
    """
    tensors = {name.removeprefix("module."): value for name, value in weights.items()}
    down, attention = "stage1_encoder.down12.down.1.weight", "shallow_feat1.1.CA.conv_du.0.weight"
    if not {down, attention, "tail.weight"} <= tensors.keys():
        return None
    width = tensors[down].shape[1]
    growth, wider = len(tensors[down]) - width, tensors["tail.weight"].shape[1] - width
    blocks = len(_numbers(tensors, r"stage3_orsnet\.orb1\.body\.(\d+)\.body\.0\.weight"))
    return MPRNet(width, growth, wider, blocks, width // len(tensors[attention])), tensors
