import io
import os

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from lustral.data import MissingData, parse_data
from lustral.data.builtin import PHOTOGRAPHS, photograph, resized_to
from lustral.data.distortions import DISTORTIONS, distort
from lustral.data.live import LiveSubset
from lustral.data.photos import PIXELS, Photos
from lustral.data.similarity import similarity
from lustral.settings import SettingsError

FEW = ("gaussian_blur", "white_noise", "jpeg")


def ladders(photos):
    """Score by level, for every crop and kind."""
    found = {}
    for identity, score in zip(photos.ids, photos.truth, strict=True):
        crop, last = identity.rsplit("/", 1)
        if last != "pristine":
            kind, level = last.rsplit("-", 1)
            found.setdefault((crop, kind), {})[int(level)] = score
    return found


@pytest.fixture(scope="module")
def photos():
    return Photos().load()


def test_the_built_in_set_has_every_photograph_kind_and_level(photos):
    assert len(photos) == 10 * (1 + 5 * len(DISTORTIONS)) - 2 * 5  # grey photographs cannot lose colour
    assert {identity.split("/")[2] for identity in photos.ids} == set(PHOTOGRAPHS)
    assert photos.stack().shape == (len(photos), 96, 96, 3)
    assert photos.higher_is_better
    assert photos.truth.dtype == np.float64


def test_scores_never_rise_with_the_level(photos):
    found = ladders(photos)
    assert len(found) == 10 * len(DISTORTIONS) - 2
    for scores in found.values():
        row = [scores[level] for level in sorted(scores)]
        assert row == sorted(row, reverse=True)
        assert row[-1] < row[0]
        assert row[-1] >= 0
        assert row[0] < 1
    for kind in DISTORTIONS:
        mean = np.mean([list(scores.values()) for (_, name), scores in found.items() if name == kind], axis=0)
        assert (np.diff(mean) < 0).all(), kind


def test_level_truth_is_the_grade():
    photos = Photos(truth="level", kinds=FEW).load()
    assert all(scores == {level: 1 - level / 5 for level in range(1, 6)} for scores in ladders(photos).values())
    assert set(photos.truth) == {0.0, *(1 - level / 5 for level in range(1, 5)), 1.0}


def test_training_and_test_crops_share_no_pixel():
    pictures = {name: photograph(name) for name in PHOTOGRAPHS}
    whole = {name: resized_to(p, min(PIXELS, p.width * p.height)) for name, p in pictures.items()}
    crops = {}
    for split in ("train", "test"):
        photos = Photos(split=split, crops=100, side=128, kinds=("darken",), truth="level").load()
        crops[split] = {identity.rsplit("/", 1)[0] for identity in photos.ids}
        for identity, image in zip(photos.ids, photos.images, strict=True):
            _, _, name, place, kind = identity.split("/")
            if kind == "pristine":
                row, column = (128 * int(part) for part in place.split("-"))
                pixels = whole[name]
                np.testing.assert_array_equal(image, pixels[row : row + 128, column : column + 128])
    assert crops["train"]
    assert crops["test"]
    assert not crops["train"] & crops["test"]


def test_the_set_is_made_again_exactly_whatever_else_is_in_it(photos):
    again = Photos(kinds=FEW).load()
    same = photos.take([photos.ids.index(identity) for identity in again.ids])
    assert again.fingerprint() == same.fingerprint()
    other = Photos(choice_seed=1, kinds=("darken",)).load()
    assert {identity.rsplit("/", 1)[0] for identity in other.ids} != {i.rsplit("/", 1)[0] for i in photos.ids}


def test_settings_are_read_from_text():
    settings = parse_data("photos:sources=builtin+kodak,kinds=jpeg+white_noise,crops=2,truth=level")
    assert settings == Photos(sources=("builtin", "kodak"), kinds=("jpeg", "white_noise"), crops=2, truth="level")
    assert Photos.make(**{k: v for k, v in settings.to_json().items() if k != "name"}) == settings
    with pytest.raises(SettingsError, match="unknown distortion; known: gaussian_blur"):
        parse_data("photos:kinds=blur")
    with pytest.raises(SettingsError, match="sources"):
        parse_data("photos:sources=imagenet")


def write_parquet(path, names):
    random = np.random.default_rng(0)
    cells = []
    for _ in names:
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (100, 200, 3), dtype=np.uint8)).save(file, "PNG")
        cells.append(file.getvalue())
    parquet.write_table(arrow.table({"image": cells, "name": names}), path)


def test_other_photographs_are_split_by_photograph(tmp_path):
    write_parquet(tmp_path / "photos_kodak24.parquet", [f"kodim{n:02}.png" for n in range(1, 11)])
    write_parquet(tmp_path / "photos_bsds_train200.parquet", ["1.jpg", "2.jpg"])
    held = {}
    for split in ("train", "test"):
        settings = Photos(sources=("kodak",), split=split, kinds=("jpeg",), truth="level", crops=2, root=str(tmp_path))
        held[split] = {identity.split("/")[2] for identity in settings.load().ids}
    assert held["test"] == {"kodim01", "kodim06"}
    assert len(held["train"]) == 8
    assert not held["train"] & held["test"]
    bsds = Photos(sources=("bsds",), split="train", kinds=("jpeg",), truth="level", root=str(tmp_path))
    assert len(bsds.load()) == 12
    with pytest.raises(ValueError, match="no test picture"):
        bsds.model_copy(update={"split": "test"}).load()


def test_an_absent_source_says_where_to_get_it(tmp_path):
    with pytest.raises(MissingData, match=r"photos_kodak24\.parquet.*LUSTRAL_DATA.*r0k\.us"):
        Photos(sources=("kodak",), root=str(tmp_path)).load()


def write_live(folder, **changes):
    file = io.BytesIO()
    Image.new("RGB", (48, 48), (1, 2, 3)).save(file, "PNG")
    columns = {
        "image": [file.getvalue()] * 3,
        "type": ["ref", "gblur", "wnoise"],
        "source_name": ["parrots.bmp", "parrots_5.bmp", "parrots_4.bmp"],
        "dmos": [0.0, 30.5, 60.0],
        "dmos_how": ["reference", "model_matched", "count_matches"],
    }
    path = folder / "iqa_live_subset_crop288.parquet"
    parquet.write_table(arrow.table(columns | changes), path)
    return path


def test_live_keeps_the_certain_rows_and_lower_is_better(tmp_path):
    write_live(tmp_path)
    certain = LiveSubset(root=str(tmp_path)).load()
    assert certain.ids == ("live/ref/parrots", "live/wnoise/parrots_4")
    assert certain.truth.tolist() == [0.0, 60.0]
    assert not certain.higher_is_better
    assert len(LiveSubset(root=str(tmp_path), certain_only=False).load()) == 3
    with pytest.raises(SettingsError, match="live_subset has no train split; it has: test"):
        LiveSubset.make(split="train")


def test_a_damaged_parquet_file_is_named(tmp_path):
    path = write_live(tmp_path, image=[b"no picture"] * 3)
    with pytest.raises(ValueError, match=r"iqa_live_subset_crop288\.parquet, row 0: .*cannot decode"):
        LiveSubset(root=str(tmp_path)).load()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"iqa_live_subset_crop288\.parquet is not a readable Parquet file"):
        LiveSubset(root=str(tmp_path)).load()
    parquet.write_table(arrow.table({"image": [b""]}), path)
    with pytest.raises(ValueError, match=r"iqa_live_subset_crop288\.parquet must have the columns"):
        LiveSubset(root=str(tmp_path)).load()


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("LUSTRAL_DATA"), reason="LUSTRAL_DATA is not set")
def test_the_computed_truth_follows_human_scores_on_live():
    from scipy.stats import spearmanr

    live = LiveSubset(certain_only=False).load()
    certain = set(LiveSubset().load().ids)
    assert (len(live), len(certain)) == (63, 25)
    references = {i.split("/")[2]: image for i, image in zip(live.ids, live.images, strict=True) if "/ref/" in i}
    kinds = {"gblur": "gaussian_blur", "jpeg": "jpeg", "wnoise": "white_noise"}
    scores = []
    for identity, image in zip(live.ids, live.images, strict=True):
        _, kind, name = identity.split("/")
        power = DISTORTIONS[kinds[kind]].harshness if kind in kinds else 1.0
        scores.append(similarity(references[name.split("_")[0]], image) ** power)
    rows = [row for row, identity in enumerate(live.ids) if identity in certain]
    assert spearmanr(scores, -live.truth).statistic > 0.95
    assert spearmanr(np.array(scores)[rows], -live.truth[rows]).statistic > 0.98


def test_the_seed_of_a_crop_comes_from_its_name(photos):
    from lustral.settings import digest

    row = next(row for row, identity in enumerate(photos.ids) if identity.endswith("white_noise-3"))
    crop = photos.ids[row].rsplit("/", 1)[0]
    pristine = photos.images[photos.ids.index(f"{crop}/pristine")]
    expected = distort(pristine, "white_noise", 3, int(digest(crop)[:15], 16))
    np.testing.assert_array_equal(photos.images[row], expected)
