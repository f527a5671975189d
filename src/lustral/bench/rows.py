"""Columns of a cell as an Arrow table, and the digest that says whether two cells hold the same rows."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as arrow

__all__ = ["TIMING", "Table", "digest_rows", "to_table"]

Table = Any  # pyarrow.Table; pyarrow has no type hints

TIMING = frozenset({"seconds", "peak_memory"})
"""Columns that differ from run to run; they stay out of ``rows_sha256`` and of the canonical table."""

_FLOATS = """
truth bare_clean margin_clean psnr_clean ssim_clean linf_clean bare_attacked attack_rate final_rate
linf_float linf l2 psnr_attack ssim_attack trace_first trace_early trace_last psnr_attacked
ssim_attacked linf_attacked seconds
"""
_TYPES: dict[str, Any] = {
    "image": arrow.string(),
    "height": arrow.int32(),
    "width": arrow.int32(),
    **dict.fromkeys(_FLOATS.split(), arrow.float64()),
    **dict.fromkeys(("queries", "gradients", "peak_memory"), arrow.int64()),
    **dict.fromkeys(("rescued", "dead_start", "dead_tenth"), arrow.bool_()),
    **dict.fromkeys(("purified_clean", "purified_attacked", "purified_attacked_paired"), arrow.list_(arrow.float64())),
    **dict.fromkeys(("correct", "broken"), arrow.list_(arrow.bool_())),
    **dict.fromkeys(
        (
            "adversarial",
            *(f"picture_{what}" for what in ("clean", "attacked", "purified_clean", "purified_attacked")),
            *(f"picture_steps_{phase}" for phase in ("clean", "attacked")),
        ),
        arrow.binary(),
    ),
}


def to_table(columns: Mapping[str, Sequence[Any]]) -> Table:
    """The table that is stored. Known columns get their fixed type even where every value is null.

    Raises:
        ValueError: no columns, unequal lengths, or values that do not fit the type; names the column.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"a cell needs columns of one length, got {lengths or 'none'}")
    arrays: dict[str, Any] = {}
    for name, values in columns.items():
        try:
            arrays[name] = arrow.array(list(values), type=_TYPES.get(name))
        except (arrow.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"column {name!r} must hold {_TYPES.get(name, 'one type')}: {error}") from error
    return arrow.table(arrays)


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def digest_rows(table: Table, *, timing: bool = False) -> str:
    """SHA-256 of the values: of all columns but the timing ones, or of only those.

    Depends on names, types and values, not on the order of columns, the Parquet encoding or the
    library version. All NaNs count as one.
    """
    digest = hashlib.sha256()
    for name in sorted(name for name in table.column_names if (name in TIMING) is timing):
        column = table.column(name)
        _feed(digest, [name, _name_of(column.type)])
        _feed(digest, column.to_pylist())
    return digest.hexdigest()


def _name_of(kind: Any) -> str:
    return f"list<{_name_of(kind.value_type)}>" if isinstance(kind, arrow.ListType) else str(kind)


def _feed(digest: _Hash, value: object) -> None:
    """Every value is written with its kind and, where it has one, its length: no two lists read alike."""
    match value:
        case None:
            digest.update(b"n")
        case bool():
            digest.update(b"t" if value else b"f")
        case int():
            digest.update(b"i%d;" % value)
        case float():
            digest.update(b"d" + struct.pack("<d", math.nan if math.isnan(value) else value))
        case str():
            data = value.encode()
            digest.update(b"s%d;" % len(data) + data)
        case bytes():
            digest.update(b"b%d;" % len(value) + value)
        case list():
            digest.update(b"l%d;" % len(value))
            for item in value:
                _feed(digest, item)
        case _:
            raise ValueError(f"a cell holds text, numbers, bytes, nulls and lists of them, got {type(value).__name__}")
