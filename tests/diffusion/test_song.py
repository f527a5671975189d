"""The score-based U-Net: filters by definition, derivatives, sizes, batches; test_published says what it computes."""

import pytest
import torch

from lustral.diffusion.song import SongShape, SongUNet, resample
from tests.diffusion.upfirdn import upfirdn2d

SHAPES = {
    "ddpmpp": SongShape(side=8, width=8, multiples=(1, 2), blocks=1, attention=(4,)),
    "ncsnpp": SongShape(
        side=8,
        width=8,
        multiples=(1, 2),
        blocks=1,
        attention=(4,),
        fourier=True,
        encoder="residual",
        taps=(1.0, 3.0, 3.0, 1.0),
    ),
    "skips": SongShape(
        side=8,
        width=8,
        multiples=(1, 2),
        blocks=1,
        attention=(),
        encoder="skip",
        decoder="skip",
        taps=(1.0, 3.0, 3.0, 1.0),
    ),
}


def random_net(name, seed=0):
    network = SongUNet(SHAPES[name]).double().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for tensor in network.state_dict().values():
        tensor.normal_(0, 0.3, generator=generator)
    return network


def normal(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("taps", [(1.0, 1.0), (1.0, 3.0, 3.0, 1.0), (1.0, 2.0, 5.0, 5.0, 2.0, 1.0)])
@pytest.mark.parametrize("way", ["up", "down"])
def test_resampling_is_what_its_definition_says(way, taps):
    x = normal(2, 3, 8, 6)
    line = torch.tensor(taps, dtype=torch.float64) / sum(taps)
    kernel, extra = torch.outer(line, line), len(taps) - 2
    if way == "up":
        expected = upfirdn2d(x, 4 * kernel, up=2, pad=((extra + 1) // 2 + 1, extra // 2))
    else:
        expected = upfirdn2d(x, kernel, down=2, pad=((extra + 1) // 2, extra // 2))
    torch.testing.assert_close(resample(x, way, taps), expected)


@pytest.mark.parametrize("name", SHAPES)
def test_derivatives_are_exact(name):
    network, level = random_net(name), torch.tensor([0.3], dtype=torch.float64)
    x = normal(1, 3, 8, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: network(x, level).square().mean(), (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: network(x, level).square().mean(), (x,), fast_mode=True)


@pytest.mark.parametrize("name", SHAPES)
def test_images_of_a_batch_do_not_see_each_other(name):
    network, x, level = random_net(name), normal(3, 3, 8, 8), torch.tensor([0.1, 2.0, 30.0], dtype=torch.float64)
    together = network(x, level)
    alone = torch.cat([network(x[i : i + 1], level[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    assert (network(x, level.flip(0)) - together).abs().max() > 1e-3


def test_published_networks_have_their_published_sizes():
    edm = {"ddpmpp": {}, "ncsnpp": {"fourier": True, "encoder": "residual", "taps": (1, 3, 3, 1)}}
    with torch.device("meta"):
        sizes = {
            name: sum(p.numel() for p in SongUNet(SongShape(side=32, **kind)).parameters())
            for name, kind in edm.items()
        }
    assert sizes["ddpmpp"] + 9 * 128 == 55_733_891  # with the embedding of 9 augmentation labels, which is dropped
    assert sizes["ncsnpp"] + 9 * 256 == 56_397_827


def test_precision_can_be_halved():
    network = random_net("ncsnpp").to(torch.bfloat16)
    assert network(normal(1, 3, 8, 8).to(torch.bfloat16), torch.ones(1, dtype=torch.bfloat16)).dtype == torch.bfloat16
