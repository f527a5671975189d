"""FPR, a quality metric that learnt to hallucinate the features of the pristine image."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from lustral.targets.base import Direction
from lustral.targets.published import PublishedQuality

if TYPE_CHECKING:
    from lustral.targets.module import Target

__all__ = ["FPR"]


class FPR(PublishedQuality):
    """FPR: weighted mean over patches of 64 x 64, side by side; 0 for a pristine image to about 80, lower is better.

    The published weights were trained on distortion: 20 * (5 - opinion score) for KADID-10k, 0 for its pristine
    images. An attacker who wants an image to look better therefore lowers the score: ``direction`` is "down".

    ``preprocessing="benchmark"`` cuts patches as the benchmark's code does: it takes three neighbouring patches of
    one colour plane for the colours of one patch. The default range was found so, with scores taken as quality
    (``direction="up"``); measure another with ``preprocessing="original"``.

    Weights: ``model_best_kadid_0.pkl`` (its ``state_dict``) of https://github.com/Baoliang93/FPR (Apache-2.0), trained
        on KADID-10k.

    Cost: one pass per patch of 64 x 64, 48 for 384 x 512.

    Source: Chen et al., IEEE TIP 31 (2022), doi 10.1109/TIP.2022.3205770; network in ``lustral.nets.iqa.fpr``.
    Differs: from the benchmark in the direction and, unless asked for, in the patches, see above. From the authors'
        test in reading the patches in order instead of shuffled.
    """

    name: ClassVar[str] = "fpr"
    higher_is_better: ClassVar[bool] = False
    source: ClassVar[str] = "Chen et al. 2022; https://github.com/Baoliang93/FPR (Apache-2.0)"
    direction: Direction = "down"
    low: float = 47.2248
    high: float = 77.0467

    def build(self, device: str = "cpu") -> Target:
        from lustral.nets.iqa.fpr import published_fpr
        from lustral.nets.iqa.reading import load_published
        from lustral.targets.module import Target

        read = partial(published_fpr, order="image" if self.preprocessing == "original" else "planes")
        return Target(self, load_published(read, self.weights, self.sha256)).to(device)
