"""A contract that cannot fail is worth nothing: purifiers that break one promise each must be caught."""

from __future__ import annotations

import random
from typing import ClassVar

import numpy as np
import pytest
import torch

from lustral.purifiers.base import PurifierSettings
from lustral.seeds import Noise
from tests.contracts.purifiers import PurifierContract


class Honest(PurifierSettings):
    """Nothing.

    Source: none.
    """

    name: ClassVar[str] = "honest"
    source: ClassVar[str] = "test"
    gradient: ClassVar = "exact"
    strength: float = 1.0

    def purify(self, x: torch.Tensor, noise: Noise) -> torch.Tensor:
        return x * 0.5


class ChangesInput(Honest):
    def purify(self, x, noise):
        return x.mul_(0.5)


class ShrinksOddSizes(Honest):
    def purify(self, x, noise):
        return x[:, :, : x.shape[2] // 2 * 2]


class UsesBatchStatistics(Honest):
    def purify(self, x, noise):
        return x - x.mean() + 0.5


class UsesTorchRandomness(Honest):
    def purify(self, x, noise):
        return x * 0.5 + 0 * torch.rand(1)


class UsesNumpyRandomness(Honest):
    def purify(self, x, noise):
        return x * 0.5 + 0 * np.random.rand()  # noqa: NPY002 the mistake under test


class UsesPythonRandomness(Honest):
    def purify(self, x, noise):
        return x * 0.5 + 0 * random.random()


class HidesItsRandomness(Honest):
    def purify(self, x, noise):
        return x * 0.5 + 0.1 * noise.uniform(x)


class OnlyClaimsRandomness(Honest):
    is_random: ClassVar[bool] = True


class ClaimsTheSurrogateIsExact(Honest):
    def purify(self, x, noise):
        return x * 0.5 + (x**2 * 0.5).detach()


class ShattersItsGradient(Honest):
    gradient: ClassVar = "bpda"

    def purify(self, x, noise):
        return (x * 7).round() / 7


class HidesItsGradient(Honest):
    gradient: ClassVar = "none"


class GivesNotANumber(Honest):
    def purify(self, x, noise):
        return x / x.amax(dim=(1, 2, 3), keepdim=True)


class SharesNoiseInTheBatch(Honest):
    is_random: ClassVar[bool] = True

    def purify(self, x, noise):
        return x * noise.uniform(x)[:1]


BROKEN = {
    ChangesInput: ["test_input_is_untouched"],
    ShrinksOddSizes: ["test_shape_dtype_and_range_are_kept"],
    UsesBatchStatistics: ["test_an_image_does_not_depend_on_its_batch", "test_every_image_gets_its_own_gradient"],
    UsesTorchRandomness: ["test_global_random_numbers_are_untouched"],
    UsesNumpyRandomness: ["test_global_random_numbers_are_untouched"],
    UsesPythonRandomness: ["test_global_random_numbers_are_untouched"],
    HidesItsRandomness: ["test_randomness_is_as_declared"],
    OnlyClaimsRandomness: ["test_randomness_is_as_declared"],
    ClaimsTheSurrogateIsExact: ["test_gradient_is_as_declared"],
    ShattersItsGradient: ["test_gradient_is_as_declared"],
    HidesItsGradient: ["test_gradient_is_as_declared"],
    SharesNoiseInTheBatch: ["test_an_image_does_not_depend_on_its_batch"],
}
CHECKS = [
    "test_shape_dtype_and_range_are_kept",
    "test_input_is_untouched",
    "test_an_image_does_not_depend_on_its_batch",
    "test_permuted_batches_give_permuted_results",
    "test_noise_replays",
    "test_randomness_is_as_declared",
    "test_gradient_is_as_declared",
    "test_every_image_gets_its_own_gradient",
]


def failures(settings: PurifierSettings) -> set[str]:
    failed = set()
    for check in CHECKS:
        try:
            getattr(PurifierContract(), check)(settings)
        except Exception:  # a broken purifier may also crash a check
            failed.add(check)
    with pytest.MonkeyPatch.context() as patch:
        try:
            PurifierContract().test_global_random_numbers_are_untouched(settings, patch)
        except Exception:
            failed.add("test_global_random_numbers_are_untouched")
    return failed


def test_an_honest_purifier_passes_every_check() -> None:
    assert failures(Honest()) == set()


@pytest.mark.parametrize("cls", BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_promise_is_caught(cls: type[PurifierSettings]) -> None:
    assert failures(cls()) >= set(BROKEN[cls])


def test_black_images_that_become_nan_are_caught() -> None:
    with pytest.raises(AssertionError):
        PurifierContract().test_black_and_white_images_give_finite_results(GivesNotANumber(), 0.0)
