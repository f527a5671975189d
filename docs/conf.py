"""Sphinx configuration. Pages are MyST Markdown; tables in them are written by ``python -m tests.project.tables``."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

project = "lustral"
author = "the lustral project"
copyright = "the lustral project, Apache-2.0"
release = metadata.version("lustral")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"lustral {release}"
exclude_patterns = ["_build"]

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings state types with their units and ranges
autodoc_class_signature = "separated"
autodoc_default_options = {"exclude-members": "__new__, __init__, model_config, model_post_init"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [
    ("Class attributes", "params_style"),
    *("Cost", "Differs", "Licence", "Shape", "Source"),
]

_SECTION = re.compile(r"(Source|Differs|Cost|Licence|Shape|Licence and citation): (?=\S)")
_LITERAL = re.compile(r"(``.*?``)")


def _sections(app: Any, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Make ``Source: text`` a field, with its continued lines, and bars of absolute values plain text."""
    out: list[str] = []
    in_field = False
    for line in lines:
        parts = [line] if line.startswith(">>> ") else _LITERAL.split(line)
        line = "".join(part if part.startswith(("``", ">>> ")) else part.replace("|", "\\|") for part in parts)
        found = _SECTION.match(line)
        if found:
            if out and out[-1].strip() and not in_field:
                out.append("")
            line = f":{found[1]}: {line[found.end() :]}"
        elif in_field and line.strip():
            line = f"    {line.strip()}"
        elif not line.strip():
            in_field = False
        in_field = in_field or found is not None
        out.append(line)
    lines[:] = out


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _sections, priority=100)
