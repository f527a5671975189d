"""Reading checkpoints of PyTorch so that nothing in them can run."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import torch

from lustral.files import read_regular, shown
from lustral.model_files import MAX_BYTES, WeightsError
from lustral.weights import load_weights

__all__ = ["read_checkpoint"]

_GUIDE = "docs/weights.md shows how to turn it into plain tensors in an environment you trust"


def read_checkpoint(source: str | Path) -> object:
    """What a checkpoint holds: tensors in dictionaries and lists, never an object that could run code."""
    path = Path(source)
    if path.is_dir():
        raise WeightsError(
            f"cannot convert {shown(path)}: expected a file, got a folder; folders are of family diffusers"
        )
    if path.suffix.lower() == ".safetensors":
        return load_weights(path).tensors
    data = read_regular(path, MAX_BYTES, WeightsError)
    _refuse_bombs(data, path)
    file = io.BytesIO(data)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch raises UnpicklingError, RuntimeError, EOFError, ValueError, KeyError ...
        reason = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(problem)).split())
        blocked = re.search(r"Unsupported (?:global|class|operand)[^.]*|GLOBAL \S+ \S+", reason)
        reason = blocked[0] if blocked else reason[:120] or type(problem).__name__
        raise WeightsError(
            f"cannot convert {shown(path)}: expected a whole PyTorch checkpoint of tensors, numbers and text only, "
            f"got: {reason[:200]!a}; nothing in it was executed; {_GUIDE}"
        ) from None


def _refuse_bombs(data: bytes, path: Path) -> None:
    """An archive that unpacks to far more than it is, which PyTorch never writes."""
    if not data.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as problem:
        reason = " ".join(str(problem).split())[:120]
        raise WeightsError(
            f"cannot convert {shown(path)}: expected a whole archive, got: {reason}; fetch it again"
        ) from None
    if size > 2 * len(data) + 2**20:
        raise WeightsError(
            f"cannot convert {shown(path)}: an archive of {len(data)} bytes claims to hold {size}; fetch it again"
        )
