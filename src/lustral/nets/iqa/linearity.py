"""LinearityIQA: ResNeXt-101 with one head for each of its last two stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.iqa.bottleneck import RESNEXT101, BottleneckShape, bottleneck_stages, shape_of
from lustral.nets.iqa.reading import Published, require_names

__all__ = ["LinearityNetwork", "published_linearity"]


def _reduction(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for outputs in widths:
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs)]
        inputs = outputs
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


class LinearityNetwork(nn.Module):
    """Score from the means of the features of the last two stages, mapped to opinion scores by a line.

    Args:
        shape: of the residual network.
        widths: channels of the linear layers of a head.

    Shape: images (n, 3, h, w), normalised as for ImageNet -> scores (n,), higher is better.

    Source: Li et al., arXiv:2008.03889; the line is that of equation 17, fitted by the authors and stored as
        slopes ``k`` and intercepts ``b`` of (both heads together, first head, second head).
    Differs: the demo of the authors' code takes the last pair, that of the second head; their evaluation, and this,
        the first.
    """

    def __init__(self, shape: BottleneckShape = RESNEXT101, widths: Sequence[int] = (1024, 256, 64)) -> None:
        super().__init__()
        self.features = nn.Sequential(*bottleneck_stages(shape).values())
        self.dr6 = _reduction(16 * shape.stem, widths)
        self.dr7 = _reduction(32 * shape.stem, widths)
        self.regression = nn.Linear(2 * widths[-1], 1)
        self.k: Tensor
        self.b: Tensor
        self.register_buffer("k", torch.ones(3))
        self.register_buffer("b", torch.zeros(3))

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        sixth = self.features[:7](x)
        seventh = self.features[7](sixth)
        heads = torch.cat([self.dr6(sixth.mean((2, 3))), self.dr7(seventh.mean((2, 3)))], 1)
        return self.k[0] * self.regression(heads).squeeze(1) + self.b[0]


def published_linearity(weights: Mapping[str, Tensor]) -> Published:
    """An untrained LinearityIQA and its weights, without the outputs of single heads, which only training uses.

    Raises:
        ValueError: the weights are of some other network, or lack the line ``k`` and ``b``.

    Source: names of lidq92/LinearityIQA (``features.0`` to ``features.7`` for torchvision's ``resnext101_32x8d``).
    """
    what = "LinearityIQA"
    require_names(weights, what, "regression.weight", "dr6.0.weight", "k", "b")
    shape = shape_of(weights, what, "features.0", [f"features.{place}" for place in (4, 5, 6, 7)])
    widths = [len(weights[f"dr6.{place}.weight"]) for place in (0, 2, 4) if f"dr6.{place}.weight" in weights]
    tensors = {name: value for name, value in weights.items() if not name.startswith(("regr6.", "regr7."))}
    return LinearityNetwork(shape, widths), tensors
