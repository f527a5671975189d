"""From a name or a file to a network that restores images at their own size."""

from __future__ import annotations

from lustral.nets.loading import Enlarger
from lustral.nets.networks import load_any_restorer
from lustral.weights import WeightsError

__all__ = ["load_restorer"]


def load_restorer(name_or_path: str, device: str = "cpu") -> Enlarger:
    """A network in evaluation mode, images (n, 3, h, w) in [0, 1] -> the same shape, not clamped.

    Args:
        name_or_path: name of registered weights, or path of a safetensors file: one that ``lustral train`` wrote, or
            published weights for restoration, such as those of FBCNN, that spandrel knows (extra ``restore``).
        device: where it lives.

    Raises:
        WeightsError: the weights cannot be read, or are not for restoration at the same size.
        ImportError: spandrel is needed and not there.
    """
    found = load_any_restorer(name_or_path, device=device)
    if found.scale != 1:
        raise WeightsError(
            f"weights {name_or_path} enlarge by {found.scale}; expected a network that keeps the size of images, "
            "as `lustral train artifact-removal` makes"
        )
    return found
