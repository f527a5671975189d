"""LPIPS: distance of images in the features of a network that was trained for something else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.linalg import vector_norm

from lustral.nets.backbones import BACKBONES, WIDTHS, Backbone, backbone_of, load_together
from lustral.nets.distance import Distance
from lustral.weights import WeightsError, load_into

__all__ = ["LPIPS", "load_lpips"]

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of images in [-1, 1]
_TINY = 1e-10
_SMALLEST: dict[Backbone, int] = {"alexnet": 31, "vgg16": 16}  # of a shorter side nothing arrives at the last stage


class LPIPS(Distance):
    """Squared differences of unit-length features, weighed by channel, averaged over places, added over stages.

    Names and shapes are those of published weights: ``features`` of torchvision, ``lin0`` to ``lin4`` of the authors.

    Cost: one pass of the backbone per image: 2.5 million weights of AlexNet, 14.7 million of VGG16.

    Args:
        backbone: "alexnet" or "vgg16".
        widths: channels of its five stages; None are those of the published weights.

    Source: Zhang et al., arXiv:1801.03924, equation 1; constants of the authors' code, version 0.1 ("lin").
    Differs: images are in [0, 1], which the authors' code takes with ``normalize=True``.
    """

    def __init__(self, backbone: Backbone = "alexnet", widths: Sequence[int] | None = None) -> None:
        super().__init__()
        widths = WIDTHS[backbone] if widths is None else widths
        self.smallest = _SMALLEST[backbone]
        self.features = BACKBONES[backbone](widths)
        for stage, width in enumerate(widths):
            head = nn.Sequential(nn.Identity(), nn.Conv2d(width, 1, 1, bias=False))  # dropout stood in its place
            self.add_module(f"lin{stage}", nn.Sequential(OrderedDict(model=head)))

    def describe(self, x: Float[Tensor, "n 3 h w"]) -> Sequence[Tensor]:
        """Features at the end of every stage, of unit length at every place."""
        shift, scale = (x.new_tensor(values)[:, None, None] for values in (_SHIFT, _SCALE))
        found = self.features((2 * x - 1 - shift) / scale)
        return [part / (vector_norm(part, dim=1, keepdim=True) + _TINY) for part in found]

    def compare(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> Float[Tensor, " n"]:
        parts = [
            self.get_submodule(f"lin{stage}")((a - b).square()).mean((1, 2, 3))
            for stage, (a, b) in enumerate(zip(one, other, strict=True))
        ]
        return torch.stack(parts).sum(0)


def load_lpips(*files: str) -> LPIPS:
    """LPIPS with published weights, in evaluation mode; which backbone it is the weights tell.

    Args:
        files: paths of safetensors files that hold the heads and the backbone, in one file or in two.

    Raises:
        WeightsError: no files, or they cannot be read or are of another network.
    """
    if not files:
        raise WeightsError(
            "LPIPS needs weights that do not ship with lustral: lpips/weights/v0.1/alex.pth (or vgg.pth) of "
            "PerceptualSimilarity and AlexNet (or VGG16) of torchvision, each made a safetensors file by "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), 'x.safetensors'); give the paths of both"
        )
    weights = load_together(files)
    backbone, widths = backbone_of(weights)
    with torch.device("meta"):  # neither memory nor random numbers for weights that are replaced at once
        network = LPIPS(backbone, widths)
    load_into(network, weights)
    return network.eval().requires_grad_(False)
