"""Train a network for super-resolution on crops of photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lustral.data.base import ImageSet
from lustral.nets.restorers import enlarge, super_resolution_network
from lustral.nets.upscaling import bicubic
from lustral.train.loop import as_tensor, optimise
from lustral.train.settings import Progress, SuperResolutionTraining

__all__ = ["architecture", "reduced", "train_super_resolution", "upscaling_psnr", "windows"]

SCORED_CROPS = 40  # after every epoch; the weight card uses all

Enlarge = Callable[[Tensor, int], Tensor]
"""Images (n, 3, h, w) and a ratio -> larger images."""


def reduced(x: Tensor, scale: int) -> Tensor:
    """Images (n, 3, h, w) in [0, 1] made smaller by an integer: antialiased bicubic, clamped to [0, 1]."""
    size = (x.shape[2] // scale, x.shape[3] // scale)
    return functional.interpolate(x, size=size, mode="bicubic", antialias=True).clamp(0, 1)


@torch.no_grad()
def upscaling_psnr(enlarged: Enlarge, images: Tensor, scale: int, batch: int = 20, device: str = "cpu") -> float:
    """Mean PSNR in dB over R, G and B of uint8 images (n, 3, h, w) that are reduced and enlarged again."""
    found: list[Tensor] = []
    for part in images.split(batch):
        x = part.to(device).float().div(255)
        guess = enlarged(reduced(x, scale), scale).clamp(0, 1)
        found.append(-10 * (guess - x).square().flatten(1).mean(1).log10().cpu())
    return float(torch.cat(found).mean())


def windows(images: Tensor, rows: Tensor, window: int, generator: torch.Generator) -> Tensor:
    """A random square part of every chosen image (n, 3, side, side), all turned and mirrored in one way."""
    top, left = torch.randint(0, images.shape[2] - window + 1, (2, len(rows)), generator=generator)
    down = (top[:, None] + torch.arange(window))[:, None, :, None]
    across = (left[:, None] + torch.arange(window))[:, None, None, :]
    x = images[rows[:, None, None, None], torch.arange(3)[None, :, None, None], down, across]
    turns, mirrored = divmod(int(torch.randint(0, 8, (1,), generator=generator)), 2)
    x = x.rot90(turns, (2, 3))
    return x.flip(3) if mirrored else x


def _scales(settings: SuperResolutionTraining) -> tuple[int, ...]:
    """The ratio, or for MDSR every power of two up to it."""
    if settings.network == "mdsr":
        return tuple(2**power for power in range(1, settings.scale.bit_length()))
    return (settings.scale,)


def architecture(settings: SuperResolutionTraining) -> dict[str, Any]:
    """What rebuilds the network, for the weight card."""
    ratio = {"scales": list(_scales(settings))} if settings.network == "mdsr" else {"scale": settings.scale}
    return {"network": settings.network, "width": settings.widths[0], "blocks": settings.blocks, **ratio}


def train_super_resolution(
    settings: SuperResolutionTraining,
    train: ImageSet,
    test: ImageSet,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train with the absolute error, and return the averaged weights and a record of the run.

    The record has for every ratio ``psnr_x2`` and, for comparison, ``psnr_bicubic_x2``.
    A run that finds ``checkpoint`` goes on from there, see ``lustral.train.loop.optimise``.

    Cost: ``epochs * len(train)`` forward and backward passes in bfloat16.

    Source: Lim et al., arXiv:1707.02921, section 4.2 (absolute error, Adam, one random ratio per step for MDSR).
        Differs: far fewer steps and photographs. RRDBNet is trained in the same way, which is the "PSNR-oriented"
        network of ESRGAN; its adversarial and perceptual losses are left out.

    Raises:
        ValueError: crops smaller than the window.
    """
    images, held_out = as_tensor(train), as_tensor(test)
    if settings.window > images.shape[2]:
        raise ValueError(f"window={settings.window} must not exceed the crops of side {images.shape[2]}")
    scales = _scales(settings)

    def loss_of(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        x = windows(images, rows, settings.window, generator).to(device).float().div_(255)
        scale = scales[int(torch.randint(0, len(scales), (1,), generator=generator))]
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            guess = enlarge(model, reduced(x, scale), scale)
        return (guess.float() - x).abs().mean()

    def psnr(model: nn.Module, crops: Tensor) -> dict[str, float]:
        def larger(x: Tensor, scale: int) -> Tensor:
            return enlarge(model, x, scale)

        model.eval()
        return {f"psnr_x{scale}": upscaling_psnr(larger, crops, scale, device=device) for scale in scales}

    def score(model: nn.Module) -> dict[str, float]:
        return psnr(model, held_out[:: -(-len(held_out) // SCORED_CROPS)])

    def make() -> nn.Module:
        return super_resolution_network(architecture(settings))

    weights, history = optimise(settings, make, len(train), loss_of, score, checkpoint, progress, device)
    model = make().to(device)
    model.load_state_dict(weights)
    plain = {f"psnr_bicubic_x{scale}": upscaling_psnr(bicubic, held_out, scale, device=device) for scale in scales}
    return weights, {"history": history, **psnr(model, held_out), **plain, "test_images": len(test)}
