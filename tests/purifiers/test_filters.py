"""Every filter against an independent implementation."""

import io

import kornia
import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lustral.purifiers import (
    JPEG,
    BitDepth,
    ColorQuantization,
    DiffJPEG,
    Flip,
    GaussianBlur,
    MedianBlur,
    PurifierSettings,
    RandomCrop,
    RandomRotate,
    Resize,
    Unsharp,
    Upscale,
)
from lustral.purifiers.smoothing import reflect
from lustral.seeds import Noise
from lustral.tensors import from_uint8, to_uint8


def noise_for(x: torch.Tensor, seed: int = 0) -> Noise:
    return Noise(seed, "test", [str(row) for row in range(len(x))])


def apply(purifier: PurifierSettings, x: torch.Tensor) -> torch.Tensor:
    return purifier.build()(x, noise_for(x))


def photographs(height: int = 96, width: int = 112) -> torch.Tensor:
    crops = [skimage.data.astronaut()[:height, 100 : 100 + width], skimage.data.chelsea()[60 : 60 + height, :width]]
    return from_uint8(np.stack(crops))


def random_images(height: int, width: int) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@given(size=st.integers(1, 9), margin=st.integers(0, 12))
@settings(max_examples=30, deadline=None)
def test_reflect_equals_numpy_for_any_margin(size: int, margin: int) -> None:
    x = random_images(size, 5)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="reflect")
    assert np.array_equal(reflect(x, margin).numpy(), expected)


@pytest.mark.parametrize("kernel", [3, 7, 11])
def test_gaussian_blur_equals_scipy_with_the_sigma_of_the_paper(kernel: int) -> None:
    x = random_images(16, 13)
    options = {"sigma": 0.3 * ((kernel - 1) / 2 - 1) + 0.8, "radius": kernel // 2, "mode": "mirror", "axes": (2, 3)}
    expected = scipy.ndimage.gaussian_filter(x.numpy(), **options)
    np.testing.assert_allclose(apply(GaussianBlur(kernel=kernel), x), expected, atol=1e-7)


@pytest.mark.parametrize("kernel", [3, 5, 11])
def test_median_blur_equals_scipy_bit_for_bit(kernel: int) -> None:
    x = random_images(16, 13)
    expected = scipy.ndimage.median_filter(x.numpy(), size=kernel, mode="mirror", axes=(2, 3))
    assert np.array_equal(apply(MedianBlur(kernel=kernel), x).numpy(), expected)


@pytest.mark.parametrize("kernel", [3, 11])
def test_unsharp_equals_kornia(kernel: int) -> None:
    x = random_images(16, 13)
    expected = kornia.filters.unsharp_mask(x, (kernel, kernel), (1.0, 1.0)).clamp(0, 1)
    torch.testing.assert_close(apply(Unsharp(kernel=kernel), x), expected, rtol=0, atol=1e-6)


def test_unsharp_keeps_a_fractional_amount() -> None:
    x = 0.25 + 0.5 * random_images(16, 13)
    full, half = apply(Unsharp(amount=0.5), x) - x, apply(Unsharp(amount=0.25), x) - x
    torch.testing.assert_close(full, 2 * half)
    assert full.abs().max() > 0.01


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("quality", [10, 50, 90])
@pytest.mark.parametrize("backward", ["identity", "surrogate"])
def test_jpeg_equals_pillow_bit_for_bit(quality: int, subsampling: str, backward: str) -> None:
    x = photographs(41, 37).requires_grad_()  # with gradients on, where a naive straight-through rounds
    y = apply(JPEG(quality=quality, subsampling=subsampling, backward=backward), x)
    for before, after in zip(to_uint8(x), y.detach(), strict=True):
        file = io.BytesIO()
        Image.fromarray(before.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality, subsampling=subsampling)
        expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255
        assert torch.equal(after, expected)


def test_jpeg_rounds_and_does_not_truncate() -> None:
    y = apply(JPEG(quality=100), torch.full((1, 3, 16, 16), 99.9 / 255))
    assert torch.equal(to_uint8(y), torch.full_like(y, 100, dtype=torch.uint8))


def test_jpeg_identity_gradient_is_one() -> None:
    x = photographs(16, 16).requires_grad_()
    apply(JPEG(), x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_jpeg_surrogate_gradient_is_that_of_diff_jpeg(subsampling: str) -> None:
    x = photographs(24, 24) * 0.6 + 0.2  # clear of the clamp, which differs between the two outputs
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    gradients = []
    for purifier in (JPEG(subsampling=subsampling, backward="surrogate"), DiffJPEG(subsampling=subsampling)):
        leaf = x.clone().requires_grad_()
        (apply(purifier, leaf) * weights).sum().backward()
        gradients.append(leaf.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize(("quality", "levels"), [(10, 3.0), (50, 1.5), (90, 1.0)])
def test_diff_jpeg_is_near_real_jpeg_at_the_same_subsampling(quality: int, levels: float, subsampling: str) -> None:
    x = photographs()
    real = apply(JPEG(quality=quality, subsampling=subsampling), x)
    other = apply(JPEG(quality=quality, subsampling="4:4:4" if subsampling == "4:2:0" else "4:2:0"), x)
    soft = apply(DiffJPEG(quality=quality, subsampling=subsampling), x)
    distance = float((soft - real).abs().mean() * 255)
    assert distance <= levels
    assert distance < float((soft - other).abs().mean() * 255)


def test_diff_jpeg_equals_the_codec_of_kornia() -> None:
    x = photographs()
    expected = kornia.enhance.JPEGCodecDifferentiable()(x, torch.tensor([30.0])).clamp(0, 1)
    assert torch.equal(apply(DiffJPEG(quality=30), x), expected)


@pytest.mark.parametrize("levels", [2, 5, 25])
def test_color_quantization_takes_the_nearest_level(levels: int) -> None:
    x = random_images(16, 13)
    grid = np.linspace(0, 1, levels)
    expected = grid[np.abs(x.numpy()[..., None] - grid).argmin(axis=-1)]
    np.testing.assert_allclose(apply(ColorQuantization(levels=levels), x), expected, atol=1e-12)


@pytest.mark.parametrize("bits", range(1, 9))
def test_bit_depth_is_quantisation_to_a_power_of_two(bits: int) -> None:
    x = random_images(16, 13)
    assert torch.equal(apply(BitDepth(bits=bits), x), apply(ColorQuantization(levels=2**bits), x))


@pytest.mark.parametrize("purifier", [BitDepth(bits=2), ColorQuantization(levels=5)], ids=str)
def test_quantisation_is_idempotent_and_its_gradient_is_one(purifier: PurifierSettings) -> None:
    x = random_images(16, 13).requires_grad_()
    y = apply(purifier, x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert torch.equal(apply(purifier, y.detach()), y)


def test_eight_bits_change_nothing_in_an_8_bit_image() -> None:
    x = photographs()
    torch.testing.assert_close(apply(BitDepth(bits=8), x), x, rtol=0, atol=1e-7)


@pytest.mark.parametrize("axes", ["both", "horizontal", "vertical"])
def test_flip_equals_pillow_and_undoes_itself(axes: str) -> None:
    x = photographs(17, 23)
    y = apply(Flip(axes=axes), x)
    image = Image.fromarray(to_uint8(x)[0].permute(1, 2, 0).numpy())
    image = image if axes == "vertical" else ImageOps.mirror(image)
    image = image if axes == "horizontal" else ImageOps.flip(image)
    assert np.array_equal(to_uint8(y)[0].permute(1, 2, 0).numpy(), np.array(image))
    assert torch.equal(apply(Flip(axes=axes), y), x)


@pytest.mark.parametrize("cls", [Resize, Upscale])
def test_full_scale_changes_nothing(cls: type[PurifierSettings]) -> None:
    x = random_images(9, 7)
    torch.testing.assert_close(apply(cls.make(scale=1), x), x)


@pytest.mark.parametrize("resampling", [Image.Resampling.NEAREST, Image.Resampling.BILINEAR])
def test_resize_and_upscale_equal_pillow_within_two_levels(resampling: Image.Resampling) -> None:
    x = photographs(96, 112)
    cls = Resize if resampling == Image.Resampling.NEAREST else Upscale
    image = Image.fromarray(to_uint8(x)[0].permute(1, 2, 0).numpy())
    expected = np.array(image.resize((28, 24), Image.Resampling.BILINEAR).resize((112, 96), resampling))
    difference = to_uint8(apply(cls.make(scale=0.25), x))[0].permute(1, 2, 0).numpy().astype(int) - expected
    assert np.abs(difference).max() <= 2


def test_resize_has_only_the_pixels_of_the_small_image() -> None:
    y = apply(Resize(scale=0.5), random_images(8, 8))
    assert torch.equal(y, y[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert not torch.equal(y, apply(Upscale(scale=0.5), random_images(8, 8)))


def test_random_rotate_turns_every_image_by_its_own_angle() -> None:
    x = photographs(33, 47).double()
    limit, noise = 40, noise_for(x)
    angles = (2 * noise.replay().numbers(1)[:, 0].double() - 1) * limit
    assert angles[0] != angles[1]
    y = apply(RandomRotate(degrees=limit), x)
    for image, turned, angle in zip(x, y, angles, strict=True):
        options = {"axes": (1, 2), "reshape": False, "order": 1, "mode": "constant"}
        inside = slice(12, -12)  # at the border scipy stops interpolating half a pixel earlier
        expected = scipy.ndimage.rotate(image.numpy(), float(angle), **options)
        np.testing.assert_allclose(turned[:, inside, inside], expected[:, inside, inside], atol=1e-5)


def test_random_rotate_leaves_black_corners_and_spreads_over_the_whole_range() -> None:
    x = torch.ones(200, 3, 9, 9)
    y = apply(RandomRotate(degrees=50), x)
    assert y[:, :, 4, 4].min() > 0.999
    assert y[:, :, 0, 0].min() < 0.1
    angles = 2 * noise_for(x).numbers(1) - 1
    assert angles.min() < -0.9
    assert angles.max() > 0.9


def test_random_crop_is_a_window_enlarged() -> None:
    x = random_images(20, 12)
    noise = noise_for(x)
    tops, lefts = noise.integers(0, 6)[:, 0], noise.integers(0, 4)[:, 0]
    y = apply(RandomCrop(fraction=0.75), x)
    for image, result, top, left in zip(x, y, tops, lefts, strict=True):
        window = image[None, :, top : top + 15, left : left + 9]
        expected = torch.nn.functional.interpolate(window, (20, 12), mode="bilinear", align_corners=False)
        torch.testing.assert_close(result[None], expected)


def test_a_crop_of_everything_changes_nothing() -> None:
    x = random_images(9, 7)
    torch.testing.assert_close(apply(RandomCrop(fraction=1), x), x)


@given(height=st.integers(1, 12), width=st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_images_of_any_size_keep_it(height: int, width: int) -> None:
    x = random_images(height, width)
    for purifier in (GaussianBlur(kernel=7), MedianBlur(kernel=5), DiffJPEG(), JPEG(), Resize(scale=0.1),
                     Upscale(scale=0.1), RandomRotate(), RandomCrop(fraction=0.1)):  # fmt: skip
        y = apply(purifier, x)
        assert y.shape == x.shape
        assert y.isfinite().all()


@pytest.mark.parametrize("settings", [Resize(scale=0.5), Upscale(scale=0.5)])
def test_images_two_pixels_wide_are_reduced_like_images_two_pixels_high(settings: PurifierSettings) -> None:
    x = torch.rand(1, 3, 20, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(apply(settings, x), apply(settings, x.mT).mT)
