"""Train a no-reference quality network on photographs with graded distortions, and judge what came out."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from lustral.data.base import ImageSet, MissingData, require_file
from lustral.data.builtin import PHOTOGRAPHS, photograph, resized_to
from lustral.data.parquet import read_images
from lustral.data.photos import FILES, ORIGINS, PIXELS
from lustral.measures.correlation import plcc, srocc
from lustral.nets.plain_quality import PlainQualityNetwork
from lustral.nets.quality import QualityNetwork
from lustral.nets.transformer_quality import TransformerQualityNetwork
from lustral.train.loop import as_tensor, channel_statistics, optimise
from lustral.train.settings import Progress, QualityTraining

__all__ = [
    "QualityTraining",
    "kodak_or_builtin",
    "quality_network",
    "quality_network_fitting",
    "quality_scores",
    "score_range",
    "train_quality",
]

_NETWORKS = {"photo": QualityNetwork, "plain": PlainQualityNetwork, "transformer": TransformerQualityNetwork}


def quality_network(settings: QualityTraining) -> nn.Module:
    """The untrained network that the settings describe."""
    if settings.network == "transformer":
        return TransformerQualityNetwork(settings.widths[0], settings.blocks)
    return PlainQualityNetwork(settings.widths) if settings.network == "plain" else QualityNetwork(settings.widths)


def quality_network_fitting(settings: QualityTraining, weights: Mapping[str, Tensor]) -> nn.Module:
    """The network of the kind that the settings name, with the weights of ``train_quality``."""
    rest = {key: value for key, value in weights.items() if key not in ("mean", "std")}
    network = _NETWORKS[settings.network].fitting(rest)
    network.load_state_dict(rest)
    return network


@torch.no_grad()
def quality_scores(
    model: nn.Module, images: Iterable[NDArray[np.uint8]], mean: Tensor, std: Tensor
) -> NDArray[np.float64]:
    """Scores (n,) of uint8 images (h, w, 3) of any sizes, one by one; ``mean`` and ``std`` have shape (3,)."""
    model.eval()
    scores: list[float] = []
    for image in images:
        x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].to(mean.device).float().div_(255)
        scores.append(float(model((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))))
    return np.asarray(scores, dtype=np.float64)


def _jpeg10(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=10)
    with Image.open(file, formats=("JPEG",)) as picture:
        return np.asarray(picture)


def score_range(
    model: nn.Module, photographs: Iterable[NDArray[np.uint8]], mean: Tensor, std: Tensor
) -> tuple[float, float]:
    """Lower and upper bound of the scores, by which attacks on a quality metric are measured.

    The upper bound is the highest score of the clean photographs, the lower bound the lowest among their
    JPEG versions of quality 10 and images of uniform random noise of the same sizes.

    Source: paper 000, appendix A.3. Differs: the photographs are those given (the paper takes DIV2K
        validation); one noise image per photograph (the paper does not say how many).
    """
    clean = list(photographs)
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, image.shape, dtype=np.uint8) for image in clean]
    low = quality_scores(model, [_jpeg10(image) for image in clean] + noise, mean, std)
    return float(low.min()), float(quality_scores(model, clean, mean, std).max())


def kodak_or_builtin() -> tuple[str, list[NDArray[np.uint8]]]:
    """Clean photographs for ``score_range`` and their name: Kodak where it is, else the built-in ones."""
    try:
        path = require_file(FILES["kodak"], None, ORIGINS["kodak"])
    except MissingData:
        return "the built-in photographs", [resized_to(photograph(name), PIXELS) for name in PHOTOGRAPHS]
    return "the 24 Kodak photographs", read_images(path)[0]


def _views(x: Tensor, side: int, mirror: bool, generator: torch.Generator) -> Tensor:
    """A random square part (n, 3, side, side) of every image (n, 3, h, w) in one of many equivalent views.

    Quality does not change when a picture is mirrored, transposed or its colour channels swap places; with
    ten photographs to learn from, the network must be told.
    """
    n, _, height, width = x.shape
    top = torch.randint(0, height - side + 1, (n,), generator=generator)
    left = torch.randint(0, width - side + 1, (n,), generator=generator)
    rows = (top[:, None] + torch.arange(side))[:, None, :, None]
    columns = (left[:, None] + torch.arange(side))[:, None, None, :]
    channels = torch.arange(3).expand(n, 3)
    if mirror:
        channels = torch.rand(n, 3, generator=generator).argsort(1)
    x = x[torch.arange(n)[:, None, None, None], channels[:, :, None, None], rows, columns]
    if not mirror:
        return x
    transposed, across, down = torch.rand(3, n, 1, 1, 1, generator=generator) < 0.5
    x = torch.where(transposed, x.transpose(2, 3), x)
    x = torch.where(across, x.flip(3), x)
    return torch.where(down, x.flip(2), x)


def spread(similarity: Tensor) -> Tensor:
    """What the network learns, ``1 - sqrt(1 - similarity)``: it orders alike and spreads the mild distortions.

    >>> spread(torch.tensor([0.0, 0.96, 1.0]))
    tensor([0.0000, 0.8000, 1.0000])
    """
    return 1 - (1 - similarity).clamp_min(0).sqrt()


def train_quality(
    settings: QualityTraining,
    train: ImageSet,
    test: ImageSet,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train, and return the averaged weights with ``mean`` and ``std`` buffers, and a record of the run.

    A run that finds ``checkpoint`` goes on from there, see ``lustral.train.loop.optimise``.

    Cost: ``epochs * len(train)`` forward and backward passes of ``window`` pixels squared, in
        bfloat16 except for the transformer, whose small matrices are faster in float32.

    Raises:
        ValueError: ``window`` is larger than the training images.
    """
    x_train, y_train = as_tensor(train), spread(torch.from_numpy(train.truth.astype(np.float32)))
    if settings.window > min(x_train.shape[2:]):
        raise ValueError(f"window={settings.window} must not exceed the training images {tuple(x_train.shape[2:])}")
    mean_list, std_list = channel_statistics(x_train)
    mean, std = torch.tensor(mean_list, device=device), torch.tensor(std_list, device=device)

    def loss_of(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        x = _views(x_train[rows], settings.window, settings.mirror, generator).to(device).float().div_(255)
        x = ((x - mean.view(3, 1, 1)) / std.view(3, 1, 1)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=settings.network != "transformer"):
            scores = model(x)
        return functional.smooth_l1_loss(scores.float(), y_train[rows].to(device), beta=0.1)

    def score(model: nn.Module) -> dict[str, float]:
        found = quality_scores(model, test.images, mean, std)
        return {"test_srocc": srocc(found, test.truth), "test_plcc": plcc(found, test.truth)}

    def make() -> nn.Module:
        return quality_network(settings)

    weights, history = optimise(settings, make, len(x_train), loss_of, score, checkpoint, progress, device)
    weights |= {"mean": mean.cpu(), "std": std.cpu()}
    scores = {key: history[-1][key] for key in ("test_srocc", "test_plcc")}
    return weights, {"history": history, **scores, "test_images": len(test)}
