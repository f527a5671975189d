"""Trained weights: what ships with the package, where it came from, and loading that can run no code.

Only safetensors files are read. Nothing is downloaded. A file is read into memory once; its sha256 is computed over
those bytes and the same bytes are parsed, so nothing can be exchanged between the check and the use.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from lustral.files import locked, read_regular, replace_file, shown
from lustral.model_files import MAX_BYTES, WeightsError, file_sha256, header_facts, model_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "ZOO",
    "LoadedWeights",
    "WeightCard",
    "WeightFacts",
    "WeightsError",
    "checkpoint_digest",
    "is_zoo_name",
    "list_weights",
    "load_into",
    "load_weights",
    "register",
    "weight_card",
]

ZOO = Path(__file__).parent / "zoo"
"""Folder of the weights that ship with the package."""

REGISTRY = "registry.json"
MAX_HEADER = 8 * 2**20  # about 80,000 tensors; safetensors itself allows 100 MB, which takes seconds to parse
MAX_REGISTRY = 2**22

_NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
_PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".tar")
_CONVERT = (
    "`lustral weights convert` turns diffusion checkpoints into safetensors; others in an environment you trust: "
    "safetensors.torch.save_file(torch.load(path, weights_only=True), 'x.safetensors')"
)


class WeightFacts(BaseModel):
    """Where weights came from, as the training loop knows it.

    Attributes:
        licence: SPDX identifier, or the words of the owner.
        origin: who made them and from what.
        command: the command that makes them again.
        seed: its seed.
        data: the training data and its licence.
        cost: what training took, e.g. ``{"seconds": 1800, "device": "2 CPU cores"}``.
        scores: held-out results, e.g. ``{"accuracy": 0.91}``.
        architecture: settings that rebuild the network these weights fit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    licence: str = Field(min_length=1)
    origin: str = Field(min_length=1)
    command: str = Field(min_length=1)
    seed: int
    data: str = Field(min_length=1)
    cost: dict[str, int | float | str]
    scores: dict[str, float]
    architecture: dict[str, JsonValue]


class WeightCard(WeightFacts):
    """One entry of the registry: the facts, the file (inside the zoo folder) and its sha256 in hexadecimal."""

    file: str = Field(pattern=rf"^{_NAME}\.safetensors$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class LoadedWeights:
    """Tensors that were read, the sha256 of exactly the bytes they came from, and the card if they have one.

    Attributes:
        name: registered name, or the printable path of a file.
        tensors: finite tensors on the CPU, by name.
        sha256: 64 hexadecimal characters, part of the identity of every result made with these weights.
        card: None for a local file without a registry beside it.
        facts: licence, origin, architecture ... of the card, or what ``lustral weights convert`` wrote into the header.
    """

    name: str
    tensors: dict[str, Tensor]
    sha256: str
    card: WeightCard | None = None
    facts: dict[str, JsonValue] = field(default_factory=dict)


_CARDS = TypeAdapter(dict[str, WeightCard])


def list_weights(zoo: Path = ZOO) -> dict[str, WeightCard]:
    """Cards of all registered weights, by name in alphabetical order; reads one small JSON file.

    Raises:
        WeightsError: the registry is missing or damaged.
    """
    path = zoo / REGISTRY
    try:
        cards = _CARDS.validate_json(read_regular(path, MAX_REGISTRY, WeightsError))
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise WeightsError(f"cannot use {shown(path)}: {where}: {first['msg']}; restore it from the package") from None
    bad = next((name for name in cards if not re.fullmatch(_NAME, name)), None)
    if bad is not None:
        raise WeightsError(f"cannot use {shown(path)}: {bad[:80]!r} is not a name; restore it from the package")
    return dict(sorted(cards.items()))


def weight_card(name: str, zoo: Path = ZOO) -> WeightCard:
    """Card of registered weights.

    Raises:
        WeightsError: the name is not known; the message lists those that are.
    """
    cards = list_weights(zoo)
    if name not in cards:
        known = ", ".join(cards) or "none"
        raise WeightsError(f"unknown weights {shown(name)}; known: {known}; files end in .safetensors")
    return cards[name]


def is_zoo_name(weights: str) -> bool:
    """Whether the text names registered weights; one with a folder separator or a suffix is a path."""
    return re.search(r"[/\\.]", weights) is None


def checkpoint_digest(weights: str, sha256: str | None = None) -> str:
    """sha256 of registered weights (from the registry), of a file or of a diffusers folder.

    Args:
        weights: a registered name, a file, or a folder (its configuration and its one safetensors file count).
        sha256: taken for granted for a file or folder if stated, else computed.

    Raises:
        WeightsError: unknown name or unreadable file.
    """
    if is_zoo_name(weights):
        return weight_card(weights).sha256
    if sha256:
        return sha256.lower()
    if not os.path.isdir(weights):
        return file_sha256(weights)
    parts = {file.name: file_sha256(file) for file in model_folder(weights).files}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load_weights(
    name_or_path: str | Path, sha256: str | None = None, *, zoo: Path = ZOO, max_bytes: int = MAX_BYTES
) -> LoadedWeights:
    """Read registered weights, or a local safetensors file.

    Args:
        name_or_path: a registered name, or a path (a Path, or text with a folder separator or a file suffix).
        sha256: what the file must hash to; registered weights are always held to their card as well.
        zoo: folder of the registry.
        max_bytes: larger files are refused before reading.

    Raises:
        WeightsError: unknown name, not a regular file, not safetensors, damaged, other hash, or NaN or infinity inside.
    """
    text = os.fspath(name_or_path)
    card = weight_card(text, zoo) if isinstance(name_or_path, str) and is_zoo_name(text) else None
    path = zoo / card.file if card else Path(text)
    if path.suffix.lower() in _PICKLES:
        raise WeightsError(f"cannot load {shown(path)}: pickles can run code and are never opened; {_CONVERT}")
    data = read_regular(path, max_bytes, WeightsError)
    actual = hashlib.sha256(data).hexdigest()
    for expected, whose in ((sha256, "asked for"), (card and card.sha256, "in the registry")):
        if expected is not None and expected.lower() != actual:
            raise WeightsError(
                f"cannot load {shown(path)}: expected the sha256 {whose}, {expected[:80]}, got {actual}; "
                "the file was changed or damaged, fetch it again"
            )
    tensors = _parse(data, shown(path))
    card = card or _card_beside(path, actual)
    facts = card.model_dump(mode="json") if card else header_facts(data, shown(path))
    return LoadedWeights(text if is_zoo_name(text) else shown(path), tensors, actual, card, facts)


def _card_beside(path: Path, sha256: str) -> WeightCard | None:
    """The card of a file in the folder that ``lustral train`` wrote it to, if it is still the same file."""
    if not (path.parent / REGISTRY).is_file():
        return None
    cards = list_weights(path.parent).values()
    return next((card for card in cards if card.file == path.name and card.sha256 == sha256), None)


def _parse(data: bytes, name: str) -> dict[str, Tensor]:
    from safetensors.torch import load

    if data.startswith((b"PK\x03\x04", b"\x80\x02", b"\x1f\x8b")):
        raise WeightsError(f"cannot load {name}: expected safetensors, got a pickle or an archive; {_CONVERT}")
    header = int.from_bytes(data[:8], "little")
    if len(data) < 10 or header > min(len(data) - 8, MAX_HEADER):
        raise WeightsError(
            f"cannot load {name}: expected a safetensors header of at most {min(len(data), MAX_HEADER)} bytes, "
            f"got {header} in a file of {len(data)}; the file is cut off or not safetensors, fetch it again"
        )
    try:
        tensors = load(data)
    except Exception as problem:  # the parser raises its own errors, KeyError for new types, RuntimeError for sizes
        reason = " ".join(str(problem).split())[:200]
        raise WeightsError(f"cannot load {name}: expected sound safetensors, got: {reason!r}; fetch it again") from None
    _require_finite(tensors, name)
    return tensors


def _require_finite(tensors: Mapping[str, Tensor], name: str) -> None:
    for key, tensor in tensors.items():
        values = tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor
        if not values.isfinite().all():
            raise WeightsError(f"weights {name}: expected finite numbers, got NaN or inf in {shown(key)}; train again")


def load_into(module: nn.Module, weights: LoadedWeights) -> None:
    """Copy weights into a network that has exactly these names and shapes; otherwise leave it untouched.

    A network without memory (on torch's "meta" device) takes the tensors themselves, in its own precision.

    Raises:
        WeightsError: names are missing or unexpected or shapes differ; the first few are listed.
    """
    state = module.state_dict()
    missing = [shown(key) for key in state if key not in weights.tensors]
    unexpected = [shown(key) for key in weights.tensors if key not in state]
    shapes = [
        f"{shown(key)} expected {tuple(state[key].shape)} got {tuple(tensor.shape)}"
        for key, tensor in weights.tensors.items()
        if key in state and tensor.shape != state[key].shape
    ]
    problems = [
        f"{len(found)} {what} ({'; '.join(found[:3])}{', ...' if len(found) > 3 else ''})"
        for what, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if found
    ]
    if problems:
        raise WeightsError(
            f"weights {weights.name} do not fit {type(module).__name__}: {', '.join(problems)}; "
            "build the network with the architecture settings of their card"
        )
    empty = any(tensor.is_meta for tensor in state.values())
    tensors = {key: tensor.to(state[key].dtype) for key, tensor in weights.tensors.items()}
    module.load_state_dict(tensors, assign=empty)


def register(zoo: Path, name: str, tensors: Mapping[str, Tensor], facts: WeightFacts) -> WeightCard:
    """Write weights and their card into a zoo folder, replacing an entry of that name.

    Both files are replaced as a whole, the registry last: a process killed in between leaves an entry
    whose hash no longer matches, which loading reports. Processes that register at the same time wait for each other.

    Args:
        zoo: folder that holds, or will hold, registry.json.
        name: lower-case letters, digits, ``_`` and ``-``.
        tensors: by name, finite; the state dictionary of a network.
        facts: where they came from.

    Raises:
        WeightsError: a bad name, no tensors, or NaN or infinity among them.
    """
    import safetensors.torch

    if not re.fullmatch(_NAME, name):
        raise WeightsError(f"bad name of weights {shown(name)}; expected at most 64 of a-z, 0-9, _ and -")
    if not tensors:
        raise WeightsError(f"weights {name}: expected at least one tensor, got none; pass module.state_dict()")
    _require_finite(tensors, name)
    data = safetensors.torch.save({key: tensors[key].detach().cpu().contiguous().clone() for key in sorted(tensors)})
    file = {"file": f"{name}.safetensors", "sha256": hashlib.sha256(data).hexdigest()}
    card = WeightCard.model_validate(facts.model_dump() | file)
    zoo.mkdir(parents=True, exist_ok=True)
    with locked(zoo):
        cards = list_weights(zoo) if (zoo / REGISTRY).exists() else {}
        cards[name] = card
        replace_file(zoo / card.file, data)
        replace_file(zoo / REGISTRY, _registry_text(cards).encode())
    return card


def _registry_text(cards: Mapping[str, WeightCard]) -> str:
    """Indented JSON with sorted keys, so that a new entry is a readable difference."""
    plain = {name: card.model_dump(mode="json") for name, card in cards.items()}
    return json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + "\n"
