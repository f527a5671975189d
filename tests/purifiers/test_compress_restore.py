"""(Compress and Restore)^N: its two steps, which network is taken, and what flows back through it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lustral.nets.artifact_removal import ArtifactRemover
from lustral.nets.restoration import load_restorer
from lustral.purifiers import (
    JPEG,
    ArtifactRemoval,
    CompressRestore,
    DiffJPEG,
    PurifierSettings,
    Repeat,
    parse_purifier,
)
from lustral.purifiers.module import Purifier
from lustral.seeds import Noise
from lustral.settings import SettingsError
from lustral.steps import checkpointing
from lustral.weights import WeightsError
from tests.conftest_torchvision import require_torchvision
from tests.contracts.purifiers import PurifierContract, images, noise_for
from tests.nets.test_super_resolution import pictures, seeded

SIZES: dict[str, Any] = {"width": 6, "blocks": 1, "fold": 2}


def saved(path: Path, network: torch.nn.Module, architecture: dict[str, Any]) -> str:
    save_file(network.state_dict(), path, {"architecture": json.dumps(architecture)})
    return str(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of three different restorers."""
    folder = tmp_path_factory.mktemp("restorers")
    made = [seeded(ArtifactRemover(**SIZES), seed, size=0.3) for seed in range(3)]
    named = zip((20, 40, 60), made, strict=True)
    return [saved(folder / f"{q}.safetensors", net, {"network": "artifact_removal", **SIZES}) for q, net in named]


@pytest.fixture(scope="module")
def three(weights: list[str]) -> CompressRestore:
    return CompressRestore.make(restorers=list(zip((20, 40, 60), weights, strict=True)))


class WithWeights(PurifierContract):
    """The contract over cases whose weight names stand for files of random networks."""

    @pytest.fixture(autouse=True)
    def _files(self, weights: list[str]) -> None:
        names = {
            f"artifact_removal_cifar10_q{quality}": path for quality, path in zip((20, 40, 60), weights, strict=True)
        }
        self.names = names

    def build(self, settings: PurifierSettings) -> Purifier:
        if isinstance(settings, ArtifactRemoval):
            return settings.model_copy(update={"weights": self.names[settings.weights]}).build()
        assert isinstance(settings, CompressRestore)
        found = tuple((quality, self.names[name]) for quality, name in settings.restorers)
        return settings.model_copy(update={"restorers": found}).build()


ONE = ((40, "artifact_removal_cifar10_q40"),)


class TestArtifactRemoval(WithWeights):
    cases = (ArtifactRemoval(),)


class TestCompressRestore(WithWeights):
    cases = (
        CompressRestore(),
        CompressRestore(restorers=()),
        CompressRestore(restorers=(), low=30, high=30),
        CompressRestore(restorers=ONE, low=40, high=40),
        CompressRestore(restorer_backward="identity"),
        CompressRestore(restorers=ONE, backward="surrogate"),
    )


def drawn(noise: Noise, settings: CompressRestore) -> list[int]:
    return noise.replay().integers(settings.low, settings.high + 1)[:, 0].tolist()


@pytest.mark.parametrize("backward", ["identity", "surrogate"])
def test_compression_is_bit_for_bit_the_jpeg_purifier_at_the_quality_drawn(backward: str) -> None:
    settings = CompressRestore.make(restorers=(), backward=backward)
    x, noise = images(8, 19, 21, torch.float64).requires_grad_(), noise_for(8)
    found = settings.build()(x, noise.replay())
    qualities = drawn(noise, settings)
    assert len(set(qualities)) > 4
    parts = [JPEG.make(quality=q, backward=backward).build() for q in qualities]
    expected = torch.cat([part(x[row : row + 1], noise_for(1)) for row, part in enumerate(parts)])
    assert torch.equal(found, expected)
    weight = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    slopes = [torch.autograd.grad((weight * y).sum(), x)[0] for y in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-9)


def test_every_quality_of_the_range_is_drawn_and_no_other() -> None:
    settings = CompressRestore(low=30, high=34, restorers=())
    qualities = drawn(noise_for(400), settings)
    assert set(qualities) == {30, 31, 32, 33, 34}
    assert min(qualities.count(quality) for quality in set(qualities)) > 40
    x = images(1, 16, 16).expand(8, 3, 16, 16)
    low, high = (CompressRestore(low=q, high=q, restorers=()).build()(x, noise_for(8)) for q in (30, 34))
    y = settings.build()(x, noise_for(8))
    assert any(torch.equal(row, low[0]) for row in y) or any(torch.equal(row, high[0]) for row in y)


def test_restorer_is_the_one_whose_quality_is_nearest(three: CompressRestore, weights: list[str]) -> None:
    assert [three.nearest(q) for q in (1, 20, 29, 30, 31, 49, 50, 51, 100)] == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    backwards = three.model_copy(update={"restorers": three.restorers[::-1]})
    assert [backwards.nearest(q) for q in (29, 30, 31, 50, 51)] == [2, 2, 1, 1, 0]
    networks = [load_restorer(path) for path in weights]
    x, noise = images(12, 17, 10), noise_for(12)
    found = three.build()(x, noise.replay())
    choices = set()
    for row, quality in enumerate(drawn(noise, three)):
        index = min(range(3), key=lambda k: (abs((20, 40, 60)[k] - quality), k))
        choices.add(index)
        expected = networks[index](JPEG(quality=quality).build()(x[row : row + 1], noise_for(1))).clamp(0, 1)
        torch.testing.assert_close(found[row], expected[0], rtol=0, atol=1e-6)
        others = [network(expected) for network in networks]
        assert (others[0] - others[1]).abs().max() > 1e-3
    assert choices == {0, 1, 2}


def test_gradient_through_the_restorers_is_exact_where_the_compression_is_left_out(
    three: CompressRestore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JPEG, "purify", lambda self, x, noise: x)
    purifier, noise = Repeat(part=three, times=3).build(), noise_for(6)
    generator = torch.Generator().manual_seed(1)
    x = images(6, 8, 9, torch.float64).requires_grad_()
    weight, direction = torch.randn(2, *x.shape, generator=generator, dtype=x.dtype)

    def value(at: torch.Tensor) -> torch.Tensor:
        return (weight * purifier(at, noise.replay())).sum()

    slope = (torch.autograd.grad(value(x), x)[0] * direction).sum()
    with torch.no_grad():
        step = 1e-7
        expected = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float(expected), rel=1e-6)


def test_the_three_attacks_of_the_paper_differ_backwards_only(three: CompressRestore, weights: list[str]) -> None:
    x, noise = images(5, 12, 12).requires_grad_(), noise_for(5)
    weight = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    values, slopes = {}, {}
    for backward in ("identity", "surrogate"):
        for through in ("exact", "identity"):
            part = three.model_copy(update={"backward": backward, "restorer_backward": through})
            y = Repeat(part=part, times=2).build()(x, noise.replay())
            values[backward, through] = y
            slopes[backward, through] = torch.autograd.grad((weight * y).sum(), x)[0]
    first = values["identity", "exact"]
    assert all(torch.equal(first, y) for y in values.values())
    assert torch.equal(slopes["identity", "identity"], weight)
    assert torch.unique(torch.stack([slope.flatten() for slope in slopes.values()]), dim=0).shape[0] == 4
    once, quality = three.build()(x, noise.replay()), drawn(noise, three)
    by_hand = []
    for row in range(len(x)):
        compressed = JPEG(quality=quality[row]).build()(x[row : row + 1], noise_for(1)).detach().requires_grad_()
        y = load_restorer(weights[three.nearest(quality[row])])(compressed).clamp(0, 1)
        by_hand.append(torch.autograd.grad((weight[row] * y).sum(), compressed)[0])
    torch.testing.assert_close(torch.autograd.grad((weight * once).sum(), x)[0], torch.cat(by_hand))


def test_surrogate_is_the_derivative_of_soft_jpeg() -> None:
    x = images(2, 16, 16, torch.float64).requires_grad_()
    fixed = CompressRestore(low=35, high=35, restorers=(), backward="surrogate").build()
    weight = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    slopes = [
        torch.autograd.grad((weight * part(x, noise_for(2))).sum(), x)[0]
        for part in (fixed, DiffJPEG(quality=35).build())
    ]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-9)


def test_identity_flows_past_values_that_the_restorer_pushes_out_of_range(tmp_path: Path) -> None:
    network = ArtifactRemover(**SIZES)
    torch.nn.init.constant_(network.tail.bias, 5.0)
    path = saved(tmp_path / "bright.safetensors", network, {"network": "artifact_removal", **SIZES})
    settings = CompressRestore.make(restorers=[(40, path)], restorer_backward="identity")
    x = images(2, 8, 8).requires_grad_()
    y = settings.build()(x, noise_for(2))
    assert bool((y == 1).all())
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.ones_like(x))


def test_every_round_of_a_repeat_draws_new_qualities(three: CompressRestore) -> None:
    part = three.model_copy(update={"restorers": ()})
    x, noise = images(4, 16, 16), noise_for(4)
    y, rounds = x, []
    for index in range(3):
        own = noise.fork(str(index))
        rounds.append(drawn(own, part))
        y = part.build()(y, own)
    assert torch.equal(Repeat(part=part, times=3).build()(x, noise.replay()), y)
    assert len({tuple(row) for row in rounds}) == 3
    fixed = Repeat(part=part.model_copy(update={"low": 40, "high": 40}), times=3)
    assert not fixed.is_random
    assert (Repeat(part=three, times=3).passes, Repeat(part=part, times=3).passes) == (3, 0)


def test_checkpointed_gradient_is_the_plain_one_to_the_last_bit(three: CompressRestore) -> None:
    for backward in ("identity", "surrogate"):
        purifier = Repeat(part=three.model_copy(update={"backward": backward}), times=3).build()
        x = images(4, 10, 8).requires_grad_()
        slopes = []
        for active in (False, True):
            with checkpointing(active):
                slopes.append(torch.autograd.grad(purifier(x, noise_for(4)).square().sum(), x)[0])
        assert slopes[0].abs().max() > 0
        assert torch.equal(*slopes)


def test_what_people_type_is_what_json_says() -> None:
    typed = parse_purifier("compress_restore:low=30,restorers=20:artifact_removal_cifar10_q20+60:some/file.safetensors")
    assert isinstance(typed, CompressRestore)
    assert typed.restorers == ((20, "artifact_removal_cifar10_q20"), (60, "some/file.safetensors"))
    assert parse_purifier(typed.to_json()) == typed
    assert typed.weights_used() == ("artifact_removal_cifar10_q20", "some/file.safetensors")
    bare = parse_purifier("compress_restore:restorers=")
    assert (bare, bare.passes) == (CompressRestore(restorers=()), 0)
    assert parse_purifier("repeat:times=3,part=compress_restore") == Repeat(part=CompressRestore(), times=3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"low": 61}, "low must not exceed high, got low=61 and high=60"),
        ({"restorers": [(20, "a"), (20, "b")]}, r"a quality of its own, got 20\+20"),
        ({"restorers": "artifact_removal_cifar10_q20"}, "restorers"),
        ({"restorers": [(0, "a")]}, "restorers"),
        ({"high": 101}, "high"),
    ],
)
def test_bad_settings_are_one_clear_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        CompressRestore.make(**fields)


def test_weights_of_other_networks_are_refused(weights: list[str], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="edsr_x2 enlarge by 2; expected a network that keeps the size"):
        ArtifactRemoval(weights="edsr_x2").build()
    wrong = saved(tmp_path / "x.safetensors", ArtifactRemover(4, 1), {"network": "artifact_removal", **SIZES})
    with pytest.raises(WeightsError, match="do not fit ArtifactRemover"):
        CompressRestore.make(restorers=[(20, weights[0]), (40, wrong)]).build()


def test_published_fbcnn_comes_through_spandrel_with_its_picture_and_a_gradient(tmp_path: Path) -> None:
    require_torchvision()
    pytest.importorskip("spandrel")
    from spandrel.architectures.FBCNN import FBCNN

    with torch.device("meta"):
        published = FBCNN(nc=[4, 4, 4, 512], nb=2)
    published = published.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for value in published.parameters():
        spread = 0.1 / max(1, value[0].numel()) ** 0.5
        value.data = spread * torch.randn(value.shape, generator=generator)
    published.m_tail.bias.data.fill_(0.5)
    published.eval().half().float()
    path = tmp_path / "fbcnn.safetensors"
    save_file({name: value.half() for name, value in published.state_dict().items()}, path)
    before = torch.get_rng_state()
    purifier = ArtifactRemoval(weights=str(path)).build()
    assert torch.equal(before, torch.get_rng_state())
    x = pictures(2, 9, 15).requires_grad_()
    picture, quality = published(x)
    found = purifier(x, noise_for(2))
    assert quality.shape == (2, 1)
    assert found.std() > 0.002
    assert 0 < found.min() < found.max() < 1
    torch.testing.assert_close(found, picture.clamp(0, 1), rtol=0, atol=1e-5)
    assert torch.autograd.grad(found.sum(), x)[0].any()
