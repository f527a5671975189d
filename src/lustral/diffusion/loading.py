"""From a name, a file or a folder to a denoiser ``D(x, sigma) -> x0``."""

from __future__ import annotations

import os
from dataclasses import replace

from pydantic import JsonValue
from torch import nn

from lustral.diffusion.architectures import empty_denoiser, multiple_of, network_of
from lustral.diffusion.padded import Padded
from lustral.diffusion.tiles import Tiled
from lustral.diffusion.unet2d import schedule_of, side_of, unet2d_names
from lustral.files import shown
from lustral.model_files import WeightsError, model_folder
from lustral.weights import LoadedWeights, is_zoo_name, load_into, load_weights

__all__ = ["load_denoiser"]


def load_denoiser(name_or_path: str, device: str = "cpu") -> nn.Module:
    """A denoiser in evaluation mode with frozen parameters.

    Images larger than those it learnt are denoised in tiles that overlap by a quarter.

    Args:
        name_or_path: name of registered weights, path of a safetensors file that ``lustral weights convert`` wrote, or
            folder of a diffusers ``UNet2DModel``. Nothing is downloaded and nothing in a file is executed.
        device: where it lives.

    Returns:
        A module ``(x, sigma) -> x0`` in units of [-1, 1] with the attribute ``side`` (pixels, or None for any size).

    Raises:
        ImportError: a published network needs the extra ``diffusion``.
        WeightsError: unknown name, no such file, or weights that are damaged or of something else.
    """
    weights, architecture = _read(name_or_path)
    denoiser = empty_denoiser(architecture, weights.name)
    load_into(network_of(denoiser, architecture), weights)
    multiple = multiple_of(architecture)
    denoiser = denoiser if multiple == 1 else Padded(denoiser, multiple)
    side = getattr(denoiser, "side", None)
    denoiser = Tiled(denoiser, side=side, overlap=side // 4) if isinstance(side, int) else denoiser
    return denoiser.eval().requires_grad_(False).to(device)


def _read(name_or_path: str) -> tuple[LoadedWeights, dict[str, JsonValue]]:
    if os.path.isdir(name_or_path):
        return _read_folder(name_or_path)
    if not is_zoo_name(name_or_path) and not os.path.exists(name_or_path):
        raise WeightsError(
            f"cannot load {shown(name_or_path)}: no such file or folder; a model of the Hugging Face hub is fetched "
            "with `hf download OWNER/MODEL --local-dir FOLDER`, nothing is downloaded here"
        )
    weights = load_weights(name_or_path)
    architecture = weights.facts.get("architecture")
    if not isinstance(architecture, dict):
        raise WeightsError(
            f"weights {weights.name}: expected the architecture in the header of the file, got none; "
            "`lustral weights convert` writes it"
        )
    return weights, architecture


def _read_folder(path: str) -> tuple[LoadedWeights, dict[str, JsonValue]]:
    folder = model_folder(path)
    weights = load_weights(folder.weights)
    weights = replace(weights, tensors=unet2d_names(weights.tensors))
    architecture: dict[str, JsonValue] = {
        "network": "unet2d_epsilon",
        "config": folder.config,
        "schedule": schedule_of(folder.scheduler),
        "side": side_of(folder.config),
    }
    return weights, architecture
