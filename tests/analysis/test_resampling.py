import csv
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from lustral.analysis.commands import analyse
from lustral.analysis.resampling import ALL, Resampling, clusters_of_run, resample, sharing_warning
from lustral.data import parse_data
from lustral.data.sampling import cluster_labels, image_features
from lustral.measures import d_terms, friedman, kruskal_wallis, srocc
from lustral.measures.resampling import stratified_samples
from lustral.report.results import collect
from lustral.report.source import read_source
from lustral.settings import SettingsError
from tests.report.conftest import BLIND, EXACT, FakeStore, add_suite

ATTACKS = [("weak", BLIND, 0.2), ("strong", EXACT, 0.6)]
DEFENCES = [({"name": "identity"}, False, 0.7), ({"name": "random_resize_pad"}, True, 0.9)]
HOW = Resampling(size=6, times=4, clusters=1, seed=2)


@pytest.fixture(scope="module", params=["quality", "classifier"])
def run(request, tmp_path_factory):
    fake = FakeStore()
    add_suite(fake, "suite", request.param, DEFENCES, ATTACKS, count=24)
    return request.param, fake.write(tmp_path_factory.mktemp("run"))


def test_rows_are_what_the_samples_of_the_run_give(run):
    kind, folder = run
    results = [result for result in collect(read_source(folder)) if result.role == "main"]
    clusters = {"suite": clusters_of_run(results[0], HOW)}
    rows = resample(results, clusters, HOW)
    samples = stratified_samples(np.zeros(24, np.int64), 6, 4, 2)
    scores = ["d", "d_defended", "ssim_attacked", "srocc_clean", "srocc_attacked"]
    assert {row.score for row in rows} == set(scores if kind == "quality" else ["broken", "ssim_attacked"])
    result = next(part for part in results if part.traits.is_random and part.label == "strong")
    found = {row.score: row for row in rows if row.attack == "strong" and row.defence == "random_resize_pad"}
    data = result.samples
    if kind == "quality":
        clean, attacked = data.floats("purified_clean"), data.floats("purified_attacked")
        terms = np.mean([d_terms(a, b, (0.0, 100.0)) for a, b in zip(clean.T, attacked.T, strict=True)], axis=0)
        row = found["d_defended"]
        ranks = [srocc(attacked.mean(axis=1)[part], data.floats("truth")[part]) for part in samples]
        assert found["srocc_attacked"].mean == pytest.approx(np.mean(ranks))
        assert np.isnan(found["srocc_attacked"].p)
    else:
        terms = data.flags("broken").mean(axis=1)
        row = found["broken"]
    per_sample = [terms[part].mean() for part in samples]
    assert (row.mean, row.variance) == pytest.approx((np.mean(per_sample), np.var(per_sample, ddof=1)))
    assert row.p == pytest.approx(kruskal_wallis([terms[part] for part in samples]).p)
    assert (row.images, row.shared) == (24, 0)


def test_pooled_rows_compare_the_rows_of_the_suite_over_samples(run):
    kind, folder = run
    results = [result for result in collect(read_source(folder)) if result.role == "main"]
    rows = resample(results, {"suite": clusters_of_run(results[0], HOW)}, HOW)
    score = "d_defended" if kind == "quality" else "broken"
    single = [row for row in rows if row.score == score and row.defence != ALL]
    (pooled,) = [row for row in rows if row.score == score and row.defence == ALL]
    assert len(single) == len(DEFENCES) * len(ATTACKS)
    assert pooled.mean == pytest.approx(np.mean([row.mean for row in single]))
    samples = stratified_samples(np.zeros(24, np.int64), 6, 4, 2)
    column = [result.samples.floats("ssim_attacked").reshape(24, -1).mean(axis=1) for result in results]
    values = np.array([[per_image[part].mean() for part in samples] for per_image in column])  # (rows, samples)
    (pooled,) = [row for row in rows if row.score == "ssim_attacked" and row.defence == ALL]
    assert pooled.p == pytest.approx(kruskal_wallis(list(values.T)).p)
    assert pooled.p_friedman == pytest.approx(friedman(values).p)
    assert all(np.isnan(row.p_friedman) for row in rows if row.defence != ALL)
    two = resample(results, {"suite": clusters_of_run(results[0], HOW)}, Resampling(size=6, times=2, clusters=1))
    assert all(np.isnan(row.p_friedman) for row in two), "Friedman's test needs three samples"
    assert pooled.variance == pytest.approx(values.mean(axis=0).var(ddof=1))


def test_runs_that_are_too_small_or_of_other_images_are_errors(run):
    _, folder = run
    results = collect(read_source(folder))
    whole = {"suite": clusters_of_run(results[0], HOW)}
    with pytest.raises(SettingsError, match=r"suite has 24 images: expected .* got 4 of 50"):
        resample(results, whole, Resampling(size=50, times=4))
    with pytest.raises(SettingsError, match="no longer has image 'suite/000'"):
        resample(results, {"suite": {}}, HOW)


@pytest.mark.parametrize("run", ["classifier"], indirect=True)
def test_clusters_are_those_of_the_images_of_the_data_set(run):
    result = collect(read_source(run[1]))[0]
    clusters = clusters_of_run(result, Resampling(clusters=3, seed=1))
    images = parse_data("scenes:split=test,count=12").load()
    labels = cluster_labels(image_features(images.images), 3, 1)
    assert clusters == dict(zip(images.ids, labels.tolist(), strict=True))


def test_the_command_prints_a_table_and_writes_the_same_csv_twice(run, tmp_path):
    kind, folder = run
    options = ["resampling", str(folder), "--size", "6", "--times", "4", "--clusters", "1", "--seed", "2"]
    texts = []
    for name in ("one.csv", "two.csv"):
        result = CliRunner().invoke(analyse, [*options, "--out", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        assert "4 samples of 6 images over 1 clusters" in result.output
        assert "p_friedman" in result.output
        assert "warning:" not in result.output
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]
    rows = list(csv.DictReader(texts[0].decode().splitlines()))
    assert len(rows) == (4 + 1) * (5 if kind == "quality" else 2)
    assert {(row["size"], row["times"], row["seed"], row["warning"]) for row in rows} == {("6", "4", "2", "")}
    assert CliRunner().invoke(analyse, options).exit_code == 0
    assert (folder / "resampling.csv").read_bytes() == texts[0]


@pytest.mark.parametrize("run", ["quality"], indirect=True)
def test_samples_that_share_many_images_get_a_warning(run, tmp_path):
    options = ["resampling", str(run[1]), "--size", "18", "--times", "3", "--clusters", "1"]
    result = CliRunner().invoke(analyse, [*options, "--out", str(tmp_path / "shared.csv")])
    lines = [line for line in result.output.splitlines() if line.startswith("warning: ")]
    rows = list(csv.DictReader((tmp_path / "shared.csv").read_text().splitlines()))
    assert {float(row["shared"]) > 0.2 for row in rows} == {True}
    assert lines == [f"warning: {rows[0]['warning']}"]
    assert "of their images and are alike for that reason alone" in lines[0]
    assert sharing_warning([]) == ""


def test_resampling_imports_no_torch():
    code = "import sys, lustral.analysis.resampling, lustral.analysis.sample_command; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_correlations_of_a_good_metric_are_positive_where_lower_opinion_scores_are_better(tmp_path):
    fake = FakeStore()
    add_suite(fake, "suite", "quality", DEFENCES, ATTACKS, count=24)
    result = next(part for part in collect(read_source(fake.write(tmp_path))) if part.role == "main")
    means = []
    for data in ("photos", "live_subset"):
        settings = {**result.settings, "data": {"name": data}}
        rows = resample([replace(result, settings=settings)], {"suite": clusters_of_run(result, HOW)}, HOW)
        means.append(next(row.mean for row in rows if row.score == "srocc_clean"))
    assert means[0] == pytest.approx(-means[1])
    assert means[0]
