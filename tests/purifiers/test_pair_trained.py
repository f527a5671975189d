"""Purifiers around networks that were trained on pairs or published: the contract, and what each of them adds."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional
from safetensors.torch import save_file

from lustral.nets.rrdb import RRDBNet
from lustral.purifiers import DISCO, ColorFilter, GuidedDenoiser, PurifierSettings, Repeat, Restoration
from lustral.purifiers.module import Purifier
from lustral.settings import SettingsError
from lustral.steps import checkpointing
from lustral.weights import WeightsError
from tests.conftest_torchvision import require_torchvision
from tests.contracts.purifiers import PurifierContract, images, noise_for
from tests.nets.test_pair_trained import TINY, tiny
from tests.nets.test_super_resolution import seeded

NETWORKS = {"disco": "disco", "color_filter": "fcn", "guided_denoiser": "hgd"}


def store(folder: Path, network: str, size: float = 1.0) -> str:
    path = folder / f"{network}.safetensors"
    weights = {name: value.clone() for name, value in tiny(network, size=size).state_dict().items()}
    save_file(weights, path, {"architecture": json.dumps({"network": network, **TINY[network]})})
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tiny")
    for network in TINY:
        store(place, network)
    return place


def with_weights(settings: PurifierSettings, folder: Path) -> PurifierSettings:
    """The same settings with tiny random weights."""
    path = str(folder / f"{NETWORKS.get(settings.name, 'mprnet')}.safetensors")
    return type(settings).make(**{**settings.model_dump(), "weights": path})


class TestTinyNetworks(PurifierContract):
    cases = (DISCO(cascades=2), ColorFilter(), GuidedDenoiser(), Restoration())
    step = 1e-7

    @pytest.fixture(autouse=True)
    def _weights(self, folder: Path) -> None:
        self.folder = folder

    def build(self, settings: PurifierSettings) -> Purifier:
        return with_weights(settings, self.folder).build()


@pytest.mark.parametrize("settings", [DISCO(), ColorFilter(), GuidedDenoiser()], ids=lambda s: s.name)
def test_a_purifier_takes_the_weights_of_its_own_network_only(settings: PurifierSettings, folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"are of MPRNet, expected .*; use other weights"):
        type(settings).make(weights=str(folder / "mprnet.safetensors")).build()
    with pytest.raises(WeightsError, match="unknown weights 'nothing'; known: "):
        type(settings).make(weights="nothing").build()


def test_cascades_are_repetitions_and_count_as_cost(folder: Path) -> None:
    once = with_weights(DISCO(), folder)
    thrice = with_weights(DISCO(cascades=3), folder)
    x, noise = images(2, 9, 7), noise_for(2)
    assert torch.equal(thrice.build()(x, noise), Repeat(part=once, times=3).build()(x, noise))
    assert (once.passes, thrice.passes) == (1, 3)
    assert once.weights_used() == (once.weights,)


def test_checkpointed_gradients_are_the_plain_ones_to_the_last_bit(folder: Path) -> None:
    for settings in (DISCO(cascades=2), GuidedDenoiser()):
        purifier = with_weights(settings, folder).build()
        x = images(2, 9, 7, torch.float64).requires_grad_()
        gradients = []
        for active in (False, True):
            with checkpointing(active):
                gradients.append(torch.autograd.grad(purifier(x, noise_for(2)).square().sum(), x)[0])
        assert gradients[0].abs().max() > 0
        assert torch.equal(*gradients)


@pytest.mark.parametrize(("kernel", "scale"), [("area", 4), ("bicubic", 4), ("bilinear", 2)])
def test_what_enlarges_is_reduced_to_the_size_of_the_image(kernel: str, scale: int) -> None:
    from lustral.nets.loading import load_super_resolution

    x = images(2, 9, 7)
    large = load_super_resolution(f"rrdb_x{scale}", scale)(x)
    expected = functional.interpolate(large, size=(9, 7), mode=kernel, antialias=kernel != "area").clamp(0, 1)
    found = Restoration.make(weights=f"rrdb_x{scale}", kernel=kernel).build()(x, noise_for(2))
    torch.testing.assert_close(found, expected)


def test_mixed_weights_are_shares_of_both(tmp_path: Path) -> None:
    first, second = (seeded(RRDBNet(4, 8, 1, 4), seed) for seed in (1, 2))
    architecture = {"architecture": json.dumps({"network": "rrdb", "scale": 4, "width": 8, "blocks": 1, "growth": 4})}
    for name, network in (("first", first), ("second", second)):
        save_file(network.state_dict(), tmp_path / f"{name}.safetensors", architecture)
    paths = {"weights": str(tmp_path / "first.safetensors"), "mixed_with": str(tmp_path / "second.safetensors")}
    built = Restoration.make(**paths, share=0.2).build()
    for name, value in built.networks[0].network.state_dict().items():
        torch.testing.assert_close(value, 0.2 * first.state_dict()[name] + 0.8 * second.state_dict()[name])
    assert Restoration.make(**paths, share=0.2).weights_used() == tuple(paths.values())
    with pytest.raises(SettingsError, match=r"share=0\.2 needs mixed_with"):
        Restoration.make(share=0.2)
    with pytest.raises(WeightsError, match="are of different networks; mix those of one"):
        Restoration.make(weights=paths["weights"], mixed_with="edsr_x2", share=0.5).build()


def test_weights_with_several_scales_are_for_super_resolve() -> None:
    with pytest.raises(WeightsError, match=r"mdsr_x8 enlarge by \(2, 4, 8\).*; use super_resolve"):
        Restoration(weights="mdsr_x8").build()


def test_published_networks_come_through_spandrel_with_its_result_and_a_gradient(tmp_path: Path) -> None:
    """Real-ESRGAN's compact network at two scales, and a denoiser that must be told the noise level."""
    require_torchvision()
    spandrel = pytest.importorskip("spandrel")
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.DnCNN import DnCNN

    path = str(tmp_path / "published.safetensors")
    with torch.random.fork_rng(devices=[]):
        compact = [seeded(Compact(num_feat=8, num_conv=1, upscale=scale), size=0.1) for scale in (4, 1)]
        denoiser = seeded(DnCNN(in_nc=4, out_nc=3, nc=8, nb=8, act_mode="R", mode="FDnCNN"), size=0.6)
    denoiser.model[-1].bias.fill_(0.5)
    for network in (*compact, denoiser):
        save_file(network.state_dict(), path)
        purifier = Restoration(weights=path, kernel="area").build()
        with torch.random.fork_rng(devices=[]):
            published = spandrel.ModelLoader().load_from_file(path)
        x = images(1, 9, 12)
        y = published(x)
        assert 0 < y.min() < y.max() < 1, "spandrel clamps before the reduction"
        assert y.std() > 0.01
        found = purifier(x.requires_grad_(), noise_for(1))
        torch.testing.assert_close(found, functional.avg_pool2d(y, published.scale).clone(), rtol=0, atol=1e-5)
        assert torch.autograd.grad(found.sum(), x)[0].any()


def test_what_is_no_restorer_is_refused(tmp_path: Path) -> None:
    require_torchvision()
    pytest.importorskip("spandrel")
    save_file({"a.weight": torch.zeros(2)}, tmp_path / "unknown.safetensors")
    with pytest.raises(WeightsError, match="fit no architecture that lustral or spandrel knows"):
        Restoration(weights=str(tmp_path / "unknown.safetensors")).build()
    with pytest.raises(WeightsError, match="got weights of 'residual_classifier'"):
        Restoration(weights="scenes_classifier").build()
