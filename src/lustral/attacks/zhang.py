"""The perceptual attack of Zhang et al.: move the score, and stay close as a full-reference measure sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.oracle import Oracle
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Zhang"]

_TOGETHER = 2**20  # values of images that are compared at once: VGG16 keeps about 900 bytes for each


class Zhang(AttackSettings):
    """Adam on the pixels, up the objective less ``weight`` times the distance from the clean image.

    Of all points the one with the largest such difference stands, and no other may be selected.

    Cost: ``steps`` gradients and one loss per image and draw; per image, ``steps + 1`` forward and backward passes of
    the measure and one more forward pass, unless ``weight`` is 0.

    Args:
        measure: "ssim" (11 x 11 Gaussian, 1 - SSIM), "lpips" or "dists"; the last two need weights.
        weights: path of a safetensors file with the published weights of the measure: lpips/weights/v0.1/alex.pth or
            vgg.pth of PerceptualSimilarity for "lpips", weights.pt of dingkeyan93/DISTS for "dists". They do not ship
            with lustral.
        backbone: path of one with the weights of torchvision, AlexNet or VGG16; empty if ``weights`` holds them too.
        weight: what distance costs, in ranges of the score ("lambda").
        steps: of Adam.
        rate: its learning rate in units of the [0, 1] range; None is ``epsilon / steps``, the strength levels of the
            paper.
        squared: whether the objective counts by its square, with its sign.
        random_start: whether the first point is one level of 8 bits below the image at random values; a squared
            objective has no slope at the image itself.

    Source: Guardians of image quality (arXiv:2408.01541), appendix on attacks, with DISTS. Zhang et al.,
        arXiv:2210.00933: that is ``epsilon=1,steps=200,rate=0.005,squared=true,random_start=true`` and, for scores
        from 0 to 10, a ``weight`` of a hundredth of their lambda.
    Differs: by default SSIM measures, as the weights of DISTS do not ship with lustral. The best point stands, in both
        sources the last. ``epsilon`` bounds every value, in the sources nothing but the rate does. The authors map
        scores to human ones, shorten gradients to length 1, which changes nothing but how steps are weighed against
        each other, and take none in two corners; their code leaves the term of DISTS out. Images too small for the
        measure are extended for it by repeating their border.
    """

    name: ClassVar[str] = "zhang"
    source: ClassVar[str] = "arXiv:2210.00933; arXiv:2408.01541"
    needs: ClassVar = "gradients"
    kinds: ClassVar[tuple[str, ...]] = ("quality",)
    norm: Literal["linf"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride] settings are frozen
    measure: Literal["ssim", "lpips", "dists"] = "ssim"
    weights: str = ""
    backbone: str = ""
    weight: float = Field(default=1.0, ge=0)
    steps: int = Field(default=10, ge=1)
    rate: Number | None = Field(default=None, gt=0)
    squared: bool = False
    random_start: bool = False

    def weights_used(self) -> tuple[str, ...]:
        return tuple(path for path in (self.weights, self.backbone) if path and self.weight)

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        import torch

        from lustral.attacks.adam import Adam
        from lustral.attacks.best import Best

        adam = Adam(x, self.epsilon / self.steps if self.rate is None else self.rate)
        best, rows, region = Best(x), torch.arange(len(x), device=x.device), self.ball().around(x)
        alike = torch.zeros(len(x), dtype=torch.bool, device=x.device)  # no point beats another by being broken
        penalty, point = self._penalty(x), x.clone()
        if self.random_start:
            region.project_(point.add_(noise.signs(x).sub_(1), alpha=0.5 / 255))
        for _ in range(self.steps):
            gain, _, slope = oracle.gradient(point, rows)
            if self.squared:
                gain, slope = gain * gain.abs(), slope * (2 * gain.abs()).to(slope)[:, None, None, None]
            cost, pull = penalty(point)
            best.offer(rows, point, gain - cost, alike)
            point = region.project_(adam.step(slope - pull).add_(point))
        gain = oracle.loss(point, rows).loss
        best.offer(rows, point, (gain * gain.abs() if self.squared else gain) - penalty(point)[0], alike)
        oracle.settle(best.x, rows)
        return best.x

    def _penalty(self, x: Images) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Images (n, 3, h, w) -> what their distance from ``x`` costs (n,), and its gradient (n, 3, h, w)."""
        import torch

        from lustral.nets.full_reference import full_reference

        if not self.weight:
            return lambda point: (x.new_zeros(len(x)), torch.zeros_like(point))
        name = "ssim_gaussian" if self.measure == "ssim" else self.measure
        measure = full_reference(name, *self.weights_used()).to(x)
        together = max(1, _TOGETHER // x[0].numel())
        with torch.no_grad():
            references = [measure.describe(_extended(part, measure.smallest)) for part in x.split(together)]

        def ask(point: Tensor) -> tuple[Tensor, Tensor]:
            costs: list[Tensor] = []
            pulls: list[Tensor] = []
            for part, reference in zip(point.split(together), references, strict=True):
                with torch.enable_grad():
                    leaf = part.detach().requires_grad_()
                    cost = self.weight * measure.compare(measure.describe(_extended(leaf, measure.smallest)), reference)
                costs.append(cost.detach())
                pulls += torch.autograd.grad(cost.sum(), leaf)
            return torch.cat(costs), torch.cat(pulls)

        return ask


def _extended(x: Tensor, smallest: int) -> Tensor:
    """Images whose sides are at least ``smallest``."""
    from torch.nn.functional import pad

    down, right = (max(0, smallest - side) for side in x.shape[2:])
    return pad(x, (0, right, 0, down), mode="replicate") if down or right else x
