"""What purifiers show of their inside, as a column of a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lustral.bench.strips import join_strip
from lustral.seeds import Noise
from lustral.steps import watching
from lustral.tensors import Images, to_uint8

__all__ = ["Watched"]


class Watched:
    """A purifier, watched the first time it is called: what it then shows as "picture" is kept.

    Args:
        purify: any; it returns what it would return unwatched.
        count: of the first so many images; 0 watches nothing.
    """

    def __init__(self, purify: Callable[[Images, Noise], Images], count: int) -> None:
        self._purify = purify
        self._count = count
        self._active = count > 0
        self._images = 0
        self._size: tuple[int, ...] = ()
        self._shown: dict[str, Any] = {}

    def __call__(self, x: Images, noise: Noise) -> Images:
        if not self._active:
            return self._purify(x, noise)
        self._active = False
        self._images, self._size = len(x), tuple(x.shape)
        with watching(self._hear):
            return self._purify(x, noise)

    def _hear(self, event: str, facts: dict[str, Any]) -> None:
        # A part that works on some of the images, or on tiles of them, has no picture for each.
        if event != "picture" or tuple(facts["x"].shape) != self._size:
            return
        name, times = str(facts["name"]), 2
        while name in self._shown:
            name, times = f"{facts['name']} ({times})", times + 1
        self._shown[name] = to_uint8(facts["x"][: self._count]).permute(0, 2, 3, 1).cpu().numpy()

    def columns(self, phase: str) -> dict[str, list[Any]]:
        """``picture_steps_PHASE``, a strip of all pictures for each of the first images and null for the others.

        Nothing at all if nothing was shown, so that the rows of other purifiers stay what they were before there was
        such a column.
        """
        if not self._shown:
            return {}
        kept = min(self._count, self._images)
        strips = [join_strip({name: shown[row] for name, shown in self._shown.items()}) for row in range(kept)]
        return {f"picture_steps_{phase}": [*strips, *[None] * (self._images - kept)]}
