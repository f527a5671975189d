"""Published quality networks: names and values of torchvision and timm, patches by hand, weights read back."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional
from safetensors.torch import save_file
from torch import nn

from lustral.nets.iqa.bottleneck import RESNET50, RESNEXT101, BottleneckShape, bottleneck_stages
from lustral.nets.iqa.fpr import FPRNetwork, published_fpr
from lustral.nets.iqa.inception import inception_resnet_stages
from lustral.nets.iqa.koncept import KonCeptNetwork, published_koncept
from lustral.nets.iqa.linearity import LinearityNetwork, published_linearity
from lustral.nets.iqa.reading import load_published
from lustral.nets.iqa.spaq import SPAQNetwork, published_spaq
from lustral.weights import WeightsError
from tests.conftest_torchvision import require_torchvision
from tests.targets.examples import seeded_state
from tests.targets.published_networks import tiny_published

READERS: dict[str, Callable] = {
    "koncept512": published_koncept,
    "spaq": published_spaq,
    "linearity": published_linearity,
    "fpr": published_fpr,
}
UNUSED = {
    "linearity": ("regr6.weight", "regr7.bias"),
    "fpr": ("fl1.conv1.conv.0.weight", "cl2.bias", "wl1.weight_ih_l0", "InvRescaleNet.operations.0.F.conv1.weight"),
}


def seeded(network: nn.Module) -> nn.Module:
    network.load_state_dict(seeded_state(network))
    return network.eval().requires_grad_(False)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def pictures(n: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(height), dtype=torch.float64)


@pytest.mark.parametrize(("name", "shape"), [("resnet50", RESNET50), ("resnext101_32x8d", RESNEXT101)])
def test_bottleneck_networks_have_the_names_and_shapes_of_torchvision(name: str, shape: BottleneckShape) -> None:
    require_torchvision()
    import torchvision

    with torch.device("meta"):
        theirs = shapes(torchvision.models.get_model(name, weights=None))
        ours = shapes(nn.ModuleDict(bottleneck_stages(shape)))
    assert ours == {key: value for key, value in theirs.items() if not key.startswith("fc.")}


def test_bottleneck_networks_give_the_features_of_torchvision() -> None:
    require_torchvision()
    from torchvision.models import resnet

    theirs = seeded(resnet.ResNet(resnet.Bottleneck, [2, 1, 1, 1], groups=2, width_per_group=4)).double()
    ours = nn.Sequential()
    for name, stage in bottleneck_stages(BottleneckShape(64, 8, 2, (2, 1, 1, 1))).items():
        ours.add_module(name, stage)
    ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if not key.startswith("fc.")})
    x = pictures(1, 33, 50)
    features = ours.double().eval()(x)
    theirs.fc = nn.Identity()
    torch.testing.assert_close(features.mean((2, 3)), theirs(x))


@pytest.mark.slow
def test_inception_resnet_has_the_names_and_features_of_timm() -> None:
    require_torchvision()
    import timm

    parts = "conv2d_1a conv2d_2a conv2d_2b maxpool_3a conv2d_3b conv2d_4a maxpool_5a mixed_5b repeat mixed_6a"
    order = f"{parts} repeat_1 mixed_7a repeat_2 block8 conv2d_7b".split()
    with torch.device("meta"):
        theirs = timm.create_model("inception_resnet_v2", pretrained=False, num_classes=0).eval()
        ours = nn.Sequential(*inception_resnet_stages()).eval()
    place = {f"{name}.": f"{number}." for number, name in enumerate(order)}
    renamed = {place[key[: key.index(".") + 1]] + key[key.index(".") + 1 :]: key for key in theirs.state_dict()}
    assert {new: shapes(theirs)[old] for new, old in renamed.items()} == shapes(ours)
    noise = torch.randn(3_200_000, generator=torch.Generator().manual_seed(0))  # one pool: 55 million numbers are slow
    state = {}
    for number, (name, value) in enumerate(theirs.state_dict().items()):
        piece = noise[number : number + value.numel()].view(value.shape)
        fan_in = max(1, value[0].numel() if value.ndim > 1 else 1)
        plain = 1 + 0.1 * piece.abs() if not name.endswith(("bias", "mean")) else 0.1 * piece
        state[name] = piece * (2 / fan_in) ** 0.5 if value.ndim > 1 else plain.to(value.dtype)
    theirs.load_state_dict(state, assign=True)
    ours.load_state_dict({new: state[old] for new, old in renamed.items()}, assign=True)
    x = 2 * pictures(1, 75, 91).float() - 1
    with torch.no_grad():
        expected = theirs.forward_features(x)
        torch.testing.assert_close(ours(x), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("network", "millions", "some"),
    [
        (KonCeptNetwork, 59.82, {"base.8.9.branch2.2.conv.weight": (64, 48, 3, 3), "fc.12.weight": (1, 256)}),
        (SPAQNetwork, 23.5, {"backbone.layer4.2.conv3.weight": (2048, 512, 1, 1), "backbone.fc.weight": (1, 2048)}),
        (LinearityNetwork, 90, {"features.6.22.conv2.weight": (1024, 32, 3, 3), "dr7.4.weight": (64, 256)}),
        (FPRNetwork, None, {"sfl3.conv1.conv.0.weight": (512, 256, 3, 3), "swl1.weight_ih_l0": (96, 256)}),
    ],
)
def test_full_size_is_that_of_the_paper(
    network: Callable[[], nn.Module], millions: float | None, some: dict[str, tuple[int, ...]]
) -> None:
    with torch.device("meta"):
        built = network()
    assert some.items() <= shapes(built).items()
    if millions is not None:  # table 8 of the Guardians of image quality
        assert sum(value.numel() for value in built.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize("name", READERS)
def test_shape_is_read_off_the_weights_and_what_only_training_needs_is_dropped(name: str, tmp_path: Path) -> None:
    network = seeded(tiny_published(name))
    state = network.state_dict()
    path = tmp_path / "published.safetensors"
    save_file(state | {key: torch.ones(2) for key in UNUSED.get(name, ())}, path)
    loaded = load_published(READERS[name], str(path))
    assert loaded.state_dict().keys() == state.keys()
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)
    again = READERS[name](loaded.state_dict())[0]
    assert shapes(again) == shapes(network)


@pytest.mark.parametrize("name", READERS)
def test_other_weights_are_refused_with_what_was_expected(name: str, tmp_path: Path) -> None:
    path = tmp_path / "published.safetensors"
    save_file({"backbone.conv1.weight": torch.zeros(4, 3, 7, 7), "base.0.conv.weight": torch.zeros(())}, path)
    with pytest.raises(WeightsError, match=r"cannot use weights .*expected weights of .* with .*docs/targets.md"):
        load_published(READERS[name], str(path))
    state = seeded(tiny_published(name)).state_dict()
    save_file(state | {"surplus": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"1 unexpected \('surplus'\)"):
        load_published(READERS[name], str(path))


def test_spaq_is_the_mean_over_overlapping_patches_up_to_the_border() -> None:
    network = seeded(tiny_published("spaq")).double()
    x = pictures(1, 224, 400)
    crops = [x[:, :, :, left : left + 224] for left in (0, 112, 176)]
    by_hand = torch.stack([network.backbone(crop) for crop in crops]).mean()
    torch.testing.assert_close(network(x)[0], by_hand)


@pytest.mark.parametrize(("size", "seen"), [((520, 650), (512, 640)), ((511, 600), (511, 600)), ((20, 31), (224, 347))])
def test_spaq_reduces_what_has_512_pixels_and_enlarges_what_is_less_than_a_patch(
    size: tuple[int, int], seen: tuple[int, int]
) -> None:
    network = seeded(tiny_published("spaq"))
    network.backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1, bias=False))
    nn.init.constant_(network.backbone[2].weight, 1.0)
    x = pictures(1, *size).float()
    resized = functional.interpolate(x, seen, mode="bilinear", antialias=True) if size != seen else x
    unresized = SPAQNetwork(BottleneckShape(4, 4, 1, (1, 1, 1, 1)), resize=False)
    unresized.backbone = network.backbone
    torch.testing.assert_close(network(x), unresized(resized))


def test_linearity_maps_its_output_by_the_first_line() -> None:
    network = seeded(tiny_published("linearity")).double()
    x = pictures(2, 40, 33)
    network.k, network.b = torch.tensor([1.0, 5, 7]).double(), torch.tensor([0.0, 5, 7]).double()
    plain = network(x)
    network.k[0], network.b[0] = 3.0, -2.0
    torch.testing.assert_close(network(x), 3 * plain - 2)
    assert float(plain[0]) != float(plain[1])


def test_fpr_cuts_coloured_patches_column_by_column() -> None:
    x = pictures(2, 130, 200)
    found = FPRNetwork(4).patches(x)
    corners = [(row, column) for column in (0, 64, 128) for row in (0, 64)]
    by_hand = torch.stack([x[:, :, row : row + 64, column : column + 64] for row, column in corners], 1)
    torch.testing.assert_close(found, by_hand)
    planes = FPRNetwork(4, "planes").patches(x)
    assert planes.shape == found.shape
    for colour in range(3):  # the first patch of the benchmark holds three places of the red plane
        torch.testing.assert_close(planes[:, 0, colour], x[:, 0, :64, 64 * colour : 64 * (colour + 1)])


def test_fpr_weighs_patches_by_what_the_recurrent_layer_says() -> None:
    network = seeded(tiny_published("fpr")).double()
    x = pictures(1, 64, 192)
    one_by_one = torch.stack([network(x[..., left : left + 64])[0] for left in (0, 64, 128)])
    nn.init.zeros_(network.swl2.weight)
    nn.init.ones_(network.swl2.bias)
    torch.testing.assert_close(network(x)[0], one_by_one.mean())  # equal weights
    nn.init.constant_(network.swl2.weight, 2.0)
    features = network._features(network.patches(x)[0])[None]
    weights = (network.swl2(network.swl1(features)[0])[0, :, 0].relu() + 1e-8).detach()
    torch.testing.assert_close(network(x)[0], (weights * one_by_one).sum() / weights.sum())


@pytest.mark.parametrize("name", READERS)
def test_no_image_sees_another_and_the_gradient_is_the_slope(name: str) -> None:
    network = seeded(tiny_published(name)).double()
    size = (299, 299) if name == "koncept512" else (70, 66)
    x = pictures(2, *size).requires_grad_()
    scores = network(x)
    assert scores.shape == (2,)
    (gradient,) = torch.autograd.grad(scores[0], x)
    assert float(gradient[1].abs().max()) == 0.0
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        ends = [network(x[:1] + step * direction[:1])[0] for step in (1e-7, -1e-7)]
    slope = float(ends[0] - ends[1]) / 2e-7
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-3)
    assert slope != 0.0


def test_options_of_readers_reach_the_network() -> None:
    assert partial(published_spaq, resize=False)(tiny_published("spaq").state_dict())[0].resize is False
    assert partial(published_fpr, order="planes")(tiny_published("fpr").state_dict())[0].order == "planes"
