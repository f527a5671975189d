import json
import subprocess
import sys

import numpy as np
import pytest

from lustral.data import DATA, DataSettings, ImageSet, MissingData, parse_data, require_file
from lustral.data.scenes import Scenes
from lustral.settings import SettingsError


class Made(DataSettings):
    """Thirty images of three classes, very unevenly."""

    name = "made"
    kind = "classes"
    origin = "this test"

    def read(self):
        labels = np.array([0] * 20 + [1] * 6 + [2] * 4)
        images = [np.full((2, 3, 3), row, np.uint8) for row in range(30)]
        return ImageSet("made", tuple(f"made/{row}" for row in range(30)), images, labels, ("a", "b", "c"))


def test_choice_is_balanced_over_classes_in_order_and_repeatable():
    chosen = Made(count=12).load()
    assert np.bincount(chosen.truth).tolist() == [4, 4, 4]
    rows = [int(identity.split("/")[1]) for identity in chosen.ids]
    assert rows == sorted(rows)
    assert Made(count=12).load().ids == chosen.ids
    assert Made(count=12, choice_seed=1).load().ids != chosen.ids
    assert [image[0, 0, 0] for image in chosen.images] == rows


def test_a_larger_choice_contains_the_smaller():
    small, large = (set(Made(count=count).load().ids) for count in (6, 12))
    assert small < large


def test_choice_does_not_depend_on_the_process():
    code = "from lustral.data import parse_data; print(parse_data('scenes:count=7').load().ids)"
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    )
    assert run.stdout == f"{Scenes(count=7).load().ids}\n"


def test_choice_without_classes_takes_count_images_and_too_many_is_an_error():
    whole = Made().load()
    plain = ImageSet("plain", whole.ids, whole.images, np.full(30, np.nan))
    assert len(Made(count=7).choose(plain)) == 7
    assert len(Made(count=30).load()) == 30
    with pytest.raises(ValueError, match="made has 30 images, count=31 asks for more"):
        Made(count=31).load()


def test_fingerprint_changes_with_any_pixel_label_id_or_order():
    whole = Made().load()
    pixels = [image.copy() for image in whole.images]
    pixels[29][1, 2, 2] ^= 1
    labels = whole.truth.copy()
    labels[29] = 1
    others = [
        ImageSet("made", whole.ids, pixels, whole.truth),
        ImageSet("made", whole.ids, whole.images, labels),
        ImageSet("made", whole.ids, whole.images, whole.truth.astype(np.float64)),
        ImageSet("made", (*whole.ids[:-1], "made/x"), whole.images, whole.truth),
        ImageSet("made", whole.ids, [image.reshape(3, 2, 3) for image in whole.images], whole.truth),
        whole.take(range(29)),
        whole.take([1, 0, *range(2, 30)]),
    ]
    prints = {other.fingerprint() for other in others}
    assert len(prints) == len(others)
    assert whole.fingerprint() not in prints
    assert whole.fingerprint() == Made().load().fingerprint()


def test_wrong_sets_are_refused():
    image = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(ValueError, match="image ids repeat"):
        ImageSet("x", ("a", "a"), [image, image], np.zeros(2))
    with pytest.raises(ValueError, match="2 ids, 1 images, 2 truths"):
        ImageSet("x", ("a", "b"), [image], np.zeros(2))
    with pytest.raises(ValueError, match="different sizes"):
        ImageSet("x", ("a", "b"), [image, image[:1]], np.zeros(2)).stack()


def test_files_are_looked_for_in_root_then_in_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LUSTRAL_DATA", str(tmp_path / "elsewhere"))
    assert require_file("file", str(tmp_path), "somewhere") == tmp_path / "file"
    with pytest.raises(MissingData, match=r"file is not in .*elsewhere.*Origin: somewhere"):
        require_file("file", None, "somewhere")
    monkeypatch.delenv("LUSTRAL_DATA")
    with pytest.raises(MissingData, match="set LUSTRAL_DATA"):
        require_file("file", None, "somewhere")


def test_settings_come_from_text_and_mistakes_list_what_is_known():
    settings = parse_data("cifar10:split=train,count=512,choice_seed=3")
    assert (settings.name, settings.split, settings.count, settings.choice_seed) == ("cifar10", "train", 512, 3)
    with pytest.raises(
        SettingsError, match=r"unknown data set 'cifar' .did you mean .*; known data sets: agiqa3k, cifar10, cifar100, "
    ):
        parse_data("cifar")
    with pytest.raises(SettingsError, match=r"unknown setting 'counts' of cifar10; known settings: .*count"):
        parse_data("cifar10:counts=3")
    with pytest.raises(SettingsError, match=r"cifar10\.split"):
        parse_data("cifar10:split=validation")
    with pytest.raises(SettingsError, match="count"):
        parse_data("cifar10:count=0")


@pytest.mark.parametrize("name", DATA)
def test_every_data_set_says_what_it_is_and_survives_json(name):
    cls = DATA[name]
    assert cls.name == name
    assert cls.origin
    needed = {"path": "somewhere", "data": "scenes:split=train", "by": "contrast"}
    settings = cls.make(**{key: value for key, value in needed.items() if key in cls.model_fields}, count=5)
    assert settings.kind in ("classes", "quality", "plain")
    copy = json.loads(json.dumps(settings.to_json()))
    assert copy.pop("name") == name
    assert cls.make(**copy) == settings
    assert hash(cls.make(**copy)) == hash(settings)


def test_data_imports_no_torch():
    code = (
        "import sys, lustral.data as d; d.parse_data('scenes:count=3 | colored').load();"
        "d.parse_data('photos:kinds=jpeg').load(); print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
