"""Names short enough for a figure that still tell defences apart."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lustral.report.text import defence_text, plain, spec_text

__all__ = ["Points", "label_points", "place_labels", "short_names"]

WIDE, NARROW = 0.0085, 0.026
"""Width of a character as a share of the width of the data, on a screen and on a phone."""

_LINE_HEIGHT, _POINTS_PER_PIXEL = 5.5, 0.4  # the vertical axis has 100 points

LINE = 26
"""Most characters of a line of a label."""


class Points(NamedTuple):
    """Names from ``short_names``, positions along the axis (logarithms, if it is logarithmic), and from 0 to 100."""

    names: Sequence[str]
    x: Sequence[float]
    y: Sequence[float]


class Label(NamedTuple):
    """Text of a point, and where it stands in plotly's words."""

    text: str
    side: str


def short_names(defences: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels of at most two lines, for plotly.

    Defences of one method whose whole texts fit have them. Otherwise the first line names the method, or the parts
    of a chain, and the second those settings in which it differs from others of that name.

    >>> short_names([{"name": "puriflow", "scale": s, "steps": 20, "denoiser": "cifar10_denoiser"} for s in (2, 4)])
    ['puriflow<br>scale=2', 'puriflow<br>scale=4']
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for number, settings in enumerate(defences):
        groups[_base(settings)].append(number)
    names = [""] * len(defences)
    for base, members in groups.items():
        flat = [dict(_flat(defences[number])) for number in members]
        keys = list(dict.fromkeys(key for values in flat for key in values))
        varied = [key for key in keys if len({repr(values.get(key)) for values in flat}) > 1]
        texts = [defence_text(defences[number]) for number in members]
        fits = max(map(len, texts)) <= LINE  # one form for all of a method
        for number, values, whole in zip(members, flat, texts, strict=True):
            own = {short: values[key] for key, short in _shortened(varied).items() if key in values}
            second = spec_text({"name": "", **own}).lstrip(":")
            lines = [whole] if fits else [base, second]
            names[number] = "<br>".join(html.escape(plain(line, LINE), quote=False) for line in lines if line)
    return names


def label_points(points: Points, order: Sequence[int], chosen: Sequence[int], sizes: Sequence[float]) -> dict[str, Any]:
    """Properties of a trace that label its points; under ``meta.narrow`` those for a phone, which the page picks.

    Args:
        points: names and positions of all points of the figure.
        order: points that want a label, the most important first.
        chosen: the points of this trace.
        sizes: diameters of all markers in pixels.
    """
    wide, narrow = ([placed[i] for i in chosen] for placed in (
        place_labels(points, order, sizes, width) for width in (WIDE, NARROW)
    ))  # fmt: skip
    return {**_texts(wide), "meta": {"narrow": _texts(narrow)}}


def _texts(labels: Sequence[Label]) -> dict[str, list[str]]:
    return {"text": [label.text for label in labels], "textposition": [label.side for label in labels]}


def place_labels(points: Points, order: Sequence[int], sizes: Sequence[float], width: float) -> list[Label]:
    """Text and side of every point, such that no two texts cover each other; empty for points that find no room.

    Args:
        points: names and positions.
        order: points that want a label, the most important first.
        sizes: diameters of the markers in pixels.
        width: of a character, as a share of the width of the data.
    """
    names, x, y = points
    labels = [Label("", "top right")] * len(names)
    low, high = min(x, default=0.0), max(x, default=0.0)
    taken: list[tuple[float, float, float, float]] = []
    for i in order:
        lines = names[i].split("<br>")
        gap = sizes[i] / 2 * _POINTS_PER_PIXEL
        wide = width * max(map(len, lines)) * max(high - low, 1e-9)
        side = "left" if x[i] > (low + high) / 2 else "right"
        left = x[i] - wide if side == "left" else x[i]
        tall = _LINE_HEIGHT * len(lines)
        for level, bottom in (("top", y[i] + gap), ("bottom", y[i] - gap - tall)):
            box = left, left + wide, bottom, bottom + tall
            if bottom >= -_LINE_HEIGHT and not any(_overlap(box, other) for other in taken):
                labels[i] = Label(names[i], f"{level} {side}")
                taken.append(box)
                break
    return labels


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]


def _base(settings: Mapping[str, Any]) -> str:
    parts = settings.get("parts")
    if settings.get("name") == "chain" and isinstance(parts, list):
        return " | ".join(_base(part) for part in parts)
    if settings.get("name") == "repeat" and isinstance(settings.get("part"), Mapping):
        return f"repeat {_base(settings['part'])}"
    return str(settings.get("name", "?"))


def _shortened(paths: Sequence[str]) -> dict[str, str]:
    """The last part of every path, or the last two where that is not enough to tell them apart."""
    last = [path.rpartition(".")[2] for path in paths]
    return {
        path: name if last.count(name) == 1 else ".".join(path.split(".")[-2:])
        for path, name in zip(paths, last, strict=True)
    }


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with the path to it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}")
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{path}.{number}")
    else:
        yield path, value
