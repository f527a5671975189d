"""MAEP: the contract, squares of larger images, memory."""

import json

import pytest
import torch
from safetensors.torch import save_file

from lustral.diffusion.tiles import Tiled
from lustral.purifiers import MAEP, PurifierSettings
from lustral.purifiers.module import Purifier
from lustral.steps import checkpointing
from lustral.weights import WeightsError
from tests.contracts.purifiers import PurifierContract, images, noise_for
from tests.nets.test_masked_autoencoder import tiny

OPTIONS = {"side": 8, "width": 8, "depth": 2, "decoder_width": 8, "decoder_depth": 1, "head_width": 4}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = str(tmp_path_factory.mktemp("maep") / "tiny.safetensors")
    save_file(tiny().float().state_dict(), place, {"architecture": json.dumps({"network": "maep", **OPTIONS})})
    return place


class TestTinyNetwork(PurifierContract):
    cases = (MAEP(overlap=3),)

    @pytest.fixture(autouse=True)
    def _weights(self, path: str) -> None:
        self.path = path

    def build(self, settings: PurifierSettings) -> Purifier:
        return MAEP.make(**{**settings.model_dump(), "weights": self.path}).build()


def test_small_images_take_one_pass_and_larger_ones_are_blended_squares(path: str) -> None:
    purifier, network = MAEP(weights=path, overlap=3).build(), tiny().float()
    for height, width in ((8, 8), (5, 7)):
        x = images(2, height, width)
        torch.testing.assert_close(purifier(x, noise_for(2)), network(x).clamp(0, 1))
    x = images(2, 13, 20)
    torch.testing.assert_close(purifier(x, noise_for(2)), Tiled(network, 8, 3)(x).clamp(0, 1))
    seamless = purifier(x, noise_for(2))
    corner = network(x[..., :8, :8])[..., 0, 0].clamp(0, 1)
    torch.testing.assert_close(seamless[..., 0, 0], corner)


def test_checkpointed_gradients_are_the_plain_ones_to_the_last_bit(path: str) -> None:
    purifier = MAEP(weights=path, overlap=3).build()
    x = images(2, 11, 9, torch.float64).requires_grad_()
    gradients = []
    for active in (False, True):
        with checkpointing(active):
            gradients.append(torch.autograd.grad(purifier(x, noise_for(2)).square().sum(), x)[0])
    assert torch.equal(*gradients)


def test_other_weights_and_squares_that_are_all_overlap_are_refused(path: str) -> None:
    with pytest.raises(WeightsError, match="expected MaskedAutoencoder"):
        MAEP(weights="edsr_x2").build()
    with pytest.raises(ValueError, match="overlap of 0 to side - 1 = 7, got 8"):
        MAEP(weights=path).build()
    assert MAEP(weights=path).weights_used() == (path,)
