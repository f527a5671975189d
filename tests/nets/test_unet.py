"""The U-Net that is told the noise level, and the scalings of EDM around it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lustral.diffusion.preconditioned import PreconditionedDenoiser
from lustral.nets.unet import NoiseUNet
from lustral.train.settings import DenoiserTraining
from tests.diffusion.examples import images, tiny_denoiser


def network() -> NoiseUNet:
    found = tiny_denoiser().network
    assert isinstance(found, NoiseUNet)
    return found


def level(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 7), (32, 32), (5, 40)])
def test_any_size_keeps_its_size(size: tuple[int, int]) -> None:
    y = network()(images(2, *size), level(-0.5, 0.5))
    assert y.shape == (2, 3, *size)
    assert y.isfinite().all()


def test_sides_that_do_not_fit_are_padded_by_reflection_and_cut_back() -> None:
    x = images(2, 9, 14)
    padded = nn.functional.pad(x, (0, 2, 0, 3), mode="reflect")  # to 12 x 16, multiples of 4
    noise = level(0.1, -0.2)
    torch.testing.assert_close(network()(x, noise), network()(padded, noise)[:, :, :9, :14], rtol=0, atol=1e-13)


def test_every_image_has_its_own_level_and_does_not_depend_on_its_batch() -> None:
    x, levels, net = images(3, 8, 12), level(-0.9, 0.0, 0.8), network()
    together = net(x, levels)
    for row in range(3):
        alone = net(x[row : row + 1], levels[row : row + 1])
        torch.testing.assert_close(alone, together[row : row + 1], rtol=0, atol=1e-12)
    other = net(x, level(-0.9, 0.0, 0.3))
    assert torch.equal(other[:2], together[:2])
    assert not torch.allclose(other[2], together[2])


def test_close_levels_give_close_images_over_the_whole_range() -> None:
    """The embedding separates noise levels, but no cosine of it turns so fast that neighbours are strangers."""
    levels = torch.linspace(-1.0, 1.1, 200, dtype=torch.float64)  # log(0.018) / 4 to log(81) / 4
    y = network()(images(1).expand(200, -1, -1, -1), levels)
    jumps = y.diff(dim=0).flatten(1).norm(dim=1)
    assert jumps.max() < 0.2 * y.flatten(1).norm(dim=1).mean()
    assert (y[0] - y[-1]).norm() > jumps.max()


def test_a_fresh_network_says_the_same_of_every_image() -> None:
    y = NoiseUNet(widths=(16, 32), blocks=1, patch=2, embedding=16)(images(2).float(), torch.tensor([-0.5, 0.5]))
    assert torch.equal(y[0], y[1])


def test_its_gradient_equals_central_differences() -> None:
    net, x = network(), images(2, 9, 7).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    weights, direction = torch.randn(2, *x.shape, generator=generator, dtype=x.dtype)
    (gradient,) = torch.autograd.grad((weights * net(x, level(0.1, 0.7))).sum(), x)
    with torch.no_grad():
        change = net(x + 1e-6 * direction, level(0.1, 0.7)) - net(x - 1e-6 * direction, level(0.1, 0.7))
    assert float((gradient * direction).sum()) == pytest.approx(float((weights * change).sum() / 2e-6), rel=1e-6)


def test_trained_weights_rely_on_these_names() -> None:
    state = PreconditionedDenoiser.of(DenoiserTraining().model_dump()).state_dict()
    blocks = {name.split(".", 3)[3] for name in state if ".down." in name or ".up." in name}
    parts = {part + kind for part in ("first", "norm", "level", "second", "skip") for kind in (".weight", ".bias")}
    others = {name for name in state if ".down." not in name and ".up." not in name}
    assert blocks == parts
    assert others == {
        "network.frequencies",
        *(f"network.{part}.{kind}" for part in ("embed.0", "embed.2", "stem", "head") for kind in ("weight", "bias")),
    }
    assert sum(weights.numel() for weights in state.values()) <= 8_000_000


class Probe(nn.Module):
    """Keeps what it is asked and answers with ones."""

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        self.x, self.level = x, level
        return torch.ones_like(x)


def test_the_scalings_are_those_of_edm() -> None:
    probe, x, sigma = Probe(), images(3), level(0.02, 0.5, 80.0)
    y = PreconditionedDenoiser(probe, side=8)(x, sigma)
    for row, s in enumerate(sigma.tolist()):
        skip, out = 0.5**2 / (s**2 + 0.5**2), s * 0.5 / (s**2 + 0.5**2) ** 0.5
        torch.testing.assert_close(y[row], skip * x[row] + out)
        torch.testing.assert_close(probe.x[row], x[row] / (s**2 + 0.5**2) ** 0.5)
        assert float(probe.level[row]) == pytest.approx(torch.log(torch.tensor(s)).item() / 4)


def test_blocks_may_differ_between_resolutions() -> None:
    even, uneven = (NoiseUNet((4, 8, 8), blocks, patch=1, embedding=8) for blocks in ((2, 2, 2), (1, 2, 0)))
    same = NoiseUNet((4, 8, 8), 2, patch=1, embedding=8)
    same.load_state_dict(even.state_dict())
    x, noise = images(1, 8, 8).float(), torch.tensor([0.3])
    assert torch.equal(same(x, noise), even(x, noise))
    assert [len(net.down) for net in (even, uneven)] == [6, 3]
    assert uneven(x, noise).shape == x.shape


def test_the_number_of_block_counts_is_checked() -> None:
    with pytest.raises(ValueError, match=r"as many as widths \(4\), got 2: blocks=1\+2"):
        DenoiserTraining.model_validate({"blocks": "1+2"})
    assert DenoiserTraining.model_validate({"blocks": "2"}).blocks == 2
