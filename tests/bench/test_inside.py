"""What a purifier shows of its inside is kept: of the first call, for the first images, under names of its own."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from lustral.bench.encoding import pictures
from lustral.bench.inside import Watched
from lustral.bench.rows import digest_rows, to_table
from lustral.bench.strips import join_strip, split_strip
from lustral.seeds import Noise
from lustral.steps import show, watched


def images(n: int = 3, side: int = 5) -> Tensor:
    return torch.rand(n, 3, side, side + 1, generator=torch.Generator().manual_seed(0))


def noise(n: int = 3) -> Noise:
    return Noise(0, "test", [str(row) for row in range(n)])


def purifier(*names: str) -> Callable[[Tensor, Noise], Tensor]:
    """Shows darker and darker pictures."""

    def purify(x: Tensor, noise: Noise) -> Tensor:
        for place, name in enumerate(names):
            show("picture", name=name, x=x / (2 + place))
        show("state", x=x, t=3)
        return 1 - x

    return purify


def test_the_first_images_get_a_strip_and_the_others_null() -> None:
    x = images()
    inside = Watched(purifier("map", "mask"), 2)
    assert torch.equal(inside(x, noise()), 1 - x)
    (found,) = inside.columns("clean").values()
    assert list(inside.columns("attacked")) == ["picture_steps_attacked"]
    assert found[2] is None
    for row, data in enumerate(found[:2]):
        tiles = split_strip(data)
        assert [name for name, _ in tiles] == ["map", "mask"]
        for place, (_, tile) in enumerate(tiles):
            (expected,) = pictures(x[row : row + 1] / (2 + place), 1)
            assert expected is not None
            assert np.array_equal(np.asarray(tile), np.asarray(Image.open(io.BytesIO(expected))))


def test_only_the_first_call_is_watched_and_none_if_no_pictures_are_kept() -> None:
    seen: list[bool] = []

    def purify(x: Tensor, noise: Noise) -> Tensor:
        seen.append(watched())
        show("picture", name=f"call {len(seen)}", x=x)
        return x

    inside = Watched(purify, 9)
    inside(images(), noise())
    inside(images(), noise())
    assert [name for data in inside.columns("clean")["picture_steps_clean"] for name, _ in split_strip(data)] == [
        "call 1"
    ] * 3
    none = Watched(purify, 0)
    none(images(), noise())
    assert none.columns("clean") == {}
    assert seen == [True, False, False]


def test_the_same_name_twice_is_counted_and_pictures_of_some_images_are_left_out() -> None:
    def purify(x: Tensor, noise: Noise) -> Tensor:
        for _ in range(3):
            show("picture", name="mask", x=x)
        show("picture", name="of one image", x=x[:1])
        show("picture", name="of a tile", x=x[:, :, :2])
        return x

    inside = Watched(purify, 1)
    inside(images(), noise())
    data = inside.columns("clean")["picture_steps_clean"][0]
    assert [name for name, _ in split_strip(data)] == ["mask", "mask (2)", "mask (3)"]


def test_who_shows_nothing_leaves_rows_as_they_were_before_there_were_strips() -> None:
    inside = Watched(purifier(), 2)
    inside(images(), noise())
    assert inside.columns("clean") == {}
    assert Watched(purifier("map"), 2).columns("clean") == {}, "never called"


def test_strips_are_binary_columns_even_where_all_are_null() -> None:
    digests: set[str] = set()
    for phase in ("clean", "attacked"):
        table = to_table({"image": ["a"], f"picture_steps_{phase}": [None]})
        assert str(table.schema.field(f"picture_steps_{phase}").type) == "binary"
        digests.add(digest_rows(table))
    assert len(digests) == 2


@pytest.mark.parametrize("names", [None, "[]", '{"a": 1}', '["a", "b", "c", "d"]'])
def test_a_picture_that_is_no_strip_is_an_error(names: str | None) -> None:
    text, stream = PngInfo(), io.BytesIO()
    if names is not None:
        text.add_text("names", names)
    Image.new("RGB", (6, 2)).save(stream, format="PNG", pnginfo=text)
    with pytest.raises(ValueError, match=r"expected a strip of named pictures, got a PNG of \(6, 2\) pixels"):
        split_strip(stream.getvalue())


def test_strips_need_pictures_of_one_size() -> None:
    for tiles in ({}, {"a": np.zeros((2, 3, 3), np.uint8), "b": np.zeros((2, 4, 3), np.uint8)}):
        with pytest.raises(ValueError, match="expected pictures of one size"):
            join_strip(tiles)
