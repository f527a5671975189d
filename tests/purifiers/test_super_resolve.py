"""Super-resolution and back, its chain with diffusion, and the variance-exploding purifier."""

import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional
from safetensors.torch import save_file

from lustral.diffusion.ideal import IdealDenoiser
from lustral.diffusion.schedules import vp_linear
from lustral.nets.edsr import EDSR
from lustral.nets.rrdb import RRDBNet
from lustral.purifiers import VESDE, Chain, Flip, GaussianBlur, PuriFlow, Repeat, SuperResolve, parse_purifier
from lustral.settings import SettingsError
from lustral.steps import checkpointing, watching
from lustral.weights import WeightsError
from tests.conftest_torchvision import require_torchvision
from tests.contracts.purifiers import PurifierContract, images, noise_for
from tests.nets.test_super_resolution import pictures, seeded


class TestShippedNetworks(PurifierContract):
    cases = tuple(SuperResolve.make(**preset) for preset in SuperResolve.presets)
    step = 1e-7  # thousands of ReLUs: some input of one is less than 1e-6 away from zero


def test_each_kernel_is_the_linear_reduction_it_names(tmp_path: Path) -> None:
    network = seeded(EDSR(2, 8, 1), size=0.3)
    architecture = json.dumps({"network": "edsr", "scale": 2, "width": 8, "blocks": 1})
    path = str(tmp_path / "edsr.safetensors")
    save_file(network.state_dict(), path, {"architecture": architecture})
    x = images(2, 9, 7)
    large = network(x)
    expected = {
        "bicubic": functional.interpolate(large, size=(9, 7), mode="bicubic", antialias=True),
        "bilinear": functional.interpolate(large, size=(9, 7), mode="bilinear", antialias=True),
        "area": functional.avg_pool2d(large, 2),
    }
    for kernel, y in expected.items():
        found = SuperResolve.make(weights=path, kernel=kernel).build()(x, noise_for(2))
        torch.testing.assert_close(found, y.clamp(0, 1))


@pytest.mark.parametrize("scale", [2, 4])
def test_published_networks_come_through_spandrel_with_its_result_and_a_gradient(scale: int, tmp_path: Path) -> None:
    require_torchvision()
    spandrel = pytest.importorskip("spandrel")
    path = tmp_path / "esrgan.safetensors"
    weights = seeded(RRDBNet(scale, width=8, blocks=1, growth=32, skip=False), size=0.5).state_dict()
    save_file(weights | {"conv_last.bias": torch.full((3,), 0.5)}, path)
    before = torch.get_rng_state()
    purifier = SuperResolve(weights=str(path), scale=scale, kernel="area").build()
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng(devices=[]):
        published = spandrel.ModelLoader().load_from_file(path)
    for height, width in ((8, 12), (9, 7)):
        x = pictures(1, height, width)
        expected = functional.avg_pool2d(published(x), scale)
        found = purifier(x.requires_grad_(), noise_for(1))
        assert found.std() > 0.005
        torch.testing.assert_close(found, expected.clone(), rtol=0, atol=1e-5)
        assert torch.autograd.grad(found.sum(), x)[0].any()


def test_what_spandrel_cannot_use_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown, pickled = tmp_path / "unknown.safetensors", tmp_path / "esrgan.pth"
    save_file({"a.weight": torch.zeros(2)}, unknown)
    pickled.write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match="pickles can run code and are never opened"):
        SuperResolve(weights=str(pickled)).build()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "spandrel", None)
        with pytest.raises(ImportError, match=r'pip install "lustral\[restore\]"'):
            SuperResolve(weights=str(unknown)).build()
    require_torchvision()
    pytest.importorskip("spandrel")
    with pytest.raises(WeightsError, match="fit no architecture that lustral or spandrel knows"):
        SuperResolve(weights=str(unknown)).build()


def test_ratio_must_be_one_of_the_weights() -> None:
    with pytest.raises(WeightsError, match="edsr_x2 enlarge by 2, got scale=4; use other weights"):
        SuperResolve(weights="edsr_x2", scale=4).build()
    with pytest.raises(SettingsError, match=r"super_resolve\.scale"):
        SuperResolve.make(scale=1)


def test_purified_pictures_stay_close_and_rounds_add_up() -> None:
    x = images(2, 24, 24)
    once, thrice = SuperResolve().build(), Repeat(part=SuperResolve(), times=3).build()
    y = once(x, noise_for(2))
    assert 0 < float((y - x).abs().mean()) < 0.05
    expected = once(once(y, noise_for(2)), noise_for(2))
    assert torch.equal(thrice(x, noise_for(2)), expected)


def test_puriflow_is_the_chain_of_its_two_purifiers() -> None:
    settings = parse_purifier("puriflow:diffusion=ve_sde:steps=3")
    assert isinstance(settings, PuriFlow)
    assert settings.restore == SuperResolve()
    chain = Chain(parts=(SuperResolve(), VESDE(steps=3)))
    x, noise = images(2, 12, 12), noise_for(2)
    assert torch.equal(settings.build()(x, noise.replay()), chain.build()(x, noise.replay()))
    assert (settings.passes, settings.weights_used()) == (4, ("edsr_x2", "cifar10_denoiser"))
    assert (settings.is_random, settings.gradient, settings.needs_target) == (True, "exact", False)
    assert parse_purifier(settings.to_json()) == settings


def test_puriflow_inherits_the_weakest_of_its_parts() -> None:
    settings = PuriFlow.make(restore="jpeg", diffusion={"name": "gaussian_blur"})
    assert settings.stages == (parse_purifier("jpeg"), GaussianBlur())
    assert (settings.gradient, settings.is_random, settings.passes) == ("bpda", False, 0)
    assert PuriFlow.make(restore=Flip(), diffusion="flip").stages == (Flip(), Flip())
    with pytest.raises(SettingsError, match="unknown purifier 'nonsense'"):
        PuriFlow.make(restore="nonsense")


def test_checkpointed_gradient_through_puriflow_is_the_plain_one_to_the_last_bit() -> None:
    purifier = PuriFlow.make(diffusion="ve_sde:steps=4").build()
    x = images(2, 8, 8, torch.float64).requires_grad_()
    gradients = []
    for active in (False, True):
        with checkpointing(active):
            gradients.append(torch.autograd.grad(purifier(x, noise_for(2)).square().sum(), x)[0])
    assert gradients[0].abs().max() > 0
    assert torch.equal(*gradients)


@pytest.mark.parametrize("steps", [2, 7])
def test_variance_exploding_purifier_adds_the_noise_of_its_time_and_finds_the_image_again(steps: int) -> None:
    points = 2 * torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 1
    seen = []
    with watching(lambda event, facts: seen.append((event, facts))):
        y = VESDE(time=90, steps=steps).clean(IdealDenoiser(points), points[:4], noise_for(4))
    torch.testing.assert_close(y, points[:4], rtol=0, atol=1e-6)
    event, facts = seen[0]
    assert event == "diffused"
    assert facts["schedule"].sigmas[facts["t"]] == pytest.approx(vp_linear().sigmas[90], rel=1e-9)
    assert facts["schedule"].scales[facts["t"]] == 1
    assert len(seen) == steps + 1


def test_smallest_time_of_the_variance_exploding_purifier_has_a_schedule() -> None:
    x = torch.zeros(1, 3, 8, 8)
    assert VESDE(time=5).clean(IdealDenoiser(x), x, noise_for(1)).abs().max() < 1e-6
