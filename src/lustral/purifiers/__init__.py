"""All purifiers. To add one: write a file, add one line here, add one golden value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lustral.purifiers.adp import ADP
from lustral.purifiers.anti_adversary import AntiAdversary
from lustral.purifiers.artifact_removal import ArtifactRemoval
from lustral.purifiers.base import PurifierSettings
from lustral.purifiers.bit_depth import BitDepth
from lustral.purifiers.color_filter import ColorFilter
from lustral.purifiers.color_quantization import ColorQuantization
from lustral.purifiers.compose import Chain, RandomChoice, Repeat
from lustral.purifiers.compress_restore import CompressRestore
from lustral.purifiers.dda import DDA
from lustral.purifiers.ddpm import DDPM
from lustral.purifiers.diff_jpeg import DiffJPEG
from lustral.purifiers.diffpir_inpaint import DiffPIRInpaint
from lustral.purifiers.diffpure import DiffPure
from lustral.purifiers.disco import DISCO
from lustral.purifiers.edm import EDM
from lustral.purifiers.feature_distillation import FeatureDistillation
from lustral.purifiers.flip import Flip
from lustral.purifiers.gaussian_blur import GaussianBlur
from lustral.purifiers.gdmp import GDMP
from lustral.purifiers.gradual import Gradual
from lustral.purifiers.guided_denoiser import GuidedDenoiser
from lustral.purifiers.identity import Identity
from lustral.purifiers.image_quilting import ImageQuilting
from lustral.purifiers.jpeg import JPEG
from lustral.purifiers.langevin import Langevin
from lustral.purifiers.maep import MAEP
from lustral.purifiers.median_blur import MedianBlur
from lustral.purifiers.mimicdiffusion import MimicDiffusion
from lustral.purifiers.msid import MSID
from lustral.purifiers.non_local_means import NonLocalMeans
from lustral.purifiers.one_shot import OneShot
from lustral.purifiers.pixel_deflection import PixelDeflection
from lustral.purifiers.puriflow import PuriFlow
from lustral.purifiers.random_crop import RandomCrop
from lustral.purifiers.random_noise import RandomNoise
from lustral.purifiers.random_resize_pad import RandomResizePad
from lustral.purifiers.random_rotate import RandomRotate
from lustral.purifiers.resize import Resize
from lustral.purifiers.restoration import Restoration
from lustral.purifiers.scoreopt import ScoreOpt
from lustral.purifiers.super_resolve import SuperResolve
from lustral.purifiers.total_variation import TotalVariation
from lustral.purifiers.total_variation_minimisation import TotalVariationMinimisation
from lustral.purifiers.unsharp import Unsharp
from lustral.purifiers.upscale import Upscale
from lustral.purifiers.ve_sde import VESDE
from lustral.purifiers.vps_refine import VPSRefine
from lustral.purifiers.wavelet import Wavelet
from lustral.settings import choose

__all__ = [
    "ADP",
    "DDA",
    "DDPM",
    "DISCO",
    "EDM",
    "GDMP",
    "JPEG",
    "MAEP",
    "MSID",
    "PURIFIERS",
    "VESDE",
    "AntiAdversary",
    "ArtifactRemoval",
    "BitDepth",
    "Chain",
    "ColorFilter",
    "ColorQuantization",
    "CompressRestore",
    "DiffJPEG",
    "DiffPIRInpaint",
    "DiffPure",
    "FeatureDistillation",
    "Flip",
    "GaussianBlur",
    "Gradual",
    "GuidedDenoiser",
    "Identity",
    "ImageQuilting",
    "Langevin",
    "MedianBlur",
    "MimicDiffusion",
    "NonLocalMeans",
    "OneShot",
    "PixelDeflection",
    "PuriFlow",
    "PurifierSettings",
    "RandomChoice",
    "RandomCrop",
    "RandomNoise",
    "RandomResizePad",
    "RandomRotate",
    "Repeat",
    "Resize",
    "Restoration",
    "ScoreOpt",
    "SuperResolve",
    "TotalVariation",
    "TotalVariationMinimisation",
    "Unsharp",
    "Upscale",
    "VPSRefine",
    "Wavelet",
    "parse_purifier",
]

PURIFIERS: dict[str, type[PurifierSettings]] = {
    cls.name: cls
    for cls in (
        Identity,
        GaussianBlur,
        MedianBlur,
        Wavelet,
        TotalVariation,
        NonLocalMeans,
        JPEG,
        DiffJPEG,
        ColorQuantization,
        BitDepth,
        Unsharp,
        Flip,
        Upscale,
        Resize,
        RandomRotate,
        RandomCrop,
        RandomNoise,
        RandomResizePad,
        PixelDeflection,
        TotalVariationMinimisation,
        ImageQuilting,
        FeatureDistillation,
        AntiAdversary,
        DiffPure,
        DDPM,
        Langevin,
        OneShot,
        EDM,
        Gradual,
        MimicDiffusion,
        DDA,
        GDMP,
        ScoreOpt,
        ADP,
        VESDE,
        DiffPIRInpaint,
        VPSRefine,
        MSID,
        SuperResolve,
        PuriFlow,
        Restoration,
        DISCO,
        MAEP,
        ColorFilter,
        GuidedDenoiser,
        ArtifactRemoval,
        CompressRestore,
        Chain,
        Repeat,
        RandomChoice,
    )
}


def parse_purifier(value: str | Mapping[str, Any] | PurifierSettings) -> PurifierSettings:
    """Settings from what people type, from JSON, or as they are.

    Args:
        value: ``jpeg:quality=75``, a chain ``jpeg:quality=75 | flip``, or ``{"name": "jpeg", "quality": 75}``.

    Raises:
        SettingsError: unknown name, unknown or bad settings.

    >>> parse_purifier("jpeg:quality=75 | flip").to_json()["parts"][1]
    {'name': 'flip', 'axes': 'both'}
    """
    if isinstance(value, PurifierSettings):
        return value
    if isinstance(value, str) and "|" in value:
        return Chain(parts=tuple(parse_purifier(piece.strip()) for piece in value.split("|")))
    return choose(value, PURIFIERS, "purifier")
