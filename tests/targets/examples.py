"""One ready-to-build example of every target; adapters get small networks with seeded weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from lustral.nets.quality import QualityNetwork
from lustral.nets.residual import ResidualClassifier
from lustral.seeds import seed_of
from lustral.targets import TargetSettings, parse_target
from tests.conftest_torchvision import require_torchvision
from tests.targets.fake_pyiqa import install_fake_pyiqa
from tests.targets.published_networks import tiny_published

TIMM = "test_resnet"
TORCHVISION = "shufflenet_v2_x0_5"


def seeded_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights that depend only on names and shapes, so that golden values need no stored file."""
    state: dict[str, torch.Tensor] = {}
    for name, value in network.state_dict().items():
        numbers = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed_of(name)))
        fan_in = value[0].numel() if value.ndim > 1 else 1
        if not value.is_floating_point():
            state[name] = torch.zeros_like(value)
        elif value.ndim > 1:
            state[name] = numbers * (2 / fan_in) ** 0.5
        else:
            state[name] = 0.1 * numbers if name.endswith(("bias", "running_mean")) else 1 + 0.1 * numbers.abs()
    return state


def adapter_network(name: str) -> torch.nn.Module:
    """The bare network, with seeded weights, that the examples of the adapters hold."""
    require_torchvision()
    import timm
    import torchvision

    if name == "timm":
        network = timm.create_model(TIMM, pretrained=False, num_classes=10)
    else:
        network = torchvision.models.get_model(TORCHVISION, weights=None, num_classes=10)
    network.load_state_dict(seeded_state(network))
    return network.eval()


def save(folder: Path, network: torch.nn.Module, **extra: torch.Tensor) -> str:
    path = folder / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in (network.state_dict() | extra).items()}, path)
    return str(path)


def save_trained_like(folder: Path, network: ResidualClassifier | QualityNetwork) -> str:
    """A file as ``lustral train`` writes it: the network with seeded weights and its normalisation."""
    network.load_state_dict(seeded_state(network))
    return save(folder, network, mean=torch.tensor([0.4, 0.5, 0.6]), std=torch.tensor([0.2, 0.25, 0.3]))


def example(name: str, folder: Path) -> TargetSettings:
    """Settings of the target ``name``; what has no weights of its own finds them in ``folder``."""
    if name == "residual":
        weights = save_trained_like(folder, ResidualClassifier(7, (8, 12)))
        return parse_target({"name": name, "weights": weights})
    if name in ("timm", "torchvision"):
        architecture = TIMM if name == "timm" else TORCHVISION
        weights = save(folder, adapter_network(name))
        return parse_target({"name": name, "architecture": architecture, "weights": weights, "num_classes": 10})
    if name in ("koncept512", "spaq", "linearity", "fpr"):
        network = tiny_published(name)
        network.load_state_dict(seeded_state(network))
        preprocessing = "benchmark" if name == "linearity" else "original"  # its own size is slow
        return parse_target({"name": name, "weights": save(folder, network), "preprocessing": preprocessing})
    if name == "iqa":
        network = install_fake_pyiqa().TinyNetwork()
        network.load_state_dict(seeded_state(network))
        return parse_target({"name": name, "metric": "topiq_nr", "weights": save(folder, network)})
    return parse_target(name)
