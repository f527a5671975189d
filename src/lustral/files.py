"""Reading untrusted files without hanging, and writing files so that nobody ever sees half of one."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["StrPath", "locked", "read_regular", "replace_file", "shown"]

StrPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


def shown(path: StrPath) -> str:
    r"""A file name as one short printable line, whatever is in it.

    >>> shown("two\nlines")
    "'two\\nlines'"
    """
    text = os.fsdecode(path)
    return repr(text if len(text) <= 120 else "..." + text[-117:])


def read_regular(path: StrPath, max_bytes: int, error: type[ValueError]) -> bytes:
    """All bytes of a regular file that is neither empty nor larger than ``max_bytes``.

    Links are followed. Pipes, devices, sockets and directories are refused before anything is read from them.

    Args:
        path: the file.
        max_bytes: size limit in bytes.
        error: class of the exception that reports every problem.

    Raises:
        error: the file is missing, unreadable, not a regular file, empty or too large.
    """
    name = shown(path)
    try:
        _require_regular(os.stat(path), name, error)  # before opening: opening a device can have effects of its own
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            _require_regular(status, name, error)  # and after: the name may point elsewhere by now
            if status.st_size == 0:
                raise error(f"cannot read {name}: expected data, got an empty file; copy or download it again")
            data = b"" if status.st_size > max_bytes else file.read(max_bytes + 1)
    except error:
        raise
    except (OSError, ValueError) as problem:
        reason = (problem.strerror if isinstance(problem, OSError) else None) or problem
        raise error(f"cannot read {name}: expected a readable file, got: {reason}; check the path") from None
    if not 0 < len(data) <= max_bytes:
        size = max(status.st_size, len(data))
        raise error(
            f"cannot read {name}: expected at most {max_bytes} bytes, got {size}; raise max_bytes if you trust it"
        )
    return data


def _require_regular(status: os.stat_result, name: str, error: type[ValueError]) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise error(f"cannot read {name}: expected a regular file, got {kind}; name a file")


def replace_file(path: StrPath, data: bytes) -> None:
    """Write to a temporary name in the same folder, flush to disk, then rename: all of it or nothing.

    Raises:
        OSError: the folder is missing, not writable or full; no temporary file is left behind.
    """
    target = Path(os.fsdecode(path))
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def locked(folder: StrPath) -> Generator[None]:
    """Hold the exclusive lock of a folder among processes of this machine; a killed holder loses it."""
    import fcntl  # not on Windows, where only this function is missing

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
