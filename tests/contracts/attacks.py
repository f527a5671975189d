"""What every attack must do. Run it over your own with two lines in a test file:

class TestMine(AttackContract):
    cases = (Mine(), Mine(steps=3))
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from lustral.attacks import Access, AttackSettings
from lustral.attacks.goals import Misclassify, MoveScore
from lustral.attacks.oracle import Forbidden, Oracle
from lustral.diffusion.schedules import vp_linear
from lustral.seeds import Noise
from lustral.settings import Settings, SettingsError, canonical
from lustral.steps import show
from lustral.tensors import quantise


def images(n: int, height: int = 8, width: int = 8) -> Tensor:
    """8-bit images over the whole range, in double precision."""
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(0, 256, (n, 3, height, width), generator=generator).double() / 255


def noise_for(n: int, purpose: str = "contract") -> Noise:
    return Noise(0, purpose, [f"image-{row}" for row in range(n)])


def label(settings: Settings) -> str:
    return canonical(settings.to_json()).replace('"', "")[1:-1]


class Target:
    """A smooth classifier of five classes, or the score that is its first logit; any image size."""

    def __init__(self, kind: str) -> None:
        generator = torch.Generator().manual_seed(1)
        self.kind = kind
        self.filters = torch.randn(12, 3, 3, 3, generator=generator, dtype=torch.float64) / 3
        self.head = torch.randn(12, 5, generator=generator, dtype=torch.float64)

    def __call__(self, x: Tensor) -> Tensor:
        features = torch.nn.functional.conv2d(x, self.filters.to(x), padding=1).tanh().mean((2, 3))
        outputs = features @ self.head.to(x)
        return outputs if self.kind == "classifier" else outputs[:, 0]


def purify(x: Tensor, noise: Noise) -> Tensor:
    """A random defence with exact gradient that shows a state, as samplers do."""
    e, schedule = noise.normal(x), vp_linear()
    show("diffused", x=2 * x - 1, e=e, schedule=schedule, t=1)
    y = (x + 0.02 * e).clamp(0, 1)
    show("state", x=2 * y - 1, schedule=schedule, t=0)
    return y


class AttackContract:
    """Subclass with ``cases``; a test then runs once for each of them and each kind of target it declares.

    Attributes:
        cases: settings to test; keep them small.
        tolerance: float error allowed between a result alone and in a batch.
    """

    cases: ClassVar[Sequence[AttackSettings]]
    tolerance: ClassVar[float] = 1e-9

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "kind" in metafunc.fixturenames:
            pairs = [(settings, kind) for settings in self.cases for kind in settings.kinds]
            metafunc.parametrize(
                ("settings", "kind"), pairs, ids=[f"{label(settings)}-{kind}" for settings, kind in pairs]
            )
        elif "settings" in metafunc.fixturenames:
            metafunc.parametrize("settings", self.cases, ids=label)

    def oracle(self, settings: AttackSettings, kind: str, x: Tensor, keys: Noise, **access: object) -> Oracle:
        target = Target(kind)
        with torch.no_grad():
            clean = target(x)
        goal = Misclassify(clean.argmax(1)) if kind == "classifier" else MoveScore(clean, -3.0, 3.0, success=0.02)
        return Oracle(target, goal, x, keys, Access.make(**access), purifier=purify, ball=settings.ball())

    def attack(self, settings: AttackSettings, kind: str, x: Tensor, keys: Noise | None = None) -> Tensor:
        keys = noise_for(len(x)) if keys is None else keys
        oracle = self.oracle(settings, kind, x, keys.fork("oracle"), eot=2)
        return settings.run(oracle, x, keys.fork("start"))

    @pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7), (1, 2)])
    def test_result_lies_in_the_ball_and_is_a_new_image(
        self, settings: AttackSettings, kind: str, height: int, width: int
    ) -> None:
        x = images(3, height, width)
        before = x.clone()
        result = self.attack(settings, kind, x)
        assert torch.equal(x, before), "the input was changed"
        assert result.shape == x.shape
        assert result.dtype == x.dtype
        assert not result.requires_grad
        assert result.data_ptr() != x.data_ptr()
        assert settings.ball().contains(result, x).all()

    def test_the_chosen_8_bit_image_lies_in_the_ball(self, settings: AttackSettings, kind: str) -> None:
        x = images(3)
        oracle = self.oracle(settings, kind, x, noise_for(3))
        chosen = oracle.select(settings.run(oracle, x, noise_for(3, "start")), noise_for(3, "score"), draws=3)
        assert torch.equal(chosen.x, quantise(chosen.x))
        assert settings.ball().contains(chosen.x, x).all()

    def test_it_raises_the_objective(self, settings: AttackSettings, kind: str) -> None:
        x = images(4)
        oracle = self.oracle(settings, kind, x, noise_for(4), knowledge="blind")
        everyone = torch.arange(4)
        before = oracle.goal.margin(oracle.target(x), everyone)
        settings.run(oracle, x, noise_for(4, "start"))
        assert oracle.goal.margin(oracle.target(oracle.best), everyone).mean() > before.mean()

    def test_single_precision_stays_single(self, settings: AttackSettings, kind: str) -> None:
        assert self.attack(settings, kind, images(2).float()).dtype == torch.float32

    def test_noise_replays_and_global_generators_are_left_alone(
        self, settings: AttackSettings, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def forbidden(*_: object, **__: object) -> None:
            raise AssertionError("the global random module was used")

        for function in ("random", "uniform", "randrange", "choice", "shuffle", "gauss"):
            monkeypatch.setattr(random, function, forbidden)
        torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        first = self.attack(settings, kind, images(3))
        assert torch.equal(first, self.attack(settings, kind, images(3)))
        assert torch.equal(torch.get_rng_state(), torch_before)
        assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002

    def test_an_image_does_not_depend_on_its_batch(self, settings: AttackSettings, kind: str) -> None:
        x, keys = images(4), noise_for(4)
        together = self.attack(settings, kind, x, keys)
        for row in (0, 3):
            alone = self.attack(settings, kind, x[row : row + 1], keys.select([row]))
            torch.testing.assert_close(alone[0], together[row], rtol=0, atol=self.tolerance)

    def test_needs_are_as_declared(self, settings: AttackSettings, kind: str) -> None:
        oracle = self.oracle(settings, kind, images(2), noise_for(2), knowledge="scores")
        if settings.needs == "gradients":
            with pytest.raises(Forbidden):
                settings.run(oracle, images(2), noise_for(2))
        else:
            settings.run(oracle, images(2), noise_for(2))
            assert bool(oracle.queries.any()) is (settings.needs == "scores")

    def test_settings_round_trip_through_json(self, settings: AttackSettings) -> None:
        fields = settings.to_json()
        assert fields.pop("name") == settings.name
        again = type(settings).make(**fields)
        assert again == settings
        assert hash(again) == hash(settings)
        with pytest.raises(SettingsError, match="unknown setting 'no_such_key'"):
            type(settings).make(no_such_key=1)

    def test_it_is_described(self, settings: AttackSettings) -> None:
        assert list(inspect.signature(settings.run).parameters) == ["oracle", "x", "noise"]
        description = inspect.getdoc(type(settings)) or ""
        assert "Source:" in description
        assert "Cost:" in description
        assert settings.source
        assert settings.name.isidentifier()
        assert settings.needs in ("nothing", "scores", "gradients")
        assert set(settings.kinds) <= {"classifier", "quality"}
