"""Reading the shape of an EDSR or MDSR network off its published weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor, nn

from lustral.nets.edsr import EDSR
from lustral.nets.mdsr import MDSR

__all__ = ["published_residual_network"]

_DIV2K = (0.4488, 0.4371, 0.4040)
_WIDE = 256  # channels of the large published EDSR, the one with residual branches scaled by 0.1


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers the one group of ``pattern`` takes among the names."""
    return len({match[1] for match in (re.match(pattern, name) for name in weights) if match})


def _scale(weights: Mapping[str, Tensor], prefix: str) -> int:
    """Ratio of a chain of convolutions before pixel shuffles."""
    layers = [value for name, value in weights.items() if re.fullmatch(rf"{prefix}\.\d+\.weight", name)]
    return math.prod(math.isqrt(len(layer) // layer.shape[1]) for layer in layers)


def published_residual_network(weights: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]] | None:
    """An untrained EDSR or MDSR and the weights that fit it; None if these are not published weights of either.

    Published weights work on images in [0, 255] less the mean of DIV2K, which some of them carry along as
    ``sub_mean`` and ``add_mean``.

    Source: names and conventions of the authors' EDSR-PyTorch. Networks of 256 channels have residual branches
        scaled by 0.1, which no tensor tells; narrower ones do not.
    """
    if not {"head.0.weight", "body.0.body.0.weight", "body.0.body.2.weight"} <= weights.keys():
        return None
    width = len(weights["head.0.weight"])
    mean = tuple((weights["add_mean.bias"] / 255).tolist()) if "add_mean.bias" in weights else _DIV2K
    fitting = {name: value for name, value in weights.items() if name.split(".")[0] not in ("sub_mean", "add_mean")}
    blocks = _count(weights, r"body\.(\d+)\.body\.0\.weight")
    if "tail.0.0.weight" in weights:
        scaled = 0.1 if width >= _WIDE else 1.0
        return EDSR(_scale(weights, r"tail\.0"), width, blocks, scaled, skip=False, mean=mean, peak=255.0), fitting
    branches = _count(weights, r"upsample\.(\d+)\.0\.weight")
    scales = [_scale(weights, rf"upsample\.{branch}") for branch in range(branches)]
    if not scales:
        return None
    before = _count(weights, r"pre_process\.0\.(\d+)\.body\.0\.weight")
    return MDSR(scales, width, blocks, before, skip=False, mean=mean, peak=255.0), fitting
