"""Write the golden values anew: ``python -m tests.golden [family ...]``. Look at the difference before you keep it.

A family is a module of this folder with ``fingerprints()``; its values are in the JSON file of the same name.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import PIL
import torch

FOLDER = Path(__file__).parent


def main(*chosen: str) -> None:
    for family in chosen or sorted(file.stem for file in FOLDER.glob("[a-z]*.py")):
        file = FOLDER / f"{family}.json"
        made_with = {"torch": str(torch.__version__).partition("+")[0], "pillow": PIL.__version__}
        values = importlib.import_module(f"tests.golden.{family}").fingerprints()
        file.write_text(json.dumps({"made_with": made_with, "values": values}, indent=1) + "\n")
        sys.stdout.write(f"wrote {file} with {len(values)} entries\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
