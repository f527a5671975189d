"""KonIQ-10k, KADID-10k, AGIQA-3K and NIPS-2017 from tiny archives in the official layout."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from lustral.data import MissingData, parse_data
from lustral.data.agiqa import Agiqa3k
from lustral.data.kadid import Kadid10k
from lustral.data.koniq import Koniq10k
from lustral.data.nips2017 import Nips2017
from lustral.images import ImageError
from lustral.settings import SettingsError

SETS = ["training", "validation", "test", "test", "training", "test"]


def write_pictures(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for shade, name in enumerate(names):
        Image.new("RGB", (5, 4), (shade, 0, 255 - shade)).save(folder / name)


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def write_tables(folder, dataset, rows):
    columns = {"dataset": [dataset] * len(rows) + ["LIVE"], "image": [row[0] for row in rows] + ["jp2k/img1.bmp"]}
    columns |= {"mos": [*(row[1] for row in rows), 40.0], "std": [1.0] * (len(rows) + 1)}
    columns |= {"koniq_set": [*(row[2] for row in rows), None], "koniq_mos100": [*(row[3] for row in rows), None]}
    table = arrow.table(columns).replace_schema_metadata({"scales": json.dumps({dataset: "1..5, higher is better"})})
    parquet.write_table(table, folder / "iqa_mos_tables.parquet")


def koniq_rows():
    return [
        {"image_name": f"{30 - n}.jpg", "c1": 0, "MOS": 1.5 + n / 2, "SD": 0.5, "MOS_zscore": 10.0 * n}
        for n in range(len(SETS))
    ]


@pytest.fixture
def koniq(tmp_path):
    rows, home = koniq_rows(), tmp_path / "koniq10k"
    write_pictures(home / "512x384", [row["image_name"] for row in rows])
    write_csv(home / "koniq10k_scores_and_distributions.csv", rows)
    sets = [{"image_name": row["image_name"], "MOS": 0, "set": part} for row, part in zip(rows, SETS, strict=True)]
    write_csv(home / "koniq10k_distributions_sets.csv", sets)
    return home


@pytest.mark.parametrize("at_root", [False, True])
def test_koniq_has_the_official_split_in_the_order_of_names(koniq, at_root):
    root = str(koniq if at_root else koniq.parent)
    test = Koniq10k(root=root).load()
    assert test.ids == ("koniq10k/25", "koniq10k/27", "koniq10k/28")
    assert test.truth.tolist() == [4.0, 3.0, 2.5]
    assert test.higher_is_better
    assert [image[0, 0, 0] < 8 for image in test.images] == [True] * 3
    assert {image.shape for image in test.images} == {(4, 5, 3)}
    assert Koniq10k(root=root, split="train").load().ids == ("koniq10k/26", "koniq10k/30")
    assert Koniq10k(root=root, split="validation", scale="zscore").load().truth.tolist() == [10.0]
    whole = Koniq10k(root=root, whole=True).load()
    assert len(whole) == 6
    assert set(test.ids) < set(whole.ids)
    with pytest.raises(SettingsError, match="split must stay test, got train"):
        parse_data("koniq10k:whole=true,split=train")


def test_the_mos_table_stands_in_for_each_official_csv(koniq, tmp_path):
    official = {scale: Koniq10k(root=str(tmp_path), scale=scale).load() for scale in ("mos", "zscore")}
    rows = [(f"1024x768/{row['image_name']}", row["MOS"], part, row["MOS_zscore"])
            for row, part in zip(koniq_rows(), SETS, strict=True)]  # fmt: skip
    write_tables(tmp_path, "KonIQ-10k", rows)
    for name in ("koniq10k_distributions_sets.csv", "koniq10k_scores_and_distributions.csv"):
        (koniq / name).unlink()
        for scale, images in official.items():
            assert Koniq10k(root=str(tmp_path), scale=scale).load().fingerprint() == images.fingerprint()


def test_what_is_missing_or_damaged_is_named_with_its_archive(koniq, tmp_path, monkeypatch):
    monkeypatch.delenv("LUSTRAL_DATA", raising=False)
    with pytest.raises(MissingData, match=r"koniq10k: no data folder is set; set LUSTRAL_DATA.*koniq10k_512x384\.zip"):
        Koniq10k().load()
    (koniq / "512x384" / "27.jpg").unlink()
    with pytest.raises(MissingData, match=r"lacks 1 of 3 pictures in .*512x384, 27\.jpg .*mmsp-kn\.de"):
        Koniq10k(root=str(tmp_path)).load()
    scores = koniq / "koniq10k_scores_and_distributions.csv"
    scores.write_text(scores.read_text().replace("3.0,", "much,"))
    with pytest.raises(ValueError, match=r"distributions\.csv, column MOS: expected a number, got 'much'"):
        Koniq10k(root=str(tmp_path)).load()
    scores.write_text(f"image_name,MOS\n1.jpg,{'9' * 200_000}\n")
    with pytest.raises(ValueError, match=r"distributions\.csv is not a CSV file \(field larger"):
        Koniq10k(root=str(tmp_path)).load()
    scores.write_text("image_name,MOS\n30.jpg,2\n1.jpg,2\n")
    with pytest.raises(ValueError, match=r"1 of 2 rated pictures are in no split, 1\.jpg for example; put the whole"):
        Koniq10k(root=str(tmp_path)).load()
    scores.write_text("image_name,MOS\n1.jpg,2\n2.j")
    with pytest.raises(ValueError, match=r"distributions\.csv ends in the middle of line 3"):
        Koniq10k(root=str(tmp_path)).load()
    scores.write_text("image,MOS\n")
    with pytest.raises(ValueError, match=r"lacks \['image_name'\] and has \['image', 'MOS'\]"):
        Koniq10k(root=str(tmp_path)).load()
    scores.unlink()
    with pytest.raises(MissingData, match=r"lacks koniq10k_scores_and_distributions\.csv or iqa_mos_tables\.parquet"):
        Koniq10k(root=str(tmp_path)).load()


def test_only_chosen_pictures_are_decoded(koniq, tmp_path):
    settings = Koniq10k(root=str(tmp_path), whole=True)
    chosen = settings.model_copy(update={"count": 2}).load().ids
    assert len(chosen) == 2
    for path in (koniq / "512x384").iterdir():
        if f"koniq10k/{path.stem}" not in chosen:
            path.write_bytes(b"no picture")
    again = settings.model_copy(update={"count": 2}).load()
    assert again.ids == chosen
    assert again.stack().shape == (2, 4, 5, 3)
    whole = settings.load()
    assert len(whole.images[1:3]) == 2
    with pytest.raises(ImageError, match=r"\.jpg"):
        whole.fingerprint()


KADID = [f"I{photo:02}_{kind:02}_{level:02}.png" for photo in (3, 1, 2) for kind in (1, 25) for level in (1, 5)]


def test_kadid_takes_whole_photographs_by_seed(tmp_path):
    write_pictures(tmp_path / "kadid10k" / "images", [*KADID, "I01.png"])
    rows = [{"dist_img": name, "ref_img": f"{name[:3]}.png", "dmos": n / 4, "var": 0.5} for n, name in enumerate(KADID)]
    write_csv(tmp_path / "kadid10k" / "dmos.csv", rows)
    whole = Kadid10k(root=str(tmp_path)).load()
    assert whole.ids == tuple(sorted(f"kadid10k/{name[:-4]}" for name in KADID))
    assert dict(zip(whole.ids, whole.truth, strict=True))["kadid10k/I03_25_05"] == 0.75
    assert whole.higher_is_better
    picked = {seed: Kadid10k(root=str(tmp_path), photographs=1, choice_seed=seed).load() for seed in range(8)}
    assert all(len(images) == 4 and len({name[:12] for name in images.ids}) == 1 for images in picked.values())
    assert len({images.ids for images in picked.values()}) > 1
    assert Kadid10k(root=str(tmp_path), photographs=1).load().fingerprint() == picked[0].fingerprint()
    with pytest.raises(ValueError, match="has 3 photographs, photographs=8 asks for more"):
        Kadid10k(root=str(tmp_path), photographs=8).load()
    (tmp_path / "kadid10k" / "dmos.csv").unlink()
    with pytest.raises(MissingData, match=r"lacks dmos\.csv.*kadid10k\.zip"):
        Kadid10k(root=str(tmp_path)).load()
    write_tables(tmp_path, "KADID-10k", [(f"images/{row['dist_img']}", row["dmos"], None, None) for row in rows])
    assert Kadid10k(root=str(tmp_path)).load().fingerprint() == whole.fingerprint()


@pytest.mark.parametrize("folder", ["AGIQA-3K", "AGIQA-3K/images", "images", "."])
def test_agiqa_reads_quality_and_not_alignment(tmp_path, folder):
    names = ["sd1.5_normal_001.jpg", "AttnGAN_normal_000.jpg"]
    write_pictures(tmp_path / folder, names)
    home = tmp_path / ("AGIQA-3K" if folder.startswith("AGIQA") else ".")
    rated = {"prompt": "a cat, \u00e9", "mos_align": 9}
    rows = [{"name": name, **rated, "mos_quality": n + 0.5} for n, name in enumerate(names)]
    write_csv(home / "data.csv", rows)
    images = Agiqa3k(root=str(tmp_path)).load()
    assert images.ids == ("agiqa3k/AttnGAN_normal_000", "agiqa3k/sd1.5_normal_001")
    assert images.truth.tolist() == [1.5, 0.5]
    (home / "data.csv").unlink()
    with pytest.raises(MissingData, match=r"lacks data\.csv.*github\.com/lcysyzxdxc"):
        Agiqa3k(root=str(tmp_path)).load()
    write_tables(tmp_path, "AGIQA-3K", [(row["name"], row["mos_quality"], None, None) for row in rows])
    assert Agiqa3k(root=str(tmp_path)).load().fingerprint() == images.fingerprint()


def test_nips2017_counts_labels_of_the_official_table_from_zero(tmp_path):
    write_pictures(tmp_path / "images", ["0b.png", "0a.png"])
    numbers = {"0b": 1, "0a": 306}
    rows = [{"ImageId": name, "URL": "", "TrueLabel": numbers[name], "TargetClass": 1000} for name in numbers]
    write_csv(tmp_path / "images.csv", rows)
    labels, targets = (Nips2017(root=str(tmp_path), truth=truth).load() for truth in ("label", "target"))
    assert labels.ids == targets.ids == ("nips2017/0b", "nips2017/0a")
    assert (labels.truth.tolist(), targets.truth.tolist()) == ([0, 305], [999, 999])
    assert labels.truth.dtype == np.int64
    (tmp_path / "images" / "0a.png").unlink()
    with pytest.raises(MissingData, match=r"0a\.png .*kaggle"):
        Nips2017(root=str(tmp_path)).load()


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("LUSTRAL_DATA"), reason="LUSTRAL_DATA is not set")
def test_the_real_mos_tables_agree_with_the_official_files(tmp_path):
    # Rows of data.csv and of koniq10k_distributions_sets.csv, as their authors published them.
    source = Path(os.environ["LUSTRAL_DATA"]) / "iqa_mos_tables.parquet"
    scales = json.loads(parquet.read_schema(source).metadata[b"scales"])
    (tmp_path / source.name).symlink_to(source)
    cells = parquet.read_table(source, columns=["dataset", "image", "koniq_set"]).to_pydict()
    rows = list(zip(cells["dataset"], cells["image"], cells["koniq_set"], strict=True))
    for dataset, folder in (("KonIQ-10k", "512x384"), ("AGIQA-3K", "images")):
        assert scales[dataset].endswith("higher is better")
        (tmp_path / folder).mkdir()
        for _, name, part in (row for row in rows if row[0] == dataset):
            if part in (None, "validation"):
                (tmp_path / folder / Path(name).name).touch()
    koniq = Koniq10k(root=str(tmp_path), split="validation", scale="zscore").load()
    truth = dict(zip(koniq.ids, koniq.truth, strict=True))
    assert len(koniq) == 1000
    assert truth["koniq10k/10043785683"] == pytest.approx(71.2043269231, rel=1e-6)
    assert truth["koniq10k/10344523015"] == pytest.approx(52.5263157895, rel=1e-6)
    mos = Koniq10k(root=str(tmp_path), split="validation").load().truth
    assert 1 <= mos.min() < mos.max() <= 5
    assert np.corrcoef(mos, koniq.truth)[0, 1] > 0.99
    agiqa = Agiqa3k(root=str(tmp_path)).load()
    assert len(agiqa) == 2982
    assert agiqa.truth[0] == pytest.approx(0.965602553, rel=1e-6)
    assert [sum(row[0] == dataset for row in rows) for dataset in ("KonIQ-10k", "KADID-10k")] == [10073, 10125]
