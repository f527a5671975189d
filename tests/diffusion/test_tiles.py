"""Tiles: what is cut is put together again, without seams, and every pixel is denoised."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from lustral.diffusion.tiles import Tiled
from tests.diffusion.examples import images, tiny_denoiser

SIZES = [(40, 70), (32, 33), (33, 32), (20, 70), (70, 20), (64, 64), (65, 97)]


class Pointwise(nn.Module):
    """Depends on one pixel, on the noise level and on nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.sizes.append(tuple(x.shape))
        return torch.tanh(x / (1 + sigma[:, None, None, None]))


def level(n: int) -> Tensor:
    return torch.linspace(0.1, 0.9, n, dtype=torch.float64)


@pytest.mark.parametrize(
    ("size", "overlap"), [*((size, overlap) for size in SIZES for overlap in (0, 1, 8)), ((33, 36), 31)]
)
def test_a_pointwise_denoiser_is_the_same_in_tiles(size: tuple[int, int], overlap: int) -> None:
    x, plain = images(2, *size), Pointwise()
    tiled = Tiled(Pointwise(), side=32, overlap=overlap)
    torch.testing.assert_close(tiled(x, level(2)), plain(x, level(2)), rtol=0, atol=1e-14)
    assert tiled.side == 32


@pytest.mark.parametrize("size", SIZES)
def test_the_image_itself_comes_back_in_single_precision(size: tuple[int, int]) -> None:
    class Same(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            return x

    x = images(2, *size, dtype=torch.float32)
    torch.testing.assert_close(Tiled(Same(), 32, 8)(x, level(2).float()), x, rtol=0, atol=1e-6)


def test_there_are_no_seams() -> None:
    """Tiles that disagree by a constant are blended so that neighbouring pixels differ by little."""

    class Shifted(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            return x + torch.arange(len(x)).to(x)[:, None, None, None] % 2

    x = torch.zeros(1, 3, 32, 70, dtype=torch.float64)
    y = Tiled(Shifted(), side=32, overlap=8)(x, level(1))
    assert y.amax() == 1
    assert y.amin() == 0
    assert y.diff(dim=3).abs().max() < 0.3
    hard = Tiled(Shifted(), side=32, overlap=0)(x[..., :64], level(1))
    assert hard.diff(dim=3).abs().max() == 1


@pytest.mark.parametrize("size", [(32, 32), (9, 7), (32, 5)])
def test_images_that_fit_go_straight_through(size: tuple[int, int]) -> None:
    x, denoise = images(2, *size), tiny_denoiser()
    assert torch.equal(Tiled(denoise, 32, 8)(x, level(2)), denoise(x, level(2)))


def test_tiles_have_the_side_and_come_in_batches() -> None:
    denoise = Pointwise()
    Tiled(denoise, 32, 8, batch=5)(images(2, 40, 70), level(2))
    assert denoise.sizes == [(5, 3, 32, 32), (5, 3, 32, 32), (2, 3, 32, 32)]
    denoise.sizes.clear()
    Tiled(denoise, 32, 8)(images(1, 20, 70), level(1))
    assert denoise.sizes == [(3, 3, 20, 32)]


def test_neighbours_overlap_by_at_least_what_was_asked() -> None:
    for overlap in (0, 1, 8, 31):
        tiled = Tiled(Pointwise(), 32, overlap)
        for length in range(33, 200, 7):
            starts = tiled.starts(length)
            strides = [b - a for a, b in pairwise(starts)]
            assert (starts[0], starts[-1]) == (0, length - 32)
            assert min(strides) >= 1
            assert max(strides) <= 32 - overlap


def test_its_gradient_equals_central_differences() -> None:
    tiled, x = Tiled(tiny_denoiser(), 8, 3), images(2, 11, 18).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    weights, direction = torch.randn(2, *x.shape, generator=generator, dtype=x.dtype)
    (gradient,) = torch.autograd.grad((weights * tiled(x, level(2))).sum(), x)
    with torch.no_grad():
        change = tiled(x + 1e-6 * direction, level(2)) - tiled(x - 1e-6 * direction, level(2))
    assert float((gradient * direction).sum()) == pytest.approx(float((weights * change).sum() / 2e-6), rel=1e-6)


def test_an_image_does_not_depend_on_its_batch() -> None:
    tiled, x = Tiled(tiny_denoiser(), 8, 3, batch=4), images(3, 11, 18)
    together = tiled(x, level(3))
    torch.testing.assert_close(tiled(x[1:2], level(3)[1:2]), together[1:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("overlap", [-1, 32])
def test_impossible_overlaps_are_errors(overlap: int) -> None:
    with pytest.raises(ValueError, match="expected an overlap of 0 to side - 1 = 31"):
        Tiled(Pointwise(), 32, overlap)
    with pytest.raises(ValueError, match="batch of at least 1"):
        Tiled(Pointwise(), 32, 8, batch=0)
