"""The baseline of SPAQ, a quality metric for photographs of smartphones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from lustral.targets.published import PublishedQuality

if TYPE_CHECKING:
    from lustral.targets.module import Target

__all__ = ["SPAQ"]


class SPAQ(PublishedQuality):
    """SPAQ baseline: mean of ResNet-50 over overlapping patches of 224 x 224; about 0 to 100, higher is better.

    Images of at least 512 x 512 are first reduced to a shorter side of 512; ``preprocessing="benchmark"`` leaves them
    as they are, as the benchmark's code does. Nothing is normalised.

    Weights: ``BL_release.pt`` (its ``state_dict``) of https://github.com/h4nwei/SPAQ. That repository has no licence
        file; the header of its code allows education and research, and no commercial product without permission.

    Cost: one pass of ResNet-50 per patch, 12 for 384 x 512.

    Source: Fang et al., CVPR 2020; network in ``lustral.nets.iqa.spaq``.
    Differs: images with a side below 224 are enlarged to it; the authors' code fails for them.
    """

    name: ClassVar[str] = "spaq"
    source: ClassVar[str] = "Fang et al. 2020; https://github.com/h4nwei/SPAQ (no licence file; research only)"
    low: float = 21.7491
    high: float = 77.7559

    def build(self, device: str = "cpu") -> Target:
        from lustral.nets.iqa.reading import load_published
        from lustral.nets.iqa.spaq import published_spaq
        from lustral.targets.module import Target

        read = partial(published_spaq, resize=self.preprocessing == "original")
        return Target(self, load_published(read, self.weights, self.sha256)).to(device)
