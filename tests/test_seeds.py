"""Noise is named by coordinates: the same names give the same numbers, other names give others."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from lustral.seeds import Noise, seed_of

IDS = ["a", "b", "c"]


def noise(images=IDS, seed=0, purpose="test", **fields):
    return Noise(seed, purpose, images, **fields)


def test_seeds_are_stable_across_processes_and_hash_seeds():
    code = "from lustral.seeds import seed_of; print(seed_of('run', 0, 'image', 7))"
    found = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": h}, capture_output=True, check=True).stdout
        for h in ("0", "1", "random")
    }
    assert found == {f"{seed_of('run', 0, 'image', 7)}\n".encode()}


def test_forty_thousand_seeds_do_not_collide():
    seeds = {seed_of(run, purpose, image) for run in range(4) for purpose in "abc" for image in range(3400)}
    assert len(seeds) == 40800
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_coordinates_cannot_be_confused_by_joining():
    assert seed_of("ab", "c") != seed_of("a", "bc")


def test_an_image_gets_the_same_numbers_alone_and_in_any_batch():
    together = noise().normal(torch.empty(3, 3, 4, 4))
    for row, name in enumerate(IDS):
        assert torch.equal(noise([name]).normal(torch.empty(1, 3, 4, 4))[0], together[row])
    assert torch.equal(noise(IDS[::-1]).normal(torch.empty(3, 3, 4, 4)), together.flip(0))


def test_replay_repeats_every_kind_of_number():
    source = noise()

    def sample(n: Noise) -> list[torch.Tensor]:
        like = torch.empty(3, 2)
        return [n.normal(like), n.uniform(like), n.signs(like), n.integers(0, 9, 5), n.numbers(2), n.permutation(7)]

    first = sample(source)
    assert source.step == 6
    for before, again in zip(first, sample(source.replay()), strict=True):
        assert torch.equal(before, again)
    assert torch.equal(source.replay(step=4).numbers(2), first[4])


def test_steps_seeds_purposes_images_and_draws_all_matter():
    like = torch.empty(1, 3, 4, 4)
    base = noise(["a"])
    others = [
        base.normal(like),
        base.normal(like),
        noise(["a"], seed=1).normal(like),
        noise(["a"], purpose="other").normal(like),
        noise(["b"]).normal(like),
        noise(["a"]).draws(0, 1).normal(like),
        noise(["a"]).draws(1, 1).normal(like),
        noise(["a"]).fork("part").normal(like),
    ]
    assert len({tensor.numpy().tobytes() for tensor in others}) == len(others)


def test_forks_of_different_moments_differ_and_do_not_advance_their_parent():
    parent = noise(["a"])
    first = parent.fork("part").numbers()
    assert parent.step == 0
    parent.numbers()
    assert not torch.equal(parent.fork("part").numbers(), first)


def test_draws_lie_side_by_side_as_repeat_interleave_puts_them():
    like = torch.empty(6, 2)
    block = noise().draws(3, 2).uniform(like)
    for draw in (3, 4):
        alone = noise().draws(draw, 1).uniform(torch.empty(3, 2))
        assert torch.equal(block[draw - 3 :: 2], alone)


@pytest.mark.parametrize("rows", [[0, 2], torch.tensor([0, 2]), torch.tensor([True, False, True])])
def test_select_keeps_the_streams_of_the_rows(rows):
    whole = noise().normal(torch.empty(3, 5))
    assert torch.equal(noise().select(rows).normal(torch.empty(2, 5)), whole[[0, 2]])


def test_numbers_are_the_same_in_every_precision():
    single, double = noise().normal(torch.empty(3, 4)), noise().normal(torch.empty(3, 4, dtype=torch.float64))
    assert double.dtype == torch.float64
    assert torch.equal(single.double(), double)


def test_distributions_are_what_they_are_called():
    big = torch.empty(1, 200_000)
    normal, uniform, signs = noise(["a"]).normal(big), noise(["b"]).uniform(big), noise(["c"]).signs(big)
    assert abs(float(normal.mean())) < 0.01
    assert abs(float(normal.std()) - 1) < 0.01
    assert 0 <= float(uniform.min()) <= float(uniform.max()) < 1
    assert abs(float(uniform.mean()) - 0.5) < 0.01
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 0.01
    integers = noise(["d"]).integers(2, 5, 3000)
    assert set(integers.unique().tolist()) == {2, 3, 4}
    assert noise(["e"]).permutation(9)[0].sort().values.tolist() == list(range(9))


def test_global_generators_are_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002 the global one is watched
    noise().normal(torch.empty(3, 2))
    noise().permutation(4)
    Noise.fresh(3).normal(torch.empty(3, 2))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


def test_deployment_noise_is_unpredictable():
    assert not torch.equal(Noise.fresh(2).numbers(4), Noise.fresh(2).numbers(4))


def test_a_batch_of_the_wrong_size_is_refused():
    with pytest.raises(ValueError, match="noise was made for 3 images, got a batch of 2"):
        noise().normal(torch.empty(2, 3))
    with pytest.raises(ValueError, match="high must exceed low"):
        noise().integers(3, 3)
