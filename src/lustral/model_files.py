"""What model files hold besides tensors: facts in a safetensors header, the parts of a diffusers folder. No torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pydantic import JsonValue

from lustral.files import read_regular, shown

__all__ = [
    "MAX_BYTES",
    "ModelFolder",
    "WeightsError",
    "file_sha256",
    "header_facts",
    "header_with_facts",
    "model_folder",
]

MAX_BYTES = 4 * 2**30
_MAX_JSON = 2**20
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_SCHEDULER = "scheduler_config.json"


class WeightsError(ValueError):
    """Weights that are refused; one line says which, what was expected, what came and what to do."""


def header_with_facts(entries: dict[str, JsonValue], facts: dict[str, JsonValue]) -> bytes:
    """The beginning of a safetensors file, up to the tensors; in facts text stays text and the rest becomes JSON.

    The library writes facts in an order that changes from run to run; this gives equal bytes for equal facts.

    Args:
        entries: ``dtype``, ``shape`` and ``data_offsets`` of every tensor, in the order of their bytes.
        facts: what else to say.
    """
    metadata: dict[str, JsonValue] = {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True, allow_nan=False)
        for key, value in sorted(facts.items())
    }
    header = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header


def header_facts(data: bytes, name: str) -> dict[str, JsonValue]:
    """Facts that ``header_with_facts`` put into a safetensors file whose header was already found to be sound.

    Raises:
        WeightsError: the architecture is not a JSON object, or too long to be one.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8:end]).get("__metadata__") or {}
    facts: dict[str, JsonValue] = {str(key): str(text) for key, text in metadata.items()}
    for key in ("architecture", "side"):
        if key in facts:
            facts[key] = _parse_json(str(facts[key]).encode(), f"{name}: the {key} in its header")
    if not isinstance(facts.get("architecture", {}), dict):
        raise WeightsError(f"cannot use {name}: expected an object as architecture in its header; convert it again")
    return facts


def _parse_json(data: bytes, what: str) -> JsonValue:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a number")

    try:
        if len(data) > _MAX_JSON:
            raise ValueError(f"{len(data)} bytes are too many")
        return json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError) as problem:
        reason = " ".join(str(problem).split())[:120]
        raise WeightsError(f"cannot use {what}: expected JSON, got: {reason}; fetch the file again") from None


@dataclass(frozen=True)
class ModelFolder:
    """A diffusers model: its configuration, that of its scheduler if there is one, and the file of its weights."""

    config: dict[str, JsonValue]
    scheduler: dict[str, JsonValue] | None
    weights: Path
    files: tuple[Path, ...]


def model_folder(path: str | Path, file: str = _WEIGHTS) -> ModelFolder:
    """Find and read the parts of a diffusers folder; the model may lie in a ``unet`` folder inside.

    Args:
        path: the folder.
        file: name of the weights; only conversion takes others than safetensors.

    Raises:
        WeightsError: no configuration, no single safetensors file, or a configuration that is not a JSON object.
    """
    top = Path(path)
    root = top if (top / "config.json").exists() or not (top / "unet").is_dir() else top / "unet"
    weights = root / file
    if not (root / "config.json").exists():
        raise WeightsError(f"cannot load {shown(top)}: expected a diffusers folder with config.json and {file}")
    if not weights.exists():
        found = ", ".join(sorted(shown(file.name) for file in root.glob("*pytorch_model*"))[:3]) or "none"
        raise WeightsError(
            f"cannot load {shown(root)}: expected weights in {file}, got {found}; pickles (.bin) can run code and are "
            "never opened here, fetch the safetensors file, or use `lustral weights convert` on the .bin"
        )
    places = (root / _SCHEDULER, top / "scheduler" / _SCHEDULER)
    scheduler = next((place for place in places if place.exists()), None)
    files = tuple(file for file in (root / "config.json", scheduler, weights) if file is not None)
    return ModelFolder(
        _json_object(root / "config.json"), None if scheduler is None else _json_object(scheduler), weights, files
    )


def _json_object(path: Path) -> dict[str, JsonValue]:
    value = _parse_json(read_regular(path, _MAX_JSON, WeightsError), shown(path))
    if not isinstance(value, dict):
        raise WeightsError(f"cannot use {shown(path)}: expected a JSON object, got a {type(value).__name__}")
    return value


_digests: dict[tuple[str, int, int, int], str] = {}


def file_sha256(path: str | Path) -> str:
    """sha256 of a file in hexadecimal; one that has not changed since is not read again by this process."""
    try:
        status = Path(path).stat()
        key = (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError:
        key = (str(path), 0, 0, 0)  # reading says what is wrong
    if key not in _digests:
        _digests[key] = hashlib.sha256(read_regular(path, MAX_BYTES, WeightsError)).hexdigest()
    return _digests[key]
