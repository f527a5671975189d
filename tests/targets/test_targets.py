"""Every target keeps its promises: shapes, normalisation inside, exact gradients, stable identity."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lustral.nets.quality import QualityNetwork
from lustral.nets.residual import ResidualClassifier, widths_of
from lustral.settings import SettingsError
from lustral.targets import TARGETS, PhotoQuality, ResidualTarget, ScenesClassifier, TargetSettings, parse_target
from lustral.weights import WeightsError, weight_card
from tests.targets.examples import adapter_network, example, save, save_trained_like


@pytest.fixture(params=TARGETS)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> TargetSettings:
    return example(request.param, tmp_path)


def images(n: int, side: int = 32) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(side))


def test_shapes_and_that_the_weights_are_frozen(settings: TargetSettings) -> None:
    target = settings.build()
    outputs = target(images(3))
    assert outputs.shape[0] == 3
    assert outputs.ndim == (1 if settings.kind == "quality" else 2)
    assert not target.training
    assert not any(parameter.requires_grad for parameter in target.parameters())


def test_an_image_does_not_depend_on_its_batch(settings: TargetSettings) -> None:
    target, x = settings.build(), images(3)
    torch.testing.assert_close(target(x)[1:2], target(x[1:2]), atol=1e-4, rtol=1e-4)


def test_gradient_is_the_derivative(settings: TargetSettings) -> None:
    target, x = settings.build().double(), images(1).double() * 0.8 + 0.1
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(target(x).flatten()[0], x)
    step = 1e-7 * direction
    with torch.no_grad():
        slope = (target(x + step).flatten()[0] - target(x - step).flatten()[0]) / 2e-7
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-3)
    assert float(gradient.abs().max()) > 0


def test_settings_survive_json_and_text(settings: TargetSettings) -> None:
    assert parse_target(json.loads(json.dumps(settings.to_json()))) == settings
    assert parse_target(settings) is settings


def test_digest_is_that_of_the_bytes_and_needs_no_build(settings: TargetSettings) -> None:
    digest = settings.weights_digest()
    assert digest == settings.weights_digest()
    fields = settings.to_json()
    path = Path(fields["weights"]) if "." in fields["weights"] else _zoo_file(fields["weights"])
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def _zoo_file(name: str) -> Path:
    import lustral.weights

    return lustral.weights.ZOO / weight_card(name).file


def test_other_sha256_is_refused(settings: TargetSettings) -> None:
    wrong = settings.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(WeightsError, match="expected the sha256 asked for"):
        wrong.build()
    right = settings.model_copy(update={"sha256": settings.weights_digest().upper()})
    right.build()
    assert right.weights_digest() == settings.weights_digest()


def test_normalisation_is_inside(tmp_path: Path) -> None:
    network = ResidualClassifier(7, (8, 12))
    target = ResidualTarget(weights=save_trained_like(tmp_path, network)).build()
    x, mean, std = images(2), torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    bare = network.eval()((x - mean[:, None, None]) / std[:, None, None])
    torch.testing.assert_close(target(x), bare, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "mean", "std", "side"),
    [
        ("timm", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 160),
        ("torchvision", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224),
    ],
)
def test_adapters_normalise_and_resize_as_the_library_states(
    name: str, mean: tuple[float, ...], std: tuple[float, ...], side: int, tmp_path: Path
) -> None:
    network, settings = adapter_network(name), example(name, tmp_path)
    x = images(1, side)
    bare = network((x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])
    torch.testing.assert_close(settings.build()(x), bare, atol=1e-4, rtol=1e-4)
    small = images(1, 48)
    resized = torch.nn.functional.interpolate(small, (side, side), mode="bilinear", antialias=True)
    torch.testing.assert_close(settings.build()(small), settings.build()(resized), atol=1e-4, rtol=1e-4)
    as_it_is = settings.model_copy(update={"any_size": True}).build()
    assert not torch.allclose(as_it_is(small), settings.build()(small), atol=1e-4)


@pytest.mark.parametrize("name", ["timm", "torchvision"])
def test_adapters_name_what_is_wrong(name: str, tmp_path: Path) -> None:
    settings = example(name, tmp_path)
    with pytest.raises(SettingsError, match=r"has no .*resnet1888"):
        settings.model_copy(update={"architecture": "resnet1888"}).build()
    with pytest.raises(WeightsError, match="do not fit"):
        settings.model_copy(update={"num_classes": 11}).build()


def test_missing_extra_is_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r'^timm cannot be imported .*; pip install "lustral\[classify\]"$'):
        parse_target("timm:architecture=resnet18,weights=w.safetensors").build()


def test_settings_load_no_torch() -> None:
    code = (
        "import sys; from lustral.targets import TARGETS, parse_target; from lustral.train import TRAININGS;"
        "t = parse_target('scenes_classifier'); t.weights_digest(); t.to_json(); parse_target('photo_quality').range;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(SettingsError, match=r"unknown target .resnet.*known targets: .*scenes_classifier"):
        parse_target("resnet")
    with pytest.raises(SettingsError, match="unknown setting 'wieghts' of residual"):
        parse_target("residual:wieghts=x")
    with pytest.raises(WeightsError, match=r"unknown weights .*known.* scenes_classifier"):
        ResidualTarget(weights="scene_classifier").build()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, torch.nn.Linear(3, 3))
    with pytest.raises(WeightsError, match="expected tensors mean and std"):
        ResidualTarget(weights=path).build()
    quality = save_trained_like(tmp_path, QualityNetwork((8, 12)))
    with pytest.raises(WeightsError, match="do not fit ResidualClassifier"):
        ResidualTarget(weights=quality).build()


@pytest.mark.parametrize("widths", [(8,), (8, 12), (4, 8, 12, 16)])
def test_widths_are_read_from_the_weights(widths: tuple[int, ...]) -> None:
    assert widths_of(ResidualClassifier(3, widths).state_dict()) == widths
    assert widths_of(QualityNetwork(widths).state_dict()) == widths
    with pytest.raises(ValueError, match="expected weights of a residual network"):
        widths_of(torch.nn.Linear(2, 2).state_dict())


def test_quality_range_of_a_local_file_must_be_given(tmp_path: Path) -> None:
    path = save_trained_like(tmp_path, QualityNetwork((8, 12)))
    with pytest.raises(ValueError, match="give low and high"):
        _ = PhotoQuality(weights=path).range
    assert PhotoQuality(weights=path, low=0.1, high=0.9).range == (0.1, 0.9)


def test_quality_takes_any_size_of_at_least_32() -> None:
    target = PhotoQuality().build()
    assert target(torch.rand(2, 3, 33, 57)).shape == (2,)
    with pytest.raises(ValueError, match="at least 32"):
        target(torch.rand(1, 3, 31, 64))


def test_quality_is_the_average_over_patches() -> None:
    network = QualityNetwork((4,)).eval()
    tile = torch.rand(1, 3, 32, 32)
    whole = network(tile.repeat(1, 1, 8, 8))
    edge_free = network(tile.repeat(1, 1, 4, 4))
    assert float((whole - edge_free).detach().abs()) < 0.1 * float(edge_free.detach().abs()) + 0.02


def test_digest_of_shipped_weights_is_in_the_registry() -> None:
    assert ScenesClassifier().weights_digest() == weight_card("scenes_classifier").sha256


def test_the_sign_follows_the_direction():
    signs = [parse_target(f"photo_quality:direction={direction}").sign for direction in ("up", "down", "both")]
    assert signs == [1, -1, 0]
