"""A mask with a derivative: what an attacker differentiates who means to move the mask. Importing loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.tensors import Images

__all__ = ["soft_mask"]

_LEAST = 1e-3  # distance from c in units of d


def soft_mask(
    image: Tensor,
    labels: Tensor,
    regions: Tensor,
    target: Callable[[Images], Tensor],
    filling: Tensor,
    weights: Sequence[float],
    mask: Tensor,
) -> Tensor:
    """A differentiable stand-in for a mask of the most sensitive pixels, for the backward pass.

    ``sigmoid((S - c) / d)`` of the fused sensitivity S, with c halfway between the least sensitive masked and the most
    sensitive unmasked pixel and d the standard deviation of S over the image: above 1/2 where ``mask`` is True, below
    where it is False. The segmentations, the fillings, c and d count as constants. Pixels on c, as those of one
    superpixel that a share cuts in two, are moved off it by 0.001 d to the side that ``mask`` has them on. Maps are
    stretched to [0, 1], so S has no derivative in a region that is the most or the least sensitive at all scales;
    attackers who mean to move such a mask do it by the sensitivities of the other regions.

    Args:
        image: (3, h, w) in [0, 1]; the gradient flows to it through the target.
        labels: int64 (s, h, w), the segmentations that the mask came from.
        regions: int64 (h, w), over which the maps are fused.
        target: see ``occlusion.sensitivity``.
        filling: see ``occlusion.fillings``.
        weights: of the scales.
        mask: bool (h, w), the mask that was made of the same sensitivities by a threshold.

    Returns:
        (h, w) in (0, 1); zeros without a derivative where ``mask`` has no pixel or every pixel.

    Cost: that of ``occlusion.sensitivity``, and as many backward passes.

    Source: ours; a straight-through surrogate in the sense of backward pass differentiable approximation, Athalye et
        al., arXiv:1802.00420.
    """
    import torch

    from lustral.purifiers.fusion import fuse, stretch
    from lustral.purifiers.occlusion import sensitivity
    from lustral.purifiers.substitute import substitute

    if mask.all() or not mask.any():
        return mask.to(image)
    (maps,) = sensitivity(image[None], labels[None], target, [filling], follow=True)
    fused = fuse(stretch(maps), regions, weights)
    fixed = fused.detach()
    threshold = (fixed[mask].amin() + fixed[~mask].amax()) / 2
    score = (fused - threshold) / fixed.std().clamp(min=1e-6)
    aside = torch.where(mask, _LEAST, -_LEAST).to(score)
    return substitute(torch.where(score.abs() < _LEAST, aside, score), score).sigmoid()
