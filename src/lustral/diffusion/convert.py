"""From a published checkpoint to one safetensors file that says what it is, without ever executing code in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor, nn

from lustral.data.builtin import photograph
from lustral.diffusion.architectures import empty_denoiser, multiple_of, network_of
from lustral.diffusion.padded import Padded
from lustral.diffusion.published import FAMILIES, Converted, Options
from lustral.diffusion.reading import read_checkpoint
from lustral.diffusion.unet2d import schedule_of, side_of, unet2d_names
from lustral.files import replace_file, shown
from lustral.model_files import WeightsError, header_with_facts, model_folder
from lustral.tensors import from_uint8
from lustral.weights import LoadedWeights, load_into, load_weights

__all__ = ["ConvertedFile", "convert_weights", "read_option"]

_NOISE = 0.5  # deviation in [-1, 1]: much, so that any network that learnt something removes a good part


@dataclass(frozen=True)
class ConvertedFile:
    """What was written.

    Attributes:
        path: the file.
        sha256: of its bytes.
        parameters: how many numbers it holds.
        facts: what stands in its header.
        decibels: PSNR of a photograph with noise of deviation 0.5, and after one pass of the network over it; if the
            second is not far above the first, an option is wrong or the network is not trained.
    """

    path: Path
    sha256: str
    parameters: int
    facts: dict[str, JsonValue]
    decibels: tuple[float, float]


def read_option(text: str) -> tuple[str, JsonValue]:
    """Key and value of ``key=value``; the value is JSON where it can be, else text.

    >>> read_option("label=3"), read_option("attention_order=new")
    (('label', 3), ('attention_order', 'new'))

    Raises:
        WeightsError: there is no ``=``.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise WeightsError(f"expected key=value, got {text[:80]!r}")
    try:
        return key.strip(), json.loads(value)
    except (ValueError, RecursionError):
        return key.strip(), value


def convert_weights(
    source: str | Path,
    out: str | Path,
    family: str,
    licence: str,
    origin: str | None = None,
    options: Options | None = None,
) -> ConvertedFile:
    """Write a published checkpoint as safetensors that ``load_denoiser`` reads.

    Args:
        source: ``.pt``, ``.pth``, ``.ckpt`` or ``.bin`` (read with ``weights_only=True``), ``.safetensors``, or for
            family "diffusers" a folder.
        out: a name that ends in .safetensors; replaced as a whole.
        family: one of ``FAMILIES``, or "diffusers".
        licence: SPDX identifier or words of the owner, stored in the file.
        origin: where it came from, stored in the file; the name of ``source`` by default.
        options: of the family, such as ``{"label": 3}``.

    Raises:
        ImportError: a ``UNet2DModel`` needs the extra ``diffusion``.
        WeightsError: nothing was written: unreadable file, code in it, another family, missing or other tensors.
    """
    target = Path(out)
    _check_call(target, family, licence)
    is_folder = family == "diffusers"
    options = dict(options or {})
    found = (
        _convert_diffusers(Path(source), options) if is_folder else FAMILIES[family](read_checkpoint(source), options)
    )
    tensors = {name: found.tensors.pop(name).detach().float().contiguous() for name in sorted(found.tensors)}
    denoiser = _fitted(tensors, found.architecture, shown(source), family)
    facts: dict[str, JsonValue] = {
        "licence": licence, "origin": origin or Path(source).name, "family": family, "architecture": found.architecture,
        "side": found.architecture["side"],
    }  # fmt: skip
    data = _serialised(tensors, facts)
    replace_file(target, data)
    parameters = sum(tensor.numel() for tensor in tensors.values())
    return ConvertedFile(target, hashlib.sha256(data).hexdigest(), parameters, facts, _judged(denoiser))


def _serialised(tensors: dict[str, Tensor], facts: dict[str, JsonValue]) -> bytes:
    """One safetensors file of float32, made without a second copy of the tensors."""
    entries: dict[str, JsonValue] = {}
    place = 0
    for name, tensor in tensors.items():
        entries[name] = {"dtype": "F32", "shape": [*tensor.shape], "data_offsets": [place, place + tensor.nbytes]}
        place += tensor.nbytes
    bodies = (tensor.numpy().astype("<f4", copy=False).reshape(-1).data.cast("B") for tensor in tensors.values())
    return b"".join((header_with_facts(entries, facts), *bodies))


def _check_call(target: Path, family: str, licence: str) -> None:
    if target.suffix != ".safetensors":
        raise WeightsError(f"cannot write {shown(target)}: expected a name that ends in .safetensors")
    if not licence.strip():
        raise WeightsError(
            "expected the licence of the weights, such as MIT or CC-BY-NC-SA-4.0, got nothing; --licence TEXT"
        )
    if family not in (*FAMILIES, "diffusers"):
        raise WeightsError(f"unknown family {family[:80]!r}; known: {', '.join((*FAMILIES, 'diffusers'))}")


def _judged(denoiser: nn.Module) -> tuple[float, float]:
    side = int(getattr(denoiser, "side", 32))
    picture = photograph("chelsea").resize((side, side))
    clean = 2 * from_uint8(np.asarray(picture)[None]) - 1  # (1, 3, side, side)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = clean + _NOISE * noise
    with torch.no_grad():
        found = denoiser(noisy, torch.tensor([_NOISE]))
    before, after = (float((4 / (x - clean).square().mean()).log10().mul(10)) for x in (noisy, found))
    return before, after


def _fitted(tensors: dict[str, Tensor], architecture: dict[str, JsonValue], name: str, family: str) -> nn.Module:
    bad = next((key for key, tensor in tensors.items() if not tensor.isfinite().all()), None)
    if bad is not None:
        raise WeightsError(f"weights {name}: expected finite numbers, got NaN or inf in {shown(bad)}; fetch it again")
    denoiser = empty_denoiser(architecture, name)
    try:
        load_into(network_of(denoiser, architecture), LoadedWeights(name, tensors, ""))
    except WeightsError as problem:
        what = str(problem).rpartition(";")[0]
        raise WeightsError(f"{what}; the checkpoint is not whole, or not of family {family}") from None
    return Padded(denoiser.eval(), multiple_of(architecture))


def _convert_diffusers(source: Path, options: Mapping[str, JsonValue]) -> Converted:
    if options:
        raise WeightsError(f"family diffusers: it has no options, got {shown(next(iter(options)))}")
    if source.is_dir():
        folder = model_folder(source)
        tensors, config, scheduler = load_weights(folder.weights).tensors, folder.config, folder.scheduler
    else:
        folder = model_folder(source.parent, source.name)
        tensors, config, scheduler = _tensors(source), folder.config, folder.scheduler
    architecture: dict[str, JsonValue] = {
        "network": "unet2d_epsilon", "config": config, "schedule": schedule_of(scheduler), "side": side_of(config),
    }  # fmt: skip
    return Converted(unet2d_names(tensors), architecture)


def _tensors(source: Path) -> dict[str, Tensor]:
    found = read_checkpoint(source)
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"cannot convert {shown(source)}: expected a dictionary of tensors, got something else")
    return {str(key): tensor for key, tensor in found.items()}
