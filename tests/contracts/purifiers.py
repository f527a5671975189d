"""What every purifier must do. Run it over your own with three lines in a test file:

class TestMine(PurifierContract):
    cases = (Mine(), Mine(strength=3))
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
import torch

from lustral.purifiers.base import PurifierSettings
from lustral.purifiers.module import Purifier
from lustral.seeds import Noise
from lustral.settings import Settings, SettingsError, canonical

SIZES = ((4, 9, 7), (2, 32, 32), (3, 8, 8), (1, 8, 8))


def images(n: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Images with coarse and fine structure, different from each other, clear of 0 and 1."""
    generator = torch.Generator().manual_seed(height * width)
    coarse = torch.rand(n, 3, 3, 3, generator=generator, dtype=dtype)
    fine = torch.rand(n, 3, height, width, generator=generator, dtype=dtype)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)
    return 0.2 + 0.4 * smooth + 0.2 * fine


def smooth_classifier(x: torch.Tensor) -> torch.Tensor:
    """Logits (n, 5) of images of any size, smooth in every pixel: what purifiers that need a target protect."""
    generator = torch.Generator().manual_seed(0)
    kernels = torch.randn(5, 3, 3, 3, generator=generator).to(x)
    return 20 * torch.nn.functional.conv2d(x, kernels, padding=1).tanh().mean((2, 3))


def noise_for(n: int, seed: int = 0) -> Noise:
    return Noise(seed, "contract", [f"image-{row}" for row in range(n)])


def label(settings: Settings) -> str:
    return canonical(settings.to_json()).replace('"', "")[1:-1]


class PurifierContract:
    """Subclass with ``cases``; a test then runs once for each of them.

    Attributes:
        cases: settings to test.
        step: step of the central differences. Raise it for networks in which rounding errors are large, lower
            it where a kink of the purifier is met.
        tolerance: float error allowed between a result alone and in a batch.
    """

    cases: ClassVar[Sequence[PurifierSettings]]
    step: ClassVar[float] = 1e-6
    tolerance: ClassVar[float] = 1e-5

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "settings" in metafunc.fixturenames:
            metafunc.parametrize("settings", self.cases, ids=label)

    def build(self, settings: PurifierSettings) -> Purifier:
        """Override to protect something else."""
        return settings.build(target=smooth_classifier if settings.needs_target else None)

    def test_shape_dtype_and_range_are_kept(self, settings: PurifierSettings) -> None:
        purifier = self.build(settings)
        for size in SIZES:
            for dtype in (torch.float32, torch.float64):
                x = images(*size, dtype=dtype)
                y = purifier(x, noise_for(len(x)))
                assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
                assert y.isfinite().all()
                assert y.min() >= 0
                assert y.max() <= 1

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_black_and_white_images_give_finite_results(self, settings: PurifierSettings, value: float) -> None:
        y = self.build(settings)(torch.full((2, 3, 9, 7), value), noise_for(2))
        assert y.isfinite().all()
        assert y.min() >= 0
        assert y.max() <= 1

    def test_input_is_untouched(self, settings: PurifierSettings) -> None:
        x = images(2, 9, 7)
        before = x.clone()
        self.build(settings)(x, noise_for(2)).zero_()  # neither changed nor returned as an alias
        assert torch.equal(x, before)

    def test_global_random_numbers_are_untouched(
        self, settings: PurifierSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def states() -> list[object]:
            kind, keys, *rest = np.random.get_state()  # noqa: NPY002 the legacy state is what must not move
            return [torch.get_rng_state().tolist(), kind, np.asarray(keys).tolist(), *rest]

        def forbidden(*_: object, **__: object) -> None:
            raise AssertionError("the global random module was used")

        # Its state cannot be compared: the runtime type checker of the test run draws from it, with getrandbits.
        for function in (
            "random",
            "uniform",
            "randint",
            "randrange",
            "choice",
            "shuffle",
            "sample",
            "gauss",
        ):
            monkeypatch.setattr(random, function, forbidden)
        before = states()
        self.build(settings)(images(2, 9, 7), noise_for(2))
        assert states() == before

    def test_an_image_does_not_depend_on_its_batch(self, settings: PurifierSettings) -> None:
        purifier, x, noise = self.build(settings), images(4, 9, 7), noise_for(4)
        together = purifier(x, noise.replay())
        for row in range(4):
            alone = purifier(x[row : row + 1], noise.select([row]).replay())
            torch.testing.assert_close(alone[0], together[row], rtol=0, atol=self.tolerance)

    def test_permuted_batches_give_permuted_results(self, settings: PurifierSettings) -> None:
        purifier, x, noise = self.build(settings), images(4, 9, 7), noise_for(4)
        order = torch.tensor([2, 0, 3, 1])
        permuted = purifier(x[order], noise.select(order).replay())
        torch.testing.assert_close(permuted, purifier(x, noise.replay())[order], rtol=0, atol=self.tolerance)

    def test_noise_replays(self, settings: PurifierSettings) -> None:
        purifier, x, noise = self.build(settings), images(4, 9, 7), noise_for(4)
        assert torch.equal(purifier(x, noise.replay()), purifier(x, noise.replay()))

    def test_randomness_is_as_declared(self, settings: PurifierSettings) -> None:
        purifier, x, noise = self.build(settings), images(8, 12, 12), noise_for(8)
        first = purifier(x, noise.replay())
        assert torch.equal(first, purifier(x, noise_for(8, seed=1))) is not settings.is_random
        purifier(x, noise)
        assert torch.equal(first, purifier(x, noise)) is not settings.is_random, "a second call must be a new draw"

    def test_gradient_is_as_declared(self, settings: PurifierSettings) -> None:
        purifier, noise = self.build(settings), noise_for(2)
        generator = torch.Generator().manual_seed(3)
        x = images(2, 9, 7, torch.float64).requires_grad_()
        weights = torch.randn(x.shape, generator=generator, dtype=x.dtype)

        def value(at: torch.Tensor) -> torch.Tensor:
            return (weights * purifier(at, noise.replay())).sum()

        y = value(x)
        gradient = torch.autograd.grad(y, x)[0] if y.requires_grad else torch.zeros_like(x)
        assert gradient.isfinite().all()
        assert bool(gradient.any()) is (settings.gradient != "none")
        if settings.gradient != "exact":
            return
        for _ in range(4):
            direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            expected = (gradient * direction).sum()
            slopes: list[torch.Tensor] = []
            for step in (self.step, self.step / 10, self.step / 100):  # a shorter one where a kink or a bend is met
                with torch.no_grad():
                    slope = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
                slopes.append(slope)
                if abs(slope - expected) <= 1e-5 * max(abs(slope), abs(expected)):
                    break
            else:
                raise AssertionError(f"slopes {[float(slope) for slope in slopes]}, gradient {float(expected)}")

    def test_every_image_gets_its_own_gradient(self, settings: PurifierSettings) -> None:
        x = images(3, 9, 7).requires_grad_()
        y = self.build(settings)(x, noise_for(3))
        if settings.gradient != "none":
            others = torch.autograd.grad(y[1].sum(), x)[0][[0, 2]]
            assert not others.any()

    def test_settings_round_trip_through_json(self, settings: PurifierSettings) -> None:
        fields = settings.to_json()
        assert fields.pop("name") == settings.name
        again = type(settings).make(**fields)
        assert again == settings
        assert hash(again) == hash(settings)
        assert canonical(again.to_json()) == canonical(settings.to_json())

    def test_settings_are_frozen(self, settings: PurifierSettings) -> None:
        for field in type(settings).model_fields:
            with pytest.raises(ValueError, match="frozen"):
                setattr(settings, field, getattr(settings, field))

    def test_unknown_settings_are_errors_that_list_the_known_ones(self, settings: PurifierSettings) -> None:
        with pytest.raises(SettingsError, match="unknown setting 'no_such_key'") as error:
            type(settings).make(no_such_key=1)
        assert all(field in str(error.value) for field in type(settings).model_fields)

    def test_bad_values_are_errors_that_name_the_setting(self, settings: PurifierSettings) -> None:
        for field in type(settings).model_fields:
            with pytest.raises(SettingsError, match=f"{settings.name}.{field}"):
                type(settings).make(**{**settings.model_dump(), field: object()})

    def test_it_says_where_it_comes_from(self, settings: PurifierSettings) -> None:
        assert settings.source
        assert "Source:" in (inspect.getdoc(type(settings)) or "")
        assert settings.name.isidentifier()
        assert settings.name == settings.name.lower()
