"""The baseline of SPAQ: ResNet-50 on overlapping patches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.iqa.bottleneck import RESNET50, BottleneckShape, bottleneck_stages, shape_of
from lustral.nets.iqa.patches import enlarged_to, overlapping_patches, shorter_side_to
from lustral.nets.iqa.reading import Published, require_names

__all__ = ["SPAQNetwork", "published_spaq"]

SIDE = 512
PATCH = 224


class SPAQNetwork(nn.Module):
    """Mean score of overlapping patches of 224 x 224, every 112 pixels.

    Args:
        shape: of the residual network.
        resize: reduce images to a shorter side of 512 first, if both sides have at least that.

    Shape: (n, 3, h, w) in [0, 1], not normalised -> scores (n,), 0 to 100, higher is better.

    Cost: one pass of ResNet-50 per patch; 12 patches at 384 x 512, 24 at 512 x 770.

    Source: Fang et al., CVPR 2020, and ``BL_demo.py`` and ``Prepare_image.py`` of the authors' code.
    Differs: images with a side below 224, for which that code fails, are enlarged to it.
    """

    def __init__(self, shape: BottleneckShape = RESNET50, resize: bool = True) -> None:
        super().__init__()
        end = {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(32 * shape.stem, 1)}
        self.backbone = nn.Sequential(OrderedDict(bottleneck_stages(shape) | end))
        self.resize = resize

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        if self.resize and min(x.shape[2:]) >= SIDE:
            x = shorter_side_to(x, SIDE)
        patches = overlapping_patches(enlarged_to(x, PATCH), PATCH, PATCH // 2)  # (n, p, 3, 224, 224)
        return self.backbone(patches.flatten(0, 1)).view(len(x), -1).mean(1)


def published_spaq(weights: Mapping[str, Tensor], resize: bool = True) -> Published:
    """An untrained baseline of SPAQ and its weights.

    Raises:
        ValueError: the weights are of some other network.

    Source: names of h4nwei/SPAQ (``backbone.`` before those of torchvision's ``resnet50``).
    """
    require_names(weights, "the SPAQ baseline", "backbone.fc.weight")
    stages = [f"backbone.layer{number}" for number in (1, 2, 3, 4)]
    shape = shape_of(weights, "the SPAQ baseline", "backbone.conv1", stages)
    return SPAQNetwork(shape, resize), dict(weights)
