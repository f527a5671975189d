"""The network for colorization with hints of Zhang et al. 2017, which takes its published weights."""

from __future__ import annotations

import re

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lustral.weights import LoadedWeights, WeightsError, load_into, load_weights

__all__ = ["MULTIPLE", "Colorization", "load_colorization"]

MULTIPLE = 8
"""Sides of images are multiples of this."""


def _block(inputs: int, width: int, layers: int, dilation: int = 1) -> nn.Sequential:
    """Convolutions, each followed by a ReLU, and a normalisation at the end."""
    parts: list[nn.Module] = []
    for layer in range(layers):
        parts += [nn.Conv2d(width if layer else inputs, width, 3, padding=dilation, dilation=dilation), nn.ReLU()]
    return nn.Sequential(*parts, nn.BatchNorm2d(width))


def _shortcut(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1))


def _twice(inputs: int, width: int) -> nn.Sequential:
    """To twice the size."""
    return nn.Sequential(nn.ConvTranspose2d(inputs, width, 4, stride=2, padding=1))


class Colorization(nn.Module):
    """From lightness and some hints to colours, and to a distribution over colours.

    Names and shapes are those of the published weights ("siggraph17"). It is meant for evaluation mode, in
    which no image depends on the others of its batch.

    Args:
        width: channels of the first layers; 64 in the published weights.
        classes: colours that are told apart; 529, of a grid over a and b.

    Source: Zhang et al., Real-Time User-Guided Image Colorization with Learned Deep Priors, arXiv:1705.02999,
        section 3 and figure 2; layers and names as in the published weights.
    """

    def __init__(self, width: int = 64, classes: int = 529) -> None:
        super().__init__()
        one, two, four, eight = width, 2 * width, 4 * width, 8 * width
        self.model1, self.model2 = _block(4, one, 2), _block(one, two, 2)
        self.model3, self.model4 = _block(two, four, 3), _block(four, eight, 3)
        self.model5, self.model6 = (_block(eight, eight, 3, dilation=2) for _ in range(2))
        self.model7 = _block(eight, eight, 3)
        self.model8up, self.model3short8 = _twice(eight, four), _shortcut(four, four)
        self.model8 = nn.Sequential(nn.ReLU(), *_block(four, four, 2))
        self.model9up, self.model2short9 = _twice(four, two), _shortcut(two, two)
        self.model9 = nn.Sequential(nn.ReLU(), *_block(two, two, 1))
        self.model10up, self.model1short10 = _twice(two, two), _shortcut(one, two)
        self.model10 = nn.Sequential(nn.ReLU(), nn.Conv2d(two, two, 3, padding=1), nn.LeakyReLU(0.2))
        self.model_class = nn.Sequential(nn.Conv2d(four, classes, 1))
        self.model_out = nn.Sequential(nn.Conv2d(two, 2, 1), nn.Tanh())

    def forward(
        self, lightness: Float[Tensor, "n 1 h w"], hints: Float[Tensor, "n 2 h w"], mask: Float[Tensor, "n 1 h w"]
    ) -> tuple[Float[Tensor, "n k g v"], Float[Tensor, "n 2 h w"]]:
        """Logits of the classes at a quarter of the size, and colours.

        Args:
            lightness: (L - 50) / 100, with sides that are multiples of 8.
            hints: a / 110 and b / 110 where they are given, else 0.
            mask: where they are given, on the scale of the weights.

        Returns:
            logits (n, classes, h / 4, w / 4), and a / 110 and b / 110 (n, 2, h, w) in (-1, 1).
        """
        first = self.model1(torch.cat([lightness, hints, mask], 1))
        second = self.model2(first[:, :, ::2, ::2])
        third = self.model3(second[:, :, ::2, ::2])
        deep = self.model7(self.model6(self.model5(self.model4(third[:, :, ::2, ::2]))))
        deep = self.model8(self.model8up(deep) + self.model3short8(third))
        fine = self.model9(self.model9up(deep) + self.model2short9(second))
        fine = self.model10(self.model10up(fine) + self.model1short10(first))
        return self.model_class(deep), self.model_out(fine)


def load_colorization(name_or_path: str, device: str = "cpu") -> Colorization:
    """The network in evaluation mode.

    Args:
        name_or_path: path of a safetensors file with published weights, or the name of registered weights.
        device: where it lives.

    Raises:
        WeightsError: the weights cannot be read or are of another network.
    """
    weights = load_weights(name_or_path)
    width, classes = _shape(weights)
    with torch.device("meta"):  # neither memory nor random numbers for weights that are replaced at once
        network = Colorization(width, classes)
    load_into(network, weights)
    return network.eval().requires_grad_(False).to(device)


def _shape(weights: LoadedWeights) -> tuple[int, int]:
    first, last = (weights.tensors.get(name) for name in ("model1.0.weight", "model_class.0.weight"))
    if first is None or last is None or first.ndim != 4 or last.ndim != 4:
        some = ", ".join(sorted({re.split(r"\.", name)[0] for name in weights.tensors})[:5])
        raise WeightsError(
            f"weights {weights.name} are not of the colorization network of Zhang et al. 2017 (siggraph17): expected "
            f"tensors model1.0.weight and model_class.0.weight, got {some[:120]}; use other weights"
        )
    return len(first), len(last)
