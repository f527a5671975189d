"""KonCept512, a quality metric trained on KonIQ-10k."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lustral.targets.published import PublishedQuality

if TYPE_CHECKING:
    from lustral.targets.module import Target

__all__ = ["KonCept512"]


class KonCept512(PublishedQuality):
    """KonCept512: Inception-ResNet-v2 on the whole photograph, resized to 384 x 512; about 0 to 100, higher is better.

    ``preprocessing="benchmark"`` resizes to a height of 512 and a width of 384 instead, as the benchmark's code does.

    Weights: ``KonCept512.pth`` of https://github.com/ZhengyuZhao/koniq-PyTorch (MIT), trained on KonIQ-10k. A Keras
        version with other weights is at https://github.com/subpic/koniq (MIT).

    Cost: one pass of 384 x 512.

    Source: Hosu et al., arXiv:1910.06180; network in ``lustral.nets.iqa.koncept``.
    Differs: resized bilinearly with antialiasing; the authors resize files beforehand.
    """

    name: ClassVar[str] = "koncept512"
    source: ClassVar[str] = "Hosu et al. 2020; https://github.com/ZhengyuZhao/koniq-PyTorch (MIT)"
    low: float = 26.4031
    high: float = 66.8693

    def build(self, device: str = "cpu") -> Target:
        from lustral.nets.iqa.koncept import published_koncept
        from lustral.nets.iqa.reading import load_published
        from lustral.targets.module import Target

        network = load_published(published_koncept, self.weights, self.sha256)
        size = (384, 512) if self.preprocessing == "original" else (512, 384)
        return Target(self, network, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), size).to(device)
