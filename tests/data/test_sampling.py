import math

import numpy as np
import pytest
import typer
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from lustral.analysis.sample_command import sample_command
from lustral.data import DataSettings, ImageSet, MissingData, parse_data
from lustral.data.sampling import cluster_labels, cluster_sample, colorfulness, image_features, spatial_information
from lustral.data.selected import Clustered, Listed, read_ids, write_ids
from lustral.report.text import data_text

COUNT = 30


class Rated(DataSettings):
    """Thirty made pictures with scores; a missing one on request."""

    name = "rated"
    kind = "quality"
    origin = "this test"
    splits = ("validation", "test")
    unjudged: bool = False

    def read(self):
        random = np.random.default_rng(0)
        images = [random.integers(0, 1 + 8 * row, (6, 7, 3), dtype=np.uint8) for row in range(COUNT)]
        scores = random.uniform(1, 5, COUNT)
        scores[3] = np.nan if self.unjudged else scores[3]
        return ImageSet("rated", tuple(f"rated/{row}" for row in range(COUNT)), images, scores)


@pytest.fixture
def blobs():
    """Three far-apart groups of 20, 10 and 8 points, shuffled, and the group of each."""
    random = np.random.default_rng(1)
    group = random.permutation([0] * 20 + [1] * 10 + [2] * 8)
    centres = np.array([[5.0, 100.0, 3.0], [20.0, 10.0, 1.0], [60.0, 50.0, 5.0]])
    return centres[group] + random.normal(0, [1, 2, 0.1], (38, 3)), group


def test_spatial_information_of_a_step_is_what_one_works_out_by_hand():
    image = np.zeros((5, 6, 3), np.uint8)
    image[:, 3:] = 100  # inside, two of four columns have a gradient of 4 * 100, the others none
    assert spatial_information(image) == pytest.approx(200)
    assert spatial_information(image.transpose(1, 0, 2)) == pytest.approx(200)


def test_spatial_information_agrees_with_the_sobel_filter_of_scipy():
    image = np.random.default_rng(2).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    y = image @ np.array([0.299, 0.587, 0.114])
    size = np.hypot(ndimage.sobel(y, 0), ndimage.sobel(y, 1))[1:-1, 1:-1]
    assert spatial_information(image) == pytest.approx(float(np.sqrt(np.mean((size - size.mean()) ** 2))))
    with pytest.raises(ValueError, match="at least 3 x 3 pixels, got 2 x 9"):
        spatial_information(np.zeros((2, 9, 3), np.uint8))


def test_colourfulness_of_a_red_and_a_blue_pixel_is_what_one_works_out_by_hand():
    image = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    # rg: 255 and 0, yb: 127.5 and -255
    expected = math.hypot(127.5, 191.25) + 0.3 * math.hypot(127.5, -63.75)
    assert colorfulness(image) == pytest.approx(expected)
    assert colorfulness(np.random.default_rng(0).integers(0, 256, (8, 8, 1), dtype=np.uint8).repeat(3, 2)) == 0


def test_k_means_finds_groups_and_numbers_them_by_the_first_feature(blobs):
    features, group = blobs
    for seed in range(3):
        np.testing.assert_array_equal(cluster_labels(features, 3, seed), group)
    np.testing.assert_array_equal(cluster_labels(features * [1, 1e6, 1e-6], 3, 0), group)
    constant = np.column_stack([features, np.ones(38)])
    np.testing.assert_array_equal(cluster_labels(constant, 3, 0), group)
    assert set(cluster_labels(features, 1, 0)) == {0}


def test_every_cluster_gives_the_same_number_and_the_seed_decides_which(blobs):
    features, group = blobs
    rows = cluster_sample(features, 3, 5, seed=7)
    assert rows.tolist() == sorted(rows.tolist())
    assert np.bincount(group[rows]).tolist() == [5, 5, 5]
    np.testing.assert_array_equal(rows, cluster_sample(features, 3, 5, seed=7))
    assert set(cluster_sample(features, 3, 2, seed=7)) < set(rows)
    assert len({tuple(cluster_sample(features, 3, 5, seed)) for seed in range(5)}) == 5


def test_samples_that_cannot_be_are_errors(blobs):
    features, _ = blobs
    with pytest.raises(ValueError, match="each=1 to 8, the size of cluster 2 of 3, got 9"):
        cluster_sample(features, 3, 9, 0)
    with pytest.raises(ValueError, match="expected 1 to 2 clusters, the number of different images, got 3"):
        cluster_labels(np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]]), 3, 0)
    with pytest.raises(ValueError, match="must be finite"):
        cluster_labels(np.array([[1.0], [np.nan]]), 1, 0)


def test_a_clustered_set_is_a_part_of_the_other_and_looks_at_scores_where_there_are_any():
    whole = Rated().load()
    chosen = Clustered(data=Rated(), clusters=3, each=2, choice_seed=4).load()
    rows = cluster_sample(image_features(whole.images, whole.truth), 3, 2, 4)
    assert chosen.fingerprint() == whole.take(rows).fingerprint()
    assert chosen.name == "rated, 2 of each of 3 clusters"
    plain = cluster_sample(image_features(whole.images), 3, 2, 4)
    assert plain.tolist() != rows.tolist()
    with pytest.raises(ValueError, match="finite"):
        Clustered(data=Rated(unjudged=True), clusters=3, each=2).load()
    assert len(Clustered(data=Rated(), clusters=3, each=2, count=4).load()) == 4
    assert Clustered(data=Rated(split="validation"), clusters=3).split == "validation"


def write_pictures(folder):
    random = np.random.default_rng(3)
    for name in "abcdefghij":
        Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8)).save(folder / f"{name}.png")


def test_sample_stores_ids_that_listed_reads_back(tmp_path, monkeypatch):
    write_pictures(tmp_path)
    data, out, app = f"folder:path={tmp_path}", tmp_path / "lists" / "ids.txt", typer.Typer()
    app.command()(sample_command)
    monkeypatch.setattr("lustral.analysis.sample_command.EVERY", 4)
    result = CliRunner().invoke(app, [data, "--clusters", "3", "--each", "1", "--seed", "2", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert '{"done": 4, "total": 10, "what": "images"}' in result.output
    assert "3 of 10 images of folder" in result.output
    listed = parse_data(f"{data} | listed:path={out}")
    clustered = parse_data(f"{data} | clustered:clusters=3,each=1,choice_seed=2").load()
    assert listed.load().fingerprint() == clustered.fingerprint()
    assert clustered.fingerprint() in out.read_text()
    assert listed.kind == "plain"
    assert data_text(listed.to_json()) == f"{data} | listed:path={out}"
    assert parse_data(listed.to_json()) == listed


def test_lists_are_read_in_the_order_of_the_set_and_mistakes_are_named(tmp_path):
    path = tmp_path / "ids.txt"
    write_ids(path, ["rated/5", "rated/2"], ["a note"])
    assert path.read_text() == "# a note\nrated/5\nrated/2\n"
    assert Listed(data=Rated(), path=str(path)).load().ids == ("rated/2", "rated/5")
    path.write_text("rated/1\n\nrated/99\n")
    with pytest.raises(ValueError, match=r"lists 1 of 2 ids that rated does not have, 'rated/99' for example"):
        Listed(data=Rated(), path=str(path)).load()
    path.write_text("rated/1\nrated/1\n")
    with pytest.raises(ValueError, match="it has 2, 1 different"):
        read_ids(path)
    with pytest.raises(MissingData, match="lustral sample"):
        read_ids(tmp_path / "nothing")
