"""The ten photographs that come with scikit-image, read from the installed package and from nowhere else."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lustral.data.base import MissingData

__all__ = ["PHOTOGRAPHS", "photograph", "resized_to"]

PHOTOGRAPHS: dict[str, str] = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "hubble": "hubble_deep_field.jpg",
    "immunohistochemistry": "ihc.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "motorcycle": "motorcycle_left.png",
    "grass": "grass.png",
    "brick": "brick.png",
}
"""Name here -> file in ``skimage/data``.

Licences, as the docstrings of ``skimage.data`` state them: astronaut and hubble (NASA), rocket (SpaceX) and
immunohistochemistry are in the public domain or without known restrictions; chelsea (Stefan van der Walt),
coffee (Rachel Michetti), retina, grass and brick are CC0; motorcycle is the left view of a pair of the
Middlebury 2014 stereo benchmark, for which no licence is stated (cite Scharstein et al., GCPR 2014).
Cite: van der Walt et al., scikit-image: image processing in Python, PeerJ 2:e453, 2014.
"""


def photograph(name: str) -> Image.Image:
    """The photograph in RGB at its native size; grey ones get three equal channels.

    The file is opened directly, not through ``skimage.data``, whose functions download a file that is absent.

    Raises:
        MissingData: the installed scikit-image lacks the file.
    """
    spec = importlib.util.find_spec("skimage")
    folders = spec.submodule_search_locations if spec else None
    path = Path(next(iter(folders or ("skimage",)))) / "data" / PHOTOGRAPHS[name]
    if not path.is_file():
        raise MissingData(f"{path} is not there; scikit-image ships it, so reinstall with: pip install scikit-image")
    with Image.open(path, formats=("PNG", "JPEG")) as picture:
        return picture.convert("RGB")


def resized_to(picture: Image.Image, pixels: int) -> NDArray[np.uint8]:
    """The picture at about ``pixels`` pixels in all, sides in proportion, uint8 (h, w, 3).

    Pillow resamples 8-bit images in integer arithmetic, so the result is the same on every machine.
    """
    scale = math.sqrt(pixels / (picture.width * picture.height))
    size = (round(picture.width * scale), round(picture.height * scale))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(picture)
