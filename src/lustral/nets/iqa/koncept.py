"""KonCept512: Inception-ResNet-v2 and four linear layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.iqa.inception import WIDTH, inception_resnet_stages
from lustral.nets.iqa.reading import Published, block_count, require_names

__all__ = ["KonCeptNetwork", "published_koncept"]


class KonCeptNetwork(nn.Module):
    """Mean opinion score of a photograph, 0 to 100.

    Args:
        width: channels of the first convolution; all others are in proportion.
        repeats: residual blocks of the three resolutions.

    Shape: (n, 3, 384, 512) in [-1, 1] -> scores (n,), higher is better.

    Source: Hosu et al., arXiv:1910.06180, in the PyTorch port of Zhao. Differs: like that port, for which the weights
        were trained, the features are averaged over their first window of 8 x 8 of 10 x 14; the authors' own code
        averages all of them.
    """

    def __init__(self, width: int = WIDTH, repeats: Sequence[int] = (10, 20, 9)) -> None:
        super().__init__()
        self.base = nn.Sequential(*inception_resnet_stages(width, repeats), nn.AvgPool2d(8))
        layers: list[nn.Module] = []
        inputs = 48 * width
        for outputs, dropout in ((64 * width, 0.25), (32 * width, 0.25), (8 * width, 0.5)):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True), nn.BatchNorm1d(outputs), nn.Dropout(dropout)]
            inputs = outputs
        self.fc = nn.Sequential(*layers, nn.Linear(inputs, 1))

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        return self.fc(self.base(x).flatten(1)).squeeze(1)


def published_koncept(weights: Mapping[str, Tensor]) -> Published:
    """An untrained KonCept512 and its weights.

    Raises:
        ValueError: the weights are of some other network.

    Source: names of ZhengyuZhao/koniq-PyTorch (``base.0`` to ``base.14``, ``fc.0`` to ``fc.12``).
    """
    require_names(weights, "KonCept512", "base.0.conv.weight", "base.14.conv.weight", "fc.12.weight")
    repeats = [block_count(weights, rf"base\.{place}\.(\d+)\.conv2d\.weight") for place in (8, 10, 12)]
    return KonCeptNetwork(len(weights["base.0.conv.weight"]), repeats), dict(weights)
