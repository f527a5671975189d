"""Who made a number: versions, source revision and machine. Computed once per process, no torch."""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["provenance"]

_LIBRARIES = (
    *("torch", "numpy", "scipy", "pillow", "kornia", "scikit-image", "PyWavelets"),
    *("safetensors", "pydantic", "pyarrow"),
)


def provenance() -> dict[str, Any]:
    """What is true of this process: JSON with lustral, git, versions, python, platform, processor, threads."""
    return {**_machine(), "threads": os.environ.get("OMP_NUM_THREADS", "default")}


@functools.cache
def _machine() -> dict[str, Any]:
    return {
        "lustral": _version("lustral"),
        "git": _revision(Path(__file__).resolve()),
        "versions": {name: _version(name) for name in _LIBRARIES} | {"libjpeg_turbo": _libjpeg()},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
    }


def _libjpeg() -> str | None:
    """JPEG files depend on it, so JPEG purifiers do."""
    from PIL import features

    return features.version_feature("libjpeg_turbo")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _revision(file: Path) -> dict[str, Any] | None:
    """Commit and whether the tree differs from it; None unless ``file`` is part of a checkout."""
    root = next((parent for parent in file.parents if (parent / ".git").exists()), None)
    if root is None or file.relative_to(root).parts[:2] != ("src", "lustral"):
        return None  # installed into a virtual environment inside somebody else's checkout
    changes = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", "src")
    return {"revision": _git(root, "rev-parse", "--verify", "--quiet", "HEAD"), "dirty": changes != ""}


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
