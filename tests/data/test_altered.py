import json

import numpy as np
import pytest
from PIL import Image

from lustral.data import parse_data
from lustral.data.altered import TARGETS, Colored, Corrupted
from lustral.data.builtin import photograph, resized_to
from lustral.data.color_transfer import recolor, statistics_of
from lustral.data.corruptions import corrupt
from lustral.report.text import data_text
from lustral.settings import SettingsError

SCENES = "scenes:split=train,count=12"


@pytest.fixture(scope="module")
def plain():
    return parse_data(SCENES).load()


@pytest.fixture(scope="module")
def colored():
    return parse_data(f"{SCENES} | colored").load()


def test_a_corrupted_set_has_the_same_labels_and_says_what_was_done(plain):
    images = parse_data(f"{SCENES} | corrupted:by=saturate,level=4,strengths=cifar").load()
    assert images.ids == tuple(f"{name}/saturate-4" for name in plain.ids)
    assert images.name == "scenes train, saturate-4"
    assert images.classes == plain.classes
    np.testing.assert_array_equal(images.truth, plain.truth)
    for before, after in zip(plain.images, images.images, strict=True):
        np.testing.assert_array_equal(after, corrupt(before, "saturate", 4, "cifar"))


def test_a_coloured_set_takes_the_colours_of_the_photograph_that_the_id_names(plain, colored):
    np.testing.assert_array_equal(colored.truth, plain.truth)
    used = set()
    for name, before, identity, after in zip(plain.ids, plain.images, colored.ids, colored.images, strict=True):
        stem, target = identity.split("/colored/")
        assert stem == name
        used.add(target)
        np.testing.assert_array_equal(after, recolor(before, statistics_of(resized_to(photograph(target), 256 * 256))))
    assert used <= set(TARGETS)
    assert len(used) > 2


def test_the_photograph_depends_on_the_image_and_the_seed_only(colored):
    few = parse_data("scenes:split=train,count=5 | colored").load()
    same = dict(zip(colored.ids, colored.images, strict=True))
    assert set(few.ids) <= set(colored.ids)
    assert all((same[name] == image).all() for name, image in zip(few.ids, few.images, strict=True))
    assert parse_data(f"{SCENES} | colored:choice_seed=1").load().ids != colored.ids


def test_every_image_in_several_colours(plain):
    images = parse_data("scenes:count=2 | colored:per_image=3,targets=coffee+rocket+chelsea").load()
    assert len(images) == 6
    assert images.truth.tolist() == np.repeat(parse_data("scenes:count=2").load().truth, 3).tolist()
    for row in (0, 3):
        assert {name.split("/colored/")[1] for name in images.ids[row : row + 3]} == {"coffee", "rocket", "chelsea"}
    with pytest.raises(ValueError, match="per_image must be at most the number of targets, 1, got 2"):
        parse_data("scenes:count=2 | colored:per_image=2,targets=coffee").load()


def test_targets_may_be_pictures_of_ones_own_and_are_part_of_the_fingerprint(tmp_path):
    def fingerprint(color):
        Image.new("RGB", (4, 3), color).save(tmp_path / "one.png")
        images = parse_data(f"scenes:count=2 | colored:targets=folder:path={tmp_path}").load()
        assert all(name.endswith("/colored/folder/one.png") for name in images.ids)
        return images.fingerprint()

    assert fingerprint((200, 100, 50)) == fingerprint((200, 100, 50)) != fingerprint((50, 100, 200))


def test_changes_follow_each_other_and_survive_json():
    settings = parse_data(f"{SCENES} | colored:targets=coffee | corrupted:by=contrast,count=4")
    assert settings == Corrupted(data=Colored(data=parse_data(SCENES), targets=("coffee",)), by="contrast", count=4)
    assert parse_data(json.loads(json.dumps(settings.to_json()))) == settings
    assert settings.split == settings.data.split == "train"
    assert settings.kind == "classes"
    images = settings.load()
    assert len(images) == 4
    assert all(name.endswith("/colored/coffee/contrast-3") for name in images.ids)
    assert data_text(settings.to_json()) == f"{SCENES} | colored:targets=coffee | corrupted:count=4,by=contrast"
    assert data_text(parse_data("scenes | colored").to_json()) == "scenes | colored"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("scenes | cifar10", r"expected a change \(colored, corrupted, cropped, clustered, listed\) .*got 'cifar10'"),
        ("scenes | colored:data=cifar10", "without data="),
        ("scenes | coloured", "did you mean 'colored'"),
        ("scene | colored", "did you mean 'scenes'"),
        ("corrupted:by=contrast,data=scene", "corrupted.data: .*did you mean 'scenes'"),
        ("scenes | corrupted:by=fog", "known: brightness, contrast, saturate"),
        ("scenes | corrupted:by=contrast,level=6", "level"),
        ("scenes | colored:targets=cofee", "expected built-in photographs .*coffee"),
        ("scenes | colored:split=train", "split=train contradicts split=test of scenes"),
        ("photos | colored", "the scores of photos do not hold"),
        ("colored", "colored.data: Field required"),
    ],
)
def test_what_cannot_be_meant_is_an_error(spec, message):
    with pytest.raises(SettingsError, match=message):
        parse_data(spec)
