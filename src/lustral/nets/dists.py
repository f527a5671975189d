"""DISTS: similarity of structure and of texture in the features of VGG16."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.backbones import WIDTHS, backbone_of, load_together, vgg16
from lustral.nets.distance import Distance
from lustral.weights import WeightsError, load_into

__all__ = ["DISTS", "L2Pool", "load_dists"]

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_STABLE = 1e-6  # c1 and c2 of the authors' code
_TINY = 1e-12
_WINDOW = (0.25, 0.5, 0.25)  # Hann's of 5 points without its zeros at the ends, of sum 1


class L2Pool(nn.Module):
    """Root of the weighted mean of squares around every second place.

    Shape: (n, c, h, w) -> (n, c, (h + 1) // 2, (w + 1) // 2).

    Source: Ding et al., arXiv:2004.07728, as in their code.
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c g v"]:
        channels = x.shape[1]
        window = x.new_tensor(_WINDOW)
        kernel = (window[:, None] * window).expand(channels, 1, 3, 3)
        return (functional.conv2d(x.square(), kernel, stride=2, padding=1, groups=channels) + _TINY).sqrt()


class DISTS(Distance):
    """One less the similarity of means (texture) and of deviations from them (structure), weighed by channel.

    The channels are those of the image and of the five stages of VGG16. Names and shapes are those of published
    weights: ``features`` of torchvision, ``alpha`` and ``beta`` of the authors.

    Cost: one pass of VGG16 per image, 14.7 million weights.

    Args:
        widths: channels of the five stages; None are those of the published weights.

    Source: Ding et al., arXiv:2004.07728, and the authors' code for its constants.
    Differs: images are taken at their size; the authors shrink theirs first, to a shorter side of 256 pixels. The
        covariance is the mean of products of deviations, so that nothing is lost to rounding and equal images are 0.
    """

    def __init__(self, widths: Sequence[int] | None = None) -> None:
        super().__init__()
        widths = WIDTHS["vgg16"] if widths is None else widths
        self.features = vgg16(widths, L2Pool)
        self.alpha, self.beta = (nn.Parameter(torch.ones(1, 3 + sum(widths), 1, 1)) for _ in range(2))

    def describe(self, x: Float[Tensor, "n 3 h w"]) -> Sequence[Tensor]:
        """The image, and the features at the end of every stage."""
        mean, std = (x.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
        return [x, *self.features((x - mean) / std)]

    def compare(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> Float[Tensor, " n"]:
        textures, structures = zip(*map(_differences, one, other), strict=True)
        apart = self.alpha.flatten() * torch.cat(textures, 1) + self.beta.flatten() * torch.cat(structures, 1)
        return apart.sum(1) / (self.alpha.sum() + self.beta.sum())


def _differences(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """One less the similarity of the means, and of the structures, of every channel, each (n, c)."""
    mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
    from_a, from_b = a - mean_a[:, :, None, None], b - mean_b[:, :, None, None]
    texture = (2 * mean_a * mean_b + _STABLE) / (mean_a.square() + mean_b.square() + _STABLE)
    deviations = from_a.square().mean((2, 3)) + from_b.square().mean((2, 3))
    structure = (2 * (from_a * from_b).mean((2, 3)) + _STABLE) / (deviations + _STABLE)
    return 1 - texture, 1 - structure


def load_dists(*files: str) -> DISTS:
    """DISTS with published weights, in evaluation mode.

    Args:
        files: paths of safetensors files that hold alpha and beta and the backbone, in one file or in two.

    Raises:
        WeightsError: no files, or they cannot be read or are of another network.
    """
    if not files:
        raise WeightsError(
            "DISTS needs weights that do not ship with lustral: weights.pt of dingkeyan93/DISTS and VGG16 of "
            "torchvision, each made a safetensors file by safetensors.torch.save_file(torch.load(path, "
            "weights_only=True), 'x.safetensors'); give the paths of both"
        )
    weights = load_together(files)
    backbone, widths = backbone_of(weights)
    if backbone != "vgg16":
        raise WeightsError(f"weights {weights.name}: DISTS needs VGG16, got {backbone}; use the weights of VGG16")
    with torch.device("meta"):  # neither memory nor random numbers for weights that are replaced at once
        network = DISTS(widths)
    load_into(network, weights)
    return network.eval().requires_grad_(False)
