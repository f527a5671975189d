"""From a sensitivity map to the pixels that are to be painted anew. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from lustral.seeds import Noise

__all__ = ["cluster_mask", "contextual_cues", "threshold_mask"]


def cluster_mask(sensitivity: Tensor, clusters: int, top: int) -> Tensor:
    """Mask the ``top`` most sensitive of ``clusters`` groups of pixels that k-means finds.

    In one dimension k-means has an exact solution, found by dynamic programming: the groups have the least
    sum of squares there is, no start has to be chosen, and nothing is random. Groups are intervals of sensitivity,
    hence the mask is a threshold between two of them. It does not change when the map is scaled or shifted.

    Args:
        sensitivity: (h, w); every pixel counts, so that large regions weigh more.
        clusters: the paper's k, at least 2; it tries 3, 5 and 7. A map of fewer values has a cluster for each: one
            fused over 2 to 4 coarse superpixels, as is common at 32 px, often has one mask for k = 5 and k = 7.
        top: the paper's r, from 1 to ``clusters - 1``. One cluster always stays unmasked: a map of two values has
            the higher one masked, and a constant map, in which nothing stands out, masks nothing.

    Returns:
        bool (h, w), True where the image is to be painted anew.

    Cost: grows with the square of the number of different values: 5 ms on one core for 300, the most that a map
        fused over 300 superpixels has.

    Raises:
        ValueError: ``clusters`` or ``top`` out of range, or a map with values that are not finite.

    Source: paper 001, section 4.3.5 and listing D.3.
    Differs: the paper gives no start and no number of restarts, and does not say whether superpixels or pixels are
        clustered; the listing passes the map. Its arguments default to k = 5 and r = 2; which ones the results have
        is not said. Section 6.4 speaks of "spatial proximity", which neither the listing nor section 4.3.5 uses.
    """
    import numpy as np
    import torch

    if not 1 <= top < clusters:
        raise ValueError(f"expected 1 <= top < clusters, got top={top} and clusters={clusters}")
    values, weights = np.unique(_finite(sensitivity).double().cpu().numpy(), return_counts=True)
    starts = _starts(values, weights, min(clusters, len(values)))
    if len(starts) == 1:
        return torch.zeros_like(sensitivity, dtype=torch.bool)
    return sensitivity.detach() >= values[starts[-min(top, len(starts) - 1)]].item()


def _finite(sensitivity: Tensor) -> Tensor:
    if sensitivity.ndim != 2 or not sensitivity.isfinite().all():
        raise ValueError(f"expected a map (h, w) of finite sensitivities, got shape {tuple(sensitivity.shape)}")
    return sensitivity.detach()


def _starts(values: NDArray[Any], weights: NDArray[Any], clusters: int) -> list[int]:
    """Where the clusters of sorted, distinct, weighted values begin, so that squared distances to means are least."""
    import numpy as np

    scaled = (values - values[0]) / max(values[-1] - values[0], np.finfo(np.float64).tiny)
    mass, first, second = (np.concatenate([[0.0], np.cumsum(weights * scaled**power)]) for power in range(3))
    least = np.full((clusters + 1, len(values) + 1), np.inf)  # of the values before each place, by number of clusters
    least[0, 0] = 0.0
    begin = np.zeros(least.shape, dtype=np.int64)
    for end in range(1, len(values) + 1):
        moment = first[end] - first[:end]
        spread = second[end] - second[:end] - moment**2 / (mass[end] - mass[:end])
        costs = least[:-1, :end] + spread  # (clusters, end), by number of clusters before and start of the last one
        begin[1:, end] = costs.argmin(1)
        least[1:, end] = costs.min(1)
    starts, end = list[int](), len(values)
    for count in range(clusters, 0, -1):
        end = int(begin[count, end])
        starts.append(end)
    return starts[::-1]


def threshold_mask(sensitivity: Tensor, share: float) -> Tensor:
    """Mask the most sensitive pixels, a fixed share of the image.

    Args:
        sensitivity: (h, w).
        share: of the pixels, in (0, 1); the paper tries 0.05, 0.1, 0.2 and 0.3. The number is rounded, and at least 1.
            Pixels of equal sensitivity, such as those of one superpixel, are taken in reading order, so that the
            share is kept and the last region taken may be cut.

    Returns:
        bool (h, w), True where the image is to be painted anew.

    Raises:
        ValueError: ``share`` out of range, or a map with values that are not finite.

    Source: paper 001, section 6.4, "Thresholding".
    Differs: what happens to equal values is not said there.
    """
    import torch

    if not 0 < share < 1:
        raise ValueError(f"share must be in (0, 1) (5 % = 0.05), got {share}")
    values = _finite(sensitivity).flatten()
    order = values.argsort(descending=True, stable=True)
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask[order[: max(1, round(share * len(values)))]] = True
    return mask.view_as(sensitivity)


def contextual_cues(masks: Tensor, pitch: int, cell: int, jitter: int, noise: Noise) -> Tensor:
    """Un-mask small squares on a jittered grid, so that painting anew has something to go by inside the mask.

    The grid starts in the upper left corner of the image. Each of its points is moved by up to ``jitter`` pixels
    along each axis and is the upper left corner of a square.

    Args:
        masks: bool (n, h, w), True where an image is to be painted anew.
        pitch: distance of neighbouring grid points in pixels.
        cell: side of a square in pixels; squares that reach over the border are cut.
        jitter: largest displacement along each axis in pixels, uniform over -jitter, ..., jitter; 0 for none.
        noise: of these n images; one sampling call. It must be drawn outside of steps.

    Returns:
        bool (n, h, w): ``masks`` without the squares. Masked regions that lie between them get none.

    Raises:
        ValueError: not a batch of masks, noise of another number of images, or lengths out of range.

    Source: paper 001, section 4.4.1.
    Differs: pitch, cell and jitter are not given there.
    """
    import torch

    if masks.ndim != 3 or masks.dtype != torch.bool:
        raise ValueError(f"expected masks (n, h, w) of dtype bool, got {tuple(masks.shape)} {masks.dtype}")
    if pitch < 1 or cell < 1 or jitter < 0:
        raise ValueError(f"expected pitch >= 1, cell >= 1, jitter >= 0, got {pitch}, {cell} and {jitter}")
    n, height, width = masks.shape
    if len(noise) != n:
        raise ValueError(f"noise was made for {len(noise)} images, got {n} masks")
    grid = torch.cartesian_prod(torch.arange(0, height, pitch), torch.arange(0, width, pitch))  # (points, 2)
    moves = (noise.numbers(grid.numel()).double() * (2 * jitter + 1)).long()  # 0, ..., 2 jitter, on top of a margin
    corners = grid + moves.view(n, -1, 2)  # (n, points, 2)
    inner = torch.cartesian_prod(torch.arange(cell), torch.arange(cell))
    places = corners[:, :, None] + inner  # (n, points, cell cell, 2)
    tall, wide = height + 2 * jitter + cell, width + 2 * jitter + cell
    squares = torch.zeros(n, tall * wide, dtype=torch.bool)
    squares.scatter_(1, (places[..., 0] * wide + places[..., 1]).flatten(1), True)
    inside = squares.view(n, tall, wide)[:, jitter : jitter + height, jitter : jitter + width]
    return masks & ~inside.to(masks.device)
