"""LinearityIQA, a quality metric trained with the norm-in-norm loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lustral.targets.published import PublishedQuality

if TYPE_CHECKING:
    from lustral.targets.module import Target

__all__ = ["Linearity"]


class Linearity(PublishedQuality):
    """LinearityIQA: ResNeXt-101 with heads on its last two stages; about 0 to 100, higher is better.

    Images are resized to 498 x 664, on which the network was trained and tested; ``preprocessing="benchmark"`` leaves
    them as they are, as the benchmark's code does. The score is the line ``k * output + b`` stored with the weights.

    Weights: ``p1q2.pth`` (its ``model``, with ``k`` and ``b``) of https://github.com/lidq92/LinearityIQA, trained on
        KonIQ-10k. That repository shows a licence badge but has no licence file.

    Cost: one pass of ResNeXt-101.

    Source: Li et al., arXiv:2008.03889; network in ``lustral.nets.iqa.linearity``.
    """

    name: ClassVar[str] = "linearity"
    source: ClassVar[str] = "Li et al. 2020; https://github.com/lidq92/LinearityIQA (no licence file)"
    low: float = 25.7807
    high: float = 83.2270

    def build(self, device: str = "cpu") -> Target:
        from lustral.nets.iqa.linearity import published_linearity
        from lustral.nets.iqa.reading import load_published
        from lustral.targets.module import Target

        network = load_published(published_linearity, self.weights, self.sha256)
        size = (498, 664) if self.preprocessing == "original" else None
        return Target(self, network, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), size).to(device)
