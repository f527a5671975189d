"""Occlusion sensitivity: how much the target's output changes when a region is hidden.

Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from lustral.tensors import Images

__all__ = ["Imputer", "fillings", "sensitivity"]

Imputer = Literal["blur", "zero", "histogram"]
"""What takes the place of a hidden region."""

_TOGETHER = 16
"""Images prepared together, then passed, then evaluated, as after a pass the processor has nothing else at hand."""


def fillings(image: Tensor, imputer: Imputer, blur: float = 1 / 16, chances: Tensor | None = None) -> Tensor:
    """What the regions of one image are filled with: a picture for all of them, or a colour for each.

    Args:
        image: (3, h, w) in [0, 1].
        imputer: "blur" is the image after a Gaussian blur, computed once; "zero" is black; "histogram" gives each
            region one colour drawn from the image's colour histogram, that is the colour of a random pixel.
        blur: standard deviation of the Gaussian over the shorter side; 1/16 is 2 pixels of 32 and 16 of 256. Borders
            are mirrored, and it is cut at three standard deviations.
        chances: for "histogram", a number in [0, 1) for each region (k,), such as a row of ``Noise.numbers``.

    Returns:
        (1, 3, h, w) for "blur", (1, 3, 1, 1) for "zero", (k, 3, 1, 1) for "histogram", all in [0, 1].

    Raises:
        ValueError: "histogram" without ``chances``.

    Source: paper 001, sections 4.3.2 and 6.5.
    Differs: the standard deviation is not given there. The whole image is blurred in its place, as in the text, where
        listing D.1 blurs a list of the region's pixels. Histogram imputation is only described by its "random sampling
        from the histogram" and "constant color blocks"; the three channels are drawn together, so that every
        block has a colour of the image.
    """
    image = image.detach()
    if imputer == "blur":
        return _blurred(image, blur * min(image.shape[1:]))[None]
    if imputer == "zero":
        return image.new_zeros(1, 3, 1, 1)
    if chances is None:
        raise ValueError("the histogram imputer draws colours: pass chances, one number in [0, 1) for each region")
    pixels = image.flatten(1)  # (3, h w)
    drawn = (chances.double() * pixels.shape[1]).long().clamp(max=pixels.shape[1] - 1)
    return pixels[:, drawn.to(image.device)].T[:, :, None, None]  # (k, 3, 1, 1)


def _blurred(image: Tensor, sigma: float) -> Tensor:
    import torch

    pixels = image.double().cpu().numpy()
    rows, columns = (_filter(n, sigma) for n in pixels.shape[1:])
    return torch.from_numpy(rows @ pixels @ columns.T).to(image)


@lru_cache(maxsize=16)
def _filter(n: int, sigma: float) -> NDArray[np.float64]:
    """The Gaussian filter of n pixels as a matrix (n, n): at 32 px three times faster than filtering anew."""
    import numpy as np
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.eye(n), sigma, axis=0, mode="mirror", truncate=3)


def sensitivity(
    images: Images,
    labels: Tensor,
    target: Callable[[Images], Tensor],
    fillings: Sequence[Tensor],
    batch: int = 32,
    follow: bool = False,
) -> Tensor:
    """Maps of how much each region of each image matters to the target, for all segmentations of an image together.

    For a classifier that of a region is the drop of the softmax probability of the class that it sees in the image
    when the region is hidden: negative where hiding makes it surer. For a quality metric it is the absolute
    change of the score, since which way an attacker pushes it is not known here.

    The images are detached unless they are followed: masks made from these maps are piecewise constant in them.

    Args:
        images: (n, 3, h, w) in [0, 1].
        labels: int64 (n, s, h, w), one segmentation of each image per scale, each numbered from 0 (``superpixels``).
        target: images (n, 3, h, w) -> logits (n, k), k >= 2, or scores (n,); no image may depend on the others.
        fillings: what the regions of each image are filled with, n tensors from ``fillings``: (1, 3, h, w),
            (1, 3, 1, 1), or one for each region, (r, 3, 1, 1), those of the first scale first.
        batch: most images per pass. An image and all its occluded copies share batches of one size, the smallest
            that needs no further batch, filled up with the image itself. So every number comes from the same
            arithmetic, and nothing depends on other images.
        follow: let gradients flow to the images, with labels and fillings fixed, for attackers who aim at the mask.

    Returns:
        (n, s, h, w), every pixel showing its region's sensitivity.

    Cost: per image the number of regions + 1 passes of ``target``, and fewer than ``passes / batch + 1`` to fill up.
        Memory: what one pass takes, and a byte per pixel and region of up to 16 images.

    Raises:
        ValueError: shapes that do not belong together, or outputs that are neither logits nor scores.

    Source: paper 001, section 4.3.2 and listing D.1.
    Differs: batches instead of one copy at a time, with one pass for the image itself instead of one per scale. The
        listing's prediction is taken to be the probability; the drop is computed from the probability of the other
        classes, which is not lost to rounding where the class is nearly certain. Quality metrics are ours.
    """
    import torch

    if images.ndim != 4 or labels.ndim != 4 or not len(images) == len(labels) == len(fillings):
        raise ValueError(
            f"expected images (n, 3, h, w), labels (n, s, h, w) and n fillings, "
            f"got {tuple(images.shape)}, {tuple(labels.shape)} and {len(fillings)}"
        )
    found: list[Tensor] = []
    for start in range(0, len(images), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        plans = [_plan(*each, batch) for each in zip(images[some], labels[some], fillings[some], strict=True)]
        outputs = [
            _outputs(image, target, filling, hidden, follow)
            for image, filling, (_, hidden) in zip(images[some], fillings[some], plans, strict=True)
        ]
        found += [_changes(each)[rows] for each, (rows, _) in zip(outputs, plans, strict=True)]
    return torch.stack(found)


def _plan(image: Tensor, labels: Tensor, filling: Tensor, batch: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The row of each region (s, h, w), and batches of what is hidden in each row (b, 1, h, w).

    In row 0 nothing is hidden, nor in those that fill up the last batch; the regions have the rows between, those of
    the first scale first. Made with numpy, whose functions take a fraction of torch's on so few numbers.
    """
    import numpy as np
    import torch

    if labels.shape[1:] != image.shape[1:] or filling.ndim != 4:
        raise ValueError(
            f"expected images (n, 3, h, w), labels (n, s, h, w) and fillings of 4 dimensions, "
            f"got {tuple(image.shape)}, {tuple(labels.shape)} and {tuple(filling.shape)} for one image"
        )
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    numbers = labels.cpu().numpy().reshape(len(labels), -1)  # (s, h w)
    *first, needed = accumulate(numbers.max(1).tolist(), lambda row, last: row + last + 1, initial=1)
    if len(filling) not in (1, needed - 1):
        raise ValueError(f"expected one filling or one for each of the {needed - 1} regions, got {len(filling)}")
    rows = numbers + np.array(first)[:, None]
    size = -(-needed // -(-needed // batch))
    hidden = np.zeros((-(-needed // size) * size, rows.shape[1]), dtype=bool)
    hidden[rows, np.arange(rows.shape[1])] = True
    masks = torch.from_numpy(hidden.reshape(-1, 1, *image.shape[1:])).to(image.device)
    batches = masks.split(size) if len(masks) > size else (masks,)
    return torch.from_numpy(rows.reshape(labels.shape)).to(image.device), batches


def _outputs(
    image: Tensor, target: Callable[[Images], Tensor], filling: Tensor, hidden: Sequence[Tensor], follow: bool
) -> Tensor:
    """What the target says to each row: the image with the row's region filled, (rows, k) or (rows,)."""
    import torch

    from lustral.steps import step

    image, answer = (image, target) if follow else (image.detach(), partial(_detached, target))
    if len(filling) > 1:
        rows = sum(map(len, hidden))
        patches = filling[torch.arange(-1, rows - 1) % len(filling)].split(len(hidden[0]))
    else:
        patches = repeat(filling)
    batches = zip(hidden, patches, strict=False)
    outputs = [step(answer, torch.where(regions, patch, image)) for regions, patch in batches]
    return torch.cat(outputs) if len(outputs) > 1 else outputs[0]


def _detached(target: Callable[[Images], Tensor], x: Images) -> Tensor:
    return target(x).detach()  # no graph is kept even if the target's parameters ask for one


def _changes(outputs: Tensor) -> Tensor:
    """By how much each row of outputs (n, k) or (n,) differs from the first: (n,)."""
    if outputs.ndim == 1:
        return (outputs - outputs[0]).abs()
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"expected a target with logits (n, k) of at least 2 classes or scores (n,), "
            f"got {tuple(outputs.shape[1:])} per image"
        )
    doubt = outputs.softmax(1).index_fill(1, outputs[0].argmax(), 0).sum(1)  # probability of all other classes
    return doubt - doubt[0]
