"""Files that are either whole or absent, and a lock that dies with its owner."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
from collections.abc import Generator
from pathlib import Path

__all__ = ["Busy", "StoreError", "WriteError", "is_temporary", "locked", "publish", "replace", "sweep"]

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<host>[^.]+)\.(?P<pid>\d+)\.tmp")
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class StoreError(RuntimeError):
    """Stored results cannot be used as they are; the message names the file and says what to do."""


class WriteError(StoreError):
    """The file system refused a write; whatever was finished before is whole."""


class Busy(StoreError):
    """Another run works in the same folder."""


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{_host()}.{os.getpid()}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether the name is one that ``publish`` and ``replace`` give to unfinished files."""
    return _TEMPORARY.fullmatch(path.name) is not None


def publish(path: Path, data: bytes) -> None:
    """Make ``path`` hold ``data`` for good, unless it exists.

    The data reach the disk under a temporary name first, and a hard link gives them the final name, so
    that of two writers exactly one wins. File systems without hard links get a rename.

    Raises:
        FileExistsError: another writer was first; its file is untouched.
        WriteError: the disk is full or broken; nothing was published, or it was but may not outlive a
            power cut.
    """
    with _guarded(path):
        temporary = _write_temporary(path, data)
        try:
            _link(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        _sync_folder(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Make ``path`` hold ``data`` whether or not it exists; readers see the old or the new text, whole.

    Raises:
        WriteError: the disk is full or broken; the old file is untouched.
    """
    with _guarded(path):
        temporary = _write_temporary(path, data)
        try:
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(path.parent)


@contextlib.contextmanager
def _guarded(path: Path) -> Generator[None]:
    try:
        _make_folder(path.parent)
        yield
    except FileExistsError:
        raise
    except OSError as error:
        why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "the disk reports an error"
        raise WriteError(
            f"cannot write {path}: {why} ({error.strerror or error}). What was finished before is safe; "
            "put this right, then run the same command again"
        ) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # must not be taken for "the cell is there"
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = _temporary(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # a dead process that had our number left it
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)  # after a failed fsync the pages may be lost: never ask the same file again
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return temporary


def _link(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(temporary, path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> list[Path]:
    """Delete the temporaries that dead processes of this machine left in ``folder``; returns them."""
    gone: list[Path] = []
    for path in sorted(folder.glob(".*.tmp")):
        match = _TEMPORARY.fullmatch(path.name)
        if match and match["host"] == _host() and not _alive(int(match["pid"])):
            with contextlib.suppress(OSError):
                path.unlink()
                gone.append(path)
    return gone


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold ``folder`` for one run at a time. The kernel frees the lock however its owner ends.

    On a file system without locks this does nothing: two runs then do some work twice, but finished
    files are never changed.

    Raises:
        Busy: another run holds it.
        WriteError: the folder cannot be written.
    """
    path = folder / ".lock"
    with _guarded(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 100, 0).decode(errors="replace") or "unknown process"
        raise Busy(f"another run works in {folder} ({owner}); wait for it or stop it, then run again") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise WriteError(f"cannot lock {folder} ({error.strerror or error})") from error
    with contextlib.suppress(OSError):  # only for the message above
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {_host()}".encode(), 0)
