"""Full-reference measures with gradients."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import conv2d, max_pool2d

from lustral.measures import fidelity
from lustral.nets.backbones import WIDTHS, alexnet, vgg16
from lustral.nets.dists import DISTS, L2Pool
from lustral.nets.full_reference import FULL_REFERENCE, SSIM, full_reference
from lustral.nets.lpips import LPIPS
from lustral.weights import WeightsError
from tests.conftest_torchvision import require_torchvision
from tests.nets.perceptual import fill, tiny, two_files

NAMES = ("ssim_uniform", "ssim_gaussian", "alexnet", "vgg16", "dists")
NETWORKS = NAMES[2:]
ALEXNET, VGG16 = (0, 3, 6, 8, 10), (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def make(name):
    return full_reference(name) if name.startswith("ssim") else tiny(name)


def pair(n, height=33, width=37, noise=0.1):
    generator = torch.Generator().manual_seed(height)
    x = torch.rand(n, 3, height, width, generator=generator, dtype=torch.float64)
    smooth = torch.nn.functional.avg_pool2d(x, 5, 1, 2)
    return (smooth + noise * torch.randn(x.shape, generator=generator, dtype=torch.float64)).clamp(0, 1), smooth


@pytest.mark.parametrize(("height", "width"), [(33, 37), (11, 12)])
@pytest.mark.parametrize("name", ["ssim_uniform", "ssim_gaussian"])
def test_ssim_equals_the_one_that_reports_are_made_with(name, height, width):
    x, reference = pair(3, height, width)
    arrays = [images.permute(0, 2, 3, 1).numpy() for images in (x, reference)]
    theirs = 1 - getattr(fidelity, name)(*arrays)
    assert theirs.min() > 0.01
    np.testing.assert_allclose(full_reference(name)(x, reference).numpy(), theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_distances_are_per_image_and_zero_for_equal_images(name):
    measure = make(name)
    x, reference = pair(3)
    together = measure(x, reference)
    assert together.shape == (3,)
    assert (together > 1e-3).all()
    assert measure(x, x).abs().amax() < 1e-12
    torch.testing.assert_close(measure(x[1:2], reference[1:2]), together[1:2], rtol=0, atol=1e-12)
    nearer = measure(reference + (x - reference) / 10, reference)
    assert (nearer < together).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_slopes_of_finite_differences(name):
    measure = make(name)
    x, reference = pair(2)
    leaf = x.clone().requires_grad_()
    gradient = torch.autograd.grad(measure(leaf, reference).sum(), leaf)[0]
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        way = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        ahead, behind = (measure(x + step * way, reference) for step in (1e-6, -1e-6))
        expected = (gradient * way).flatten(1).sum(1)
        torch.testing.assert_close((ahead - behind) / 2e-6, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_finite_where_nothing_differs_or_nothing_is_there(name):
    measure = make(name)
    for x in (torch.zeros(1, 3, 32, 32, dtype=torch.float64), pair(1)[0]):
        leaf = x.clone().requires_grad_()
        gradient = torch.autograd.grad(measure(leaf, x).sum(), leaf)[0]
        assert gradient.isfinite().all()
        assert gradient.abs().amax() < 1e-9


def _convolved(state, place, h, **options):
    return conv2d(h, state[f"features.{place}.weight"], state[f"features.{place}.bias"], **options).clamp_min(0)


def _vgg16(state, h, pool):
    places, found = iter(VGG16), []
    for depth in (2, 2, 3, 3, 3):
        h = pool(h) if found else h
        for _ in range(depth):
            h = _convolved(state, next(places), h, padding=1)
        found.append(h)
    return found


def _alexnet(state, h):
    one = _convolved(state, 0, h, stride=4, padding=2)
    two = _convolved(state, 3, max_pool2d(one, 3, 2), padding=2)
    three = _convolved(state, 6, max_pool2d(two, 3, 2), padding=1)
    four = _convolved(state, 8, three, padding=1)
    return [one, two, three, four, _convolved(state, 10, four, padding=1)]


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_lpips_is_its_published_formula(name):
    """Pixel by pixel: unit vectors of features, squared differences weighed by channel, means over places, summed."""
    network = tiny(name)
    state, (x, reference) = network.state_dict(), pair(1)
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64)[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64)[:, None, None]
    body = _alexnet if name == "alexnet" else lambda state, h: _vgg16(state, h, lambda h: max_pool2d(h, 2))
    stages = [body(state, (2 * image - 1 - shift) / scale) for image in (x, reference)]
    total = 0.0
    for stage, (a, b) in enumerate(zip(*stages, strict=True)):
        weight = state[f"lin{stage}.model.1.weight"].flatten().numpy()
        height, width = a.shape[2:]
        for i in range(height):
            for j in range(width):
                u, v = a[0, :, i, j].numpy(), b[0, :, i, j].numpy()
                u, v = u / (np.sqrt((u**2).sum()) + 1e-10), v / (np.sqrt((v**2).sum()) + 1e-10)
                total += (weight * (u - v) ** 2).sum() / (height * width)
    assert network(x, reference).item() == pytest.approx(total, rel=1e-9)


def test_dists_is_its_published_formula():
    """Means, variances and the covariance of every channel, with stabilisers of 1e-6."""
    network = tiny("dists")
    state, (x, reference) = network.state_dict(), pair(1)
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)[:, None, None]
    one, other = (torch.cat([part.flatten(2) for part in [image]], 1) for image in (x, reference))
    pairs = [(one, other)]
    for a, b in zip(*(_vgg16(state, (image - mean) / std, L2Pool()) for image in (x, reference)), strict=True):
        pairs.append((a.flatten(2), b.flatten(2)))
    alpha, beta = (state[key].flatten().numpy() for key in ("alpha", "beta"))
    similar, channel = 0.0, 0
    for a, b in pairs:
        for u, v in zip(a[0].numpy(), b[0].numpy(), strict=True):
            covariance = np.cov(u, v, bias=True)
            texture = (2 * u.mean() * v.mean() + 1e-6) / (u.mean() ** 2 + v.mean() ** 2 + 1e-6)
            structure = (2 * covariance[0, 1] + 1e-6) / (covariance[0, 0] + covariance[1, 1] + 1e-6)
            similar += alpha[channel] * texture + beta[channel] * structure
            channel += 1
    assert channel == len(alpha)
    assert network(x, reference).item() == pytest.approx(1 - similar / (alpha.sum() + beta.sum()), rel=1e-9)


def test_l2_pooling_weighs_squares_by_the_window_of_hann():
    x = pair(1, 7, 6)[0]
    window = np.outer(np.hanning(5)[1:-1], np.hanning(5)[1:-1])
    padded = np.pad(x.numpy()[0], ((0, 0), (1, 1), (1, 1)))
    pooled = L2Pool()(x)
    assert pooled.shape == (1, 3, 4, 3)
    for i, j in ((0, 0), (3, 1), (1, 2)):
        patch = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        expected = np.sqrt((patch**2 * window / window.sum()).sum((1, 2)) + 1e-12)
        np.testing.assert_allclose(pooled[0, :, i, j].numpy(), expected, rtol=1e-12)


def test_layers_are_those_of_torchvision():
    require_torchvision()
    import torchvision

    with torch.device("meta"):
        for ours, theirs, last in (
            (alexnet(WIDTHS["alexnet"]), torchvision.models.alexnet(), 12),
            (vgg16(WIDTHS["vgg16"]), torchvision.models.vgg16(), 30),
        ):
            assert [repr(layer) for layer in ours] == [repr(layer) for layer in theirs.features[:last]]
            names = {key for key in theirs.state_dict() if key.startswith("features.")}
            assert {f"features.{key}" for key in ours.state_dict()} == names


@pytest.mark.parametrize(
    ("network", "places", "heads"),
    [
        (lambda: LPIPS("alexnet"), ALEXNET, [64, 192, 384, 256, 256]),
        (lambda: LPIPS("vgg16"), VGG16, [64, 128, 256, 512, 512]),
        (DISTS, VGG16, None),
    ],
    ids=["lpips_alexnet", "lpips_vgg16", "dists"],
)
def test_names_and_shapes_are_those_of_published_weights(network, places, heads):
    with torch.device("meta"):
        state = network().state_dict()
    expected = {f"features.{place}.{kind}" for place in places for kind in ("weight", "bias")}
    if heads is None:
        others = {"alpha": (1, 1475, 1, 1), "beta": (1, 1475, 1, 1)}
    else:
        others = {f"lin{stage}.model.1.weight": (1, width, 1, 1) for stage, width in enumerate(heads)}
    assert set(state) == expected | set(others)
    assert {name: tuple(state[name].shape) for name in others} == others
    last = state[f"features.{places[-1]}.weight"]
    assert tuple(last.shape) == ((256, 256, 3, 3) if places == ALEXNET else (512, 512, 3, 3))


@pytest.mark.parametrize("name", NETWORKS)
def test_published_files_are_read_in_one_or_two_parts(name, tmp_path):
    network = tiny(name)
    measure = "dists" if name == "dists" else "lpips"
    x, reference = pair(2)
    expected = network.float()(x.float(), reference.float())
    files, whole = two_files(network, tmp_path), tmp_path / "whole.safetensors"
    save_file(network.state_dict(), whole)
    for paths in (files, files[::-1], (str(whole),)):
        loaded = full_reference(measure, *paths)
        assert not loaded.training
        assert not any(weight.requires_grad for weight in loaded.parameters())
        assert torch.equal(loaded(x.float(), reference.float()), expected)
    assert loaded.double()(x, reference).dtype == torch.float64


def test_bad_weights_are_refused(tmp_path):
    for name in ("lpips", "dists"):
        with pytest.raises(WeightsError, match=r"weights that do not ship with lustral.*give the paths of both"):
            full_reference(name)
    heads, backbone = two_files(tiny("alexnet"), tmp_path)
    with pytest.raises(WeightsError, match="DISTS needs VGG16, got alexnet"):
        full_reference("dists", heads, backbone)
    with pytest.raises(WeightsError, match=r"neither AlexNet nor VGG16.*got lin0\.model\.1\.weight"):
        full_reference("lpips", heads)
    with pytest.raises(WeightsError, match=r"backbone.*do not fit LPIPS: 5 missing"):
        full_reference("lpips", backbone)
    with pytest.raises(ValueError, match="ssim_uniform has no weights"):
        full_reference("ssim_uniform", heads)
    with pytest.raises(ValueError, match="unknown full-reference measure 'psnr'; known: ssim_uniform"):
        full_reference("psnr")


@pytest.mark.parametrize(("name", "side"), [("ssim_uniform", 7), ("ssim_gaussian", 11), ("alexnet", 31), ("vgg16", 16)])
def test_the_smallest_image_is_the_one_stated(name, side):
    measure = make(name)
    assert measure.smallest == side
    x, reference = pair(1, side, side)
    assert measure(x, reference).isfinite().all()
    with pytest.raises(ValueError, match=f"at least {side} pixels, got {side} x {side - 1}"):
        measure(x[..., 1:], reference[..., 1:])
    if name in NETWORKS:
        with pytest.raises(RuntimeError):  # there is really nothing left of a smaller one
            measure.describe(x[..., 1:])


def test_dists_takes_a_single_pixel_and_shapes_must_be_equal():
    measure = tiny("dists")
    x = torch.rand(2, 3, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (measure(x, 1 - x) > 0).all()
    with pytest.raises(ValueError, match="must have one shape"):
        measure(x, x[:1])


def test_the_two_windows_of_ssim_are_different_measures():
    x, reference = pair(2)
    assert set(FULL_REFERENCE) == {"ssim_uniform", "ssim_gaussian", "lpips", "dists"}
    assert (SSIM("uniform")(x, reference) - SSIM("gaussian")(x, reference)).abs().min() > 1e-3
    assert not torch.equal(fill(LPIPS("vgg16", (2,) * 5), 1)(x, reference), tiny("vgg16")(x, reference))
