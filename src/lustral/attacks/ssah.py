"""SSAH for scores: change what is fine, keep what is coarse."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["SSAH", "coarse"]


def coarse(x: Images) -> Images:
    """What one level of the Haar wavelets keeps of images (n, 3, h, w) without their fine bands.

    That is the mean of every block of 2 x 2 pixels; what is left of a block in an odd last row or column has its own.

    Source: Luo et al., arXiv:2203.05151, low-frequency constraint: the image rebuilt from the band LL alone.
    """
    from torch.nn.functional import avg_pool2d

    means = avg_pool2d(x, 2, ceil_mode=True)
    return means.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, : x.shape[2], : x.shape[3]]


class SSAH(AttackSettings):
    """Adam on the pixels against the score, with a penalty on what changes in the low frequencies.

    The objective of an image is its score less ``penalty`` times the smooth L1 distance, summed over all values,
    between its coarse part and that of the clean image. The image where this is largest stands, and no other may be
    selected.

    Cost: ``steps`` gradients and one loss per image and draw.

    Args:
        steps: of Adam.
        rate: its learning rate in units of the [0, 1] range; None is ``epsilon / steps``, the strength levels of the
            paper.
        penalty: weight of the distance, lambda_lf of the paper.

    Source: Guardians of image quality (arXiv:2408.01541), appendix on attacks, for scores; Luo et al.,
        arXiv:2203.05151, low-frequency constraint, for the penalty.
    Differs: only for scores: the original attack on classifiers compares features of pairs of images, which is not
        done here. An odd last row is repeated, as in the default of PyWavelets; the benchmark's code continues
        it with zeros, which halves its penalty. Not the last but the best image stands. ``epsilon`` bounds every
        value, the papers nothing but the rate: that is ``epsilon=1`` with ``rate`` given.
    """

    name: ClassVar[str] = "ssah"
    source: ClassVar[str] = "arXiv:2408.01541; arXiv:2203.05151"
    needs: ClassVar = "gradients"
    kinds: ClassVar[tuple[str, ...]] = ("quality",)
    norm: Literal["linf"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride] settings are frozen
    steps: int = Field(default=10, ge=1)
    rate: Number | None = Field(default=None, gt=0)
    penalty: Number = Field(default=0.1, ge=0)

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        import torch

        from lustral.attacks.adam import Adam
        from lustral.attacks.best import Best

        adam = Adam(x, self.epsilon / self.steps if self.rate is None else self.rate)
        best, rows, region = Best(x), torch.arange(len(x), device=x.device), self.ball().around(x)
        alike = torch.zeros(len(x), dtype=torch.bool, device=x.device)  # no point beats another by being broken
        point = x.clone()
        for _ in range(self.steps):
            gain, _, slope = oracle.gradient(point, rows)
            cost, pull = self._cost(point - x)
            best.offer(rows, point, gain - cost, alike)
            point = region.project_(adam.step(slope - pull).add_(point))
        best.offer(rows, point, oracle.loss(point, rows).loss - self._cost(point - x)[0], alike)
        oracle.settle(best.x, rows)
        return best.x

    def _cost(self, d: Images) -> tuple[Tensor, Tensor]:
        """What changes (n, 3, h, w) cost (n,), and the gradient (n, 3, h, w).

        Smooth L1 is half the square here, as no value changes by more than 1; ``coarse`` is an orthogonal projection.
        """
        kept = coarse(d)
        return 0.5 * self.penalty * kept.square().flatten(1).sum(1), self.penalty * kept
