"""Data sets made of data sets: the same pictures in other colours, with the same labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from lustral.data.base import DataSettings, ImageSet
from lustral.data.builtin import PHOTOGRAPHS, photograph, resized_to
from lustral.data.color_transfer import ColorStatistics, recolor, statistics_of
from lustral.data.corruptions import CORRUPTIONS, Strengths, corrupt
from lustral.data.derived import Derived, read_data
from lustral.settings import SettingsError, digest

__all__ = ["Altered", "Colored", "Corrupted"]

TARGETS = ("astronaut", "chelsea", "coffee", "immunohistochemistry", "motorcycle", "rocket")
PIXELS = 256 * 256  # statistics of a built-in photograph are taken at this size

Pixels = NDArray[np.uint8]
Targets = tuple[str, ...] | DataSettings


def _read_targets(value: Any) -> Targets:
    """Names of built-in photographs, in text joined by ``+``, or a data set."""
    names = cast(Sequence[str], value.split("+") if isinstance(value, str) else value)
    if isinstance(names, list | tuple) and names and all(name in PHOTOGRAPHS for name in names):
        return tuple(dict.fromkeys(names))
    try:
        return read_data(value)
    except SettingsError as error:
        known = ", ".join(PHOTOGRAPHS)
        raise ValueError(f"expected built-in photographs ({known}), joined by +, or a data set: {error}") from None


def _write(value: Targets) -> Any:
    return value.to_json() if isinstance(value, DataSettings) else list(value)


def _known_corruption(by: str) -> str:
    if by not in CORRUPTIONS:
        raise ValueError(f"unknown corruption; known: {', '.join(CORRUPTIONS)}")
    return by


class Altered(Derived):
    """Base of data sets that change the pictures of another one and keep its labels, classes and split.

    Ids are those of the other set with ``/<what was done>`` behind them. ``count`` and ``choice_seed`` choose among
    the changed pictures; to change few pictures in the first place, give the other set a ``count``.
    """

    @model_validator(mode="after")
    def _keeps_the_truth(self) -> Self:
        if self.data.kind == "quality":
            raise ValueError(
                f"the scores of {self.data.name} do not hold for changed pictures; use a set of classes or a folder"
            )
        return self


def _altered(source: ImageSet, what: str, make: Callable[[str, Pixels], Iterable[tuple[str, Pixels]]]) -> ImageSet:
    """The set of what ``make`` makes of every id and picture: endings of ids, and pictures."""
    ids: list[str] = []
    images: list[Pixels] = []
    rows: list[int] = []
    for row, (name, image) in enumerate(zip(source.ids, source.images, strict=True)):
        for ending, changed in make(name, image):
            ids.append(f"{name}/{ending}")
            images.append(changed)
            rows.append(row)
    return replace(source, name=f"{source.name}, {what}", ids=tuple(ids), images=images, truth=source.truth[rows])


class Corrupted(Altered):
    """Another data set under a colour corruption of ImageNet-C: ``scenes | corrupted:by=saturate,level=3``.

    Ids are ``<id>/<corruption>-<level>``.

    Args:
        data: the other set: what stands to the left of ``|``, or ``data=NAME``.
        by: "brightness", "contrast" or "saturate".
        level: 1 to 5; see ``lustral.data.corruptions.CORRUPTIONS``.
        strengths: "imagenet" takes the parameters of ImageNet-C, "cifar" the milder ones of CIFAR-10-C.

    Source: Hendrycks and Dietterich, ICLR 2019; the colour corruptions of "Diffusion or non-diffusion adversarial
        defenses" (MAEP, paper 004), section 5.6, which does not list them.
    Differs: see ``CORRUPTIONS``.
    """

    name: ClassVar[str] = "corrupted"
    by: Annotated[str, AfterValidator(_known_corruption)]
    level: int = Field(default=3, ge=1, le=5)
    strengths: Strengths = "imagenet"

    def read(self) -> ImageSet:
        """Every picture of the other set once, in its order.

        Raises:
            MissingData: the files of the other set are not there.
        """
        ending = f"{self.by}-{self.level}"

        def make(_: str, image: Pixels) -> Iterable[tuple[str, Pixels]]:
            yield ending, corrupt(image, self.by, self.level, self.strengths)

        return _altered(self.data.load(), ending, make)


class Colored(Altered):
    """Another data set in the colours of target photographs: ``scenes | colored``.

    With CIFAR-10 it is what the paper calls ColoredCIFAR10, with ImageNet ColoredImageNet. Which photograph an image
    gets depends on its id and ``choice_seed`` only. Ids are ``<id>/colored/<photograph>``.

    Args:
        data: the other set: what stands to the left of ``|``, or ``data=NAME``.
        targets: photographs that give their colours: names of built-in ones (``targets=coffee+rocket``; see
            ``lustral.data.builtin``) or a data set (``targets=nips2017``).
        per_image: how many different photographs every image is coloured after; the set is so many times larger.

    Source: "Diffusion or non-diffusion adversarial defenses" (MAEP, paper 004), section 5.1, with Reinhard et al.,
        Color transfer between images, 2001; see ``lustral.data.color_transfer``.
    Differs: targets are photographs of scikit-image by default, where the paper takes ImageNet test images. The grey
        (grass, brick) and the mostly black (hubble, retina) ones of the ten are left out.
    """

    name: ClassVar[str] = "colored"
    targets: Annotated[Targets, BeforeValidator(_read_targets), PlainSerializer(_write)] = TARGETS
    per_image: int = Field(default=1, ge=1)

    def read(self) -> ImageSet:
        """Every image of the other set ``per_image`` times, in its order.

        Raises:
            MissingData: the files of the other set or of the targets are not there.
            ValueError: fewer targets than ``per_image``.
        """
        palettes = self._palettes()
        if self.per_image > len(palettes):
            raise ValueError(f"per_image must be at most the number of targets, {len(palettes)}, got {self.per_image}")

        def make(name: str, image: Pixels) -> Iterable[tuple[str, Pixels]]:
            first = int(digest([self.choice_seed, name])[:15], 16)
            for step in range(self.per_image):
                label, palette = palettes[(first + step) % len(palettes)]
                yield f"colored/{label}", recolor(image, palette)

        return _altered(self.data.load(), "colored", make)

    def _palettes(self) -> list[tuple[str, ColorStatistics]]:
        """Name and colours of every target."""
        if isinstance(self.targets, DataSettings):
            found = self.targets.load()
            return [(name, statistics_of(image)) for name, image in zip(found.ids, found.images, strict=True)]
        return [(name, statistics_of(resized_to(photograph(name), PIXELS))) for name in self.targets]
