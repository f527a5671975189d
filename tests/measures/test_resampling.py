import numpy as np
import pytest

from lustral.measures import kruskal_wallis
from lustral.measures.resampling import shared_fraction, stratified_samples

CLUSTERS = np.repeat([4, 0, 2], [20, 15, 5])


def test_samples_are_even_over_clusters_and_disjoint_while_images_last():
    samples = stratified_samples(CLUSTERS, size=6, times=2, seed=0)
    assert all(np.bincount(CLUSTERS[rows]).tolist() == [2, 0, 2, 0, 2] for rows in samples)
    assert len(set(samples.ravel())) == 12
    assert shared_fraction(samples) == 0
    again = stratified_samples(CLUSTERS, 6, 2, 0)
    np.testing.assert_array_equal(samples, again)
    assert (stratified_samples(CLUSTERS, 6, 2, 1) != samples).any()


def test_every_image_comes_equally_often_and_never_twice_in_one_sample():
    samples = stratified_samples(np.zeros(10, np.int64), size=7, times=20, seed=3)
    assert all(len(set(rows)) == 7 for rows in samples.tolist())
    counts = np.bincount(samples.ravel(), minlength=10)
    assert counts.sum() == 140
    assert np.ptp(counts) <= 2


def test_a_small_cluster_gives_what_it_has():
    samples = stratified_samples(CLUSTERS, size=27, times=3, seed=0)
    assert all(np.bincount(CLUSTERS[rows]).tolist() == [11, 0, 5, 0, 11] for rows in samples)
    assert len(set(stratified_samples(CLUSTERS, 40, 1, 0)[0])) == 40
    assert shared_fraction(stratified_samples(CLUSTERS, 40, 2, 0)) == 1
    with pytest.raises(ValueError, match="samples of 1 to 40 images, got 2 samples of 41"):
        stratified_samples(CLUSTERS, 41, 2, 0)


def test_disjoint_samples_without_clusters_give_uniform_p_values():
    random, one = np.random.default_rng(1), np.zeros(120, np.int64)
    samples = [stratified_samples(one, 12, 10, seed) for seed in range(120)]
    p = [kruskal_wallis(list(random.normal(size=120)[rows])).p for rows in samples]
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.15)
    assert np.mean(np.array(p) < 0.05) < 0.13
