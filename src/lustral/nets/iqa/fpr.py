"""FPR without its reference branch: a network on patches of 64 x 64 and a recurrent one that weighs them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.iqa.patches import enlarged_to, tiles
from lustral.nets.iqa.reading import Published, require_names

__all__ = ["FPRNetwork", "PatchOrder", "published_fpr"]

PatchOrder = Literal["image", "planes"]

PATCH = 64
_REFERENCE = ("fl1.", "fl2.", "fl3.", "cl1.", "cl2.", "rl1.", "rl2.", "wl1.", "wl2.", "gn.", "InvRescaleNet.")


def _convolution(inputs: int, outputs: int) -> nn.Module:
    layers = nn.Conv2d(inputs, outputs, 3, 1, 1), nn.LeakyReLU(0.2, inplace=True)
    return nn.Sequential(OrderedDict(conv=nn.Sequential(*layers)))


def _double(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(OrderedDict(conv1=_convolution(inputs, outputs), conv2=_convolution(outputs, outputs)))


class FPRNetwork(nn.Module):
    """Weighted mean of the scores of patches side by side; how much is wrong with an image, not how good it is.

    Args:
        width: channels of the first convolution; all others are in proportion.
        order: "image" takes coloured patches of the image. "planes" takes, like the code of the Guardians benchmark,
            three neighbouring patches of the same colour plane as if they were the colours of one patch.

    Shape: (n, 3, h, w) in [0, 1] -> scores (n,), about 0 (pristine) to 100; lower is better.

    Source: Chen et al., IEEE TIP 31 (2022), doi 10.1109/TIP.2022.3205770, as in ``model.py`` of the authors' code: the
        branch whose score their test takes, with weights of patches.
    Differs: the authors' test shuffles the patches, which the recurrent layer reads in order, and takes at most 1024;
        here all are read column by column. Images with a side below 64 are enlarged to it. The branches for the
        pristine image and its hallucinated features do not enter the score and are left out.
    """

    def __init__(self, width: int = 128, order: PatchOrder = "image") -> None:
        super().__init__()
        self.sfl1 = _double(3, width)
        self.sfl21 = _double(width, 2 * width)
        self.sfl22 = _double(2 * width, 2 * width)
        self.sfl23 = _double(2 * width, 2 * width)
        self.sfl3 = _double(2 * width, 4 * width)
        self.scl1 = nn.Sequential(OrderedDict(conv=_convolution(4 * width, width)))
        self.scl2 = nn.Conv2d(width, width // 2, 3)
        self.srl1 = nn.Linear(2 * width, width // 4)
        self.srl2 = nn.Linear(width // 4, 1)
        self.swl1 = nn.GRU(2 * width, width // 4, batch_first=True)
        self.swl2 = nn.Linear(width // 4, 1)
        self.order: PatchOrder = order

    def patches(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n p 3 64 64"]:
        """What the network sees of the images."""
        found = tiles(enlarged_to(x, PATCH), PATCH)  # (n, 3, rows, columns, 64, 64)
        if self.order == "planes":
            return found.reshape(len(x), -1, 3, PATCH, PATCH)
        return found.permute(0, 3, 2, 1, 4, 5).flatten(1, 2)

    def _features(self, x: Float[Tensor, "m 3 64 64"]) -> Float[Tensor, "m f"]:
        x = functional.max_pool2d(self.sfl1(x), 2)
        x = functional.max_pool2d(self.sfl22(self.sfl21(x)), 2)
        x = functional.max_pool2d(self.sfl3(self.sfl23(x)), 2)
        return self.scl2(functional.max_pool2d(self.scl1(x), 2)).flatten(1)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        patches = self.patches(x)
        features = self._features(patches.flatten(0, 1)).view(*patches.shape[:2], -1)
        with torch.backends.cudnn.flags(enabled=False):  # it differentiates recurrent layers in training mode only
            states, _ = self.swl1(features)
        weights = functional.relu(self.swl2(states)) + 1e-8
        scores = self.srl2(self.srl1(features))
        return (weights * scores).sum((1, 2)) / weights.sum((1, 2))


def published_fpr(weights: Mapping[str, Tensor], order: PatchOrder = "image") -> Published:
    """An untrained FPR and its weights, without those of the reference branch.

    Raises:
        ValueError: the weights are of some other network.

    Source: names of Baoliang93/FPR, ``IQANet`` with ``weighted``.
    """
    require_names(weights, "FPR", "sfl1.conv1.conv.0.weight", "swl1.weight_ih_l0")
    tensors = {name: value for name, value in weights.items() if not name.startswith(_REFERENCE)}
    return FPRNetwork(len(weights["sfl1.conv1.conv.0.weight"]), order), tensors
