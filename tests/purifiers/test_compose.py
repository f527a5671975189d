"""Compositions: what they compute, what they declare and how they are written."""

import pytest
import torch

from lustral.purifiers import (
    JPEG,
    BitDepth,
    Chain,
    Flip,
    GaussianBlur,
    Identity,
    PurifierSettings,
    RandomChoice,
    RandomNoise,
    Repeat,
    parse_purifier,
)
from lustral.purifiers.module import Purifier
from lustral.seeds import Noise
from lustral.settings import SettingsError

X = torch.rand(64, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2


def noise_for(n: int = 64) -> Noise:
    return Noise(0, "test", [str(row) for row in range(n)])


class Blind(PurifierSettings):
    """A part without gradient that needs its target and costs two passes.

    Source: none.
    """

    name = "blind"
    source = "test"
    gradient = "none"
    needs_target = True
    passes = 2

    def build(self, device="cpu", target=None):
        return Purifier(self, lambda x, noise: (x.detach() + target(x)).clamp(0, 1))


def test_a_chain_applies_its_parts_in_order() -> None:
    y = Chain(parts=(GaussianBlur(), BitDepth(bits=1))).build()(X, noise_for())
    blurred = GaussianBlur().build()(X, noise_for())
    assert torch.equal(y, BitDepth(bits=1).build()(blurred, noise_for()))
    assert set(y.unique().tolist()) == {0.0, 1.0}


def test_random_parts_of_a_chain_draw_different_numbers() -> None:
    twice = Chain(parts=(RandomNoise(sigma=0.01), RandomNoise(sigma=0.01))).build()(X, noise_for()) - X
    assert float(twice.std()) == pytest.approx(0.01 * 2**0.5, rel=0.05)  # 0.02 if the numbers were the same


def test_repetitions_draw_different_numbers() -> None:
    added = Repeat(part=RandomNoise(sigma=0.01), times=4).build()(X, noise_for()) - X
    assert float(added.std()) == pytest.approx(0.02, rel=0.05)


def test_a_repeat_equals_a_chain_of_the_same_part() -> None:
    part = RandomNoise(sigma=0.01)
    repeated = Repeat(part=part, times=3).build()(X, noise_for())
    assert torch.equal(repeated, Chain(parts=(part,) * 3).build()(X, noise_for()))


def test_random_choice_draws_per_image_in_proportion_to_the_weights() -> None:
    x = X.repeat(10, 1, 1, 1)
    y = RandomChoice(parts=(Identity(), Flip(), BitDepth(bits=1)), weights=(1, 2, 1)).build()(x, noise_for(640))
    flipped = sum(torch.equal(after, before.flip(1, 2)) for before, after in zip(x, y, strict=True))
    kept = sum(torch.equal(after, before) for before, after in zip(x, y, strict=True))
    quantised = sum(torch.equal(after, before.round()) for before, after in zip(x, y, strict=True))
    assert flipped + kept + quantised == 640
    assert flipped == pytest.approx(320, abs=50)  # four standard deviations
    assert kept == pytest.approx(160, abs=44)


def test_a_part_of_weight_zero_is_never_drawn() -> None:
    choice = RandomChoice(parts=(Flip(), Blind(), Flip()), weights=(1, 0, 1))
    assert (choice.gradient, choice.is_random, choice.passes) == ("exact", False, 0)
    y = choice.build(target=lambda x: x * 0)(X, noise_for())
    assert torch.equal(y, X.flip(2, 3))


def test_declarations_are_those_of_the_weakest_part() -> None:
    assert Chain(parts=(Flip(), GaussianBlur())).gradient == "exact"
    assert Chain(parts=(Flip(), JPEG())).gradient == "bpda"
    assert Chain(parts=(Flip(), Chain(parts=(JPEG(), Blind())))).gradient == "none"
    assert Repeat(part=JPEG(), times=2).gradient == "bpda"
    assert Chain(parts=(Flip(), RandomNoise())).is_random
    assert not Chain(parts=(Flip(), JPEG())).is_random
    assert Repeat(part=RandomNoise(), times=2).is_random
    assert RandomChoice(parts=(Flip(), Identity())).is_random
    assert not RandomChoice(parts=(Flip(), Flip())).is_random


def test_passes_add_up() -> None:
    assert Chain(parts=(Blind(), Flip(), Blind())).passes == 4
    assert Repeat(part=Chain(parts=(Blind(), Flip())), times=5).passes == 10
    assert RandomChoice(parts=(Blind(), Flip())).passes == 2


def test_the_target_is_passed_down_to_the_part_that_needs_it() -> None:
    settings = Repeat(part=Chain(parts=(Flip(), RandomChoice(parts=(Blind(),)))), times=2)
    assert settings.needs_target
    assert not Chain(parts=(Flip(),)).needs_target
    y = settings.build(target=lambda x: torch.full_like(x, 0.05))(X, noise_for())
    torch.testing.assert_close(y, X + 0.1)


def test_compositions_are_read_from_json_and_text() -> None:
    settings = Chain(parts=(JPEG(quality=75), Repeat(part=RandomNoise(sigma=0.1), times=2)))
    assert parse_purifier(settings.to_json()) == settings
    assert parse_purifier("jpeg:quality=75 | repeat:part=random_noise,times=2").gradient == "bpda"
    assert parse_purifier(" jpeg:quality=75|flip ") == Chain(parts=(JPEG(quality=75), Flip()))
    assert parse_purifier("jpeg:quality=75") == JPEG(quality=75)
    assert parse_purifier(settings) is settings
    assert parse_purifier({"name": "chain", "parts": ["flip", {"name": "jpeg"}]}) == Chain(parts=(Flip(), JPEG()))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("jpg", r"unknown purifier 'jpg' \(did you mean 'jpeg'\?\); known purifiers: adp, anti_adversary"),
        ("qqqq", "unknown purifier 'qqqq'; known purifiers"),
        ("flip |", "unknown purifier ''"),
        ("jpeg:q=3", "unknown setting 'q' of jpeg; known settings: backward, quality, subsampling"),
        ("jpeg:quality", "expected key=value"),
        ("gaussian_blur:kernel=4", "take an odd number such as 5"),
        ({"quality": 3}, "expected one purifier as"),
        (3, "expected one purifier as"),
        ({"name": "chain", "parts": []}, "at least 1 item"),
        ({"name": "chain"}, "chain.parts: Field required"),
        ({"name": "chain", "parts": [{"name": "flop"}]}, "chain.parts.0: .*did you mean 'flip'"),
        ({"name": "random_choice", "parts": ["flip"], "weights": [1, 2]}, "one weight per part, 1 in all"),
        ({"name": "random_choice", "parts": ["flip"], "weights": [0]}, "at least one weight"),
        ({"name": "repeat", "part": "flip", "times": 0}, "greater than or equal to 1"),
    ],
)
def test_mistakes_get_one_clear_error(value: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_purifier(value)
