"""MSID: hide what the target is most sensitive to, inpaint it by diffusion, and remove the artefacts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

from lustral.purifiers.base import Family, Gradient, PurifierSettings, required_target
from lustral.purifiers.diffpir_inpaint import Spacing, diffpir_times
from lustral.purifiers.fusion import WEIGHTS
from lustral.purifiers.occlusion import Imputer
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.diffusion.samplers import Denoise
    from lustral.purifiers.module import Purifier
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["MSID"]


def _split_plus(value: Any) -> Any:
    """Let people write ``scales=5+10+15``."""
    return tuple(value.split("+")) if isinstance(value, str) else value


Scales = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_split_plus), Field(min_length=1)]
Weights = Annotated[tuple[float, ...], BeforeValidator(_split_plus), Field(min_length=1)]


class _Look(NamedTuple):
    """What the target is sensitive to in n images: masks (n, h, w), and maps of each scale and of all together."""

    masks: Tensor
    labels: Tensor
    fillings: list[Tensor]
    maps: Tensor
    fused: Tensor


class MSID(PurifierSettings):
    """Multi-scale superpixel inpainting defence.

    Per image: superpixels at several scales; for each the change of the target's answer when it is hidden
    (``occlusion.sensitivity``); one map of all scales (``fusion.fuse``); a mask of the most sensitive pixels
    (``masks``), in which small squares on a jittered grid stay known; DiffPIR inpainting of the mask
    (``diffpir_inpaint``); variance-preservation sampling of the whole (``vps_refine``). Each is a function of its own.

    Args:
        denoiser: weights, see ``lustral.diffusion.load_denoiser``.
        scales: superpixels to aim at, coarse to fine, so rising; may be typed ``5+10+15``. 5, 10, 15 for 32 px, 100,
            200, 300 for 256 px in the paper.
        weights: of the scales in the fused map, as many, not all 0.
        regions: "coarsest" fuses over the superpixels of the first scale, as the paper does, "finest" over those of the
            last, which keeps detail where the first has only two or three. Where the first is a single one, as of 5
            in about every twentieth CIFAR-10 image, "coarsest" has nothing to choose by: "clusters" hides nothing,
            and the result is that of ``vps_refine`` alone; "threshold" hides the top rows.
        imputer: what hides a superpixel, see ``occlusion.fillings``.
        blur: deviation of the imputer "blur" over the shorter side.
        mask: "clusters" takes the ``top`` of k-means ``clusters`` of the map, "threshold" the ``share`` of its most
            sensitive pixels.
        clusters, top: the paper's k and r. With "coarsest" the fused map has a value per coarse superpixel, mostly 2 to
            4 at 32 px, so that there k = 5 and k = 7 often give the same mask.
        share: of the pixels, for "threshold".
        pitch, cell, jitter: grid of the squares that stay known inside the mask, in pixels, see ``contextual_cues``.
        steps, spacing, resamplings, regularisation, zeta: of the inpainting, see ``diffpir_inpaint``.
        refine: time step out of 1,000 at which variance-preservation sampling begins (tau); 0 leaves it out.
        gamma, repeats: its step size and moves per time step.
        mask_backward: "fixed" lets no gradient through the choice of the mask, which is the true derivative wherever
            there is one; "soft" passes one through the sensitivities, see ``soft_mask``, for attackers who mean to move
            the mask.

    Cost: passes of the denoiser, ``(len(times) - 2) resamplings + 1 + refine (repeats + 1)``, and of the target,
        ``sum(scales) + 1``, counted together, for the superpixels asked for: SLIC mostly returns fewer of them, and
        more where they are small (see ``superpixels``). Not counted are what fills up the last batch (see
        ``occlusion.sensitivity``), and the target's passes run again by "soft" when a gradient is asked for.

    Shows: "picture" events for ``lustral.steps.watching``: the map of each scale and the fused one in grey, black where
        the target is least and white where it is most sensitive; the image with what is hidden in grey; and what was
        inpainted, if it is refined after.

    Raises:
        ValueError: settings that do not fit together.

    Source: paper 001, chapter 4; scales and weights of its table 5.6, 20 steps with 20 resamplings, lambda 10 and zeta
        0.5 of 5.7, tau 10 and gamma 0.05 of 5.8.
    Differs: listing D.2 compares region numbers of different segmentations, here regions that overlap are compared.
        Not given in the paper: the imputer's blur, pitch, cell, jitter. ``lustral tune`` chose them, and with them
        zeta and k and r, for which listing D.3 has 5 and 2, on 64 CIFAR-10 training images (docs/tuning.md). The grid
        for 256 px is that of 32 px, eight times as large. The number of steps and resamplings is smaller by default,
        for cost. "finest" and "soft" are ours.
    """

    name: ClassVar[str] = "msid"
    family: ClassVar[Family] = "diffusion"
    source: ClassVar[str] = "MSID (paper 001), chapter 4"
    is_random: ClassVar[bool] = True
    needs_target: ClassVar[bool] = True
    presets: ClassVar = (
        {},
        {"mask": "threshold", "share": 0.2},
        {"steps": 20, "resamplings": 20, "zeta": 0.5, "clusters": 5, "top": 2},  # the paper's numbers
        {"scales": (100, 200, 300), "pitch": 32, "cell": 24, "jitter": 8, "denoiser": "scenes_denoiser"},
    )
    denoiser: str = Field(default="cifar10_denoiser", min_length=1)
    scales: Scales = (5, 10, 15)
    weights: Weights = WEIGHTS
    regions: Literal["coarsest", "finest"] = "coarsest"
    imputer: Imputer = "blur"
    blur: Number = Field(default=0.08, gt=0, le=1)
    mask: Literal["clusters", "threshold"] = "clusters"
    clusters: int = Field(default=6, ge=2, le=100)
    top: int = Field(default=3, ge=1)
    share: Number = Field(default=0.2, gt=0, lt=1)
    pitch: int = Field(default=4, ge=1, le=1024)
    cell: int = Field(default=3, ge=1, le=1024)
    jitter: int = Field(default=1, ge=0, le=1024)
    steps: int = Field(default=10, ge=2, le=500)
    spacing: Spacing = "quad"
    resamplings: int = Field(default=2, ge=1, le=1000)
    regularisation: float = Field(default=10.0, gt=0)
    zeta: float = Field(default=0.65, ge=0, le=1)
    refine: int = Field(default=10, ge=0, le=1000)
    gamma: float = Field(default=0.05, gt=0, lt=1)
    repeats: int = Field(default=1, ge=0, le=1000)
    mask_backward: Literal["fixed", "soft"] = "fixed"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.weights) != len(self.scales):
            raise ValueError(f"expected a weight for each of {len(self.scales)} scales, got {len(self.weights)}")
        if any(coarse >= fine for coarse, fine in pairwise(self.scales)):
            raise ValueError(f"scales must rise, coarse to fine, got {'+'.join(map(str, self.scales))}")
        if not any(self.weights):
            raise ValueError("weights are all 0, which hides nothing; give at least one scale a weight")
        if self.mask == "clusters" and self.top >= self.clusters:
            raise ValueError(f"top must be below clusters, got top={self.top} and clusters={self.clusters}")
        return self

    @property
    def gradient(self) -> Gradient:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Exact unless the mask has a surrogate."""
        return "exact" if self.mask_backward == "fixed" else "bpda"

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Passes of denoiser and target per image for which SLIC returns as many superpixels as asked for."""
        inpaint = (len(diffpir_times(self.spacing, self.steps)) - 2) * self.resamplings + 1
        return sum(self.scales) + 1 + inpaint + self.refine * (self.repeats + 1)

    def weights_used(self) -> tuple[str, ...]:
        return (self.denoiser,)

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.diffusion import load_denoiser
        from lustral.purifiers.module import Purifier

        denoiser, protected = load_denoiser(self.denoiser, device), required_target(self.name, target)

        def run(x: Images, noise: Noise) -> Images:
            denoiser.to(x.dtype)
            known = self._known(x, protected, noise)
            return self._restored(denoiser, x, known, noise)

        return Purifier(self, run, denoiser)

    def _known(self, x: Images, target: Callable[[Images], Tensor], noise: Noise) -> Tensor:
        """Mask (n, 1, h, w) of what the inpainting may go by, 1 = known."""
        import torch

        from lustral.purifiers.masks import contextual_cues
        from lustral.purifiers.soft_mask import soft_mask
        from lustral.purifiers.substitute import needs_gradient, substitute
        from lustral.steps import watched

        found = self._look(x.detach(), target, noise)
        squares = ~contextual_cues(torch.ones_like(found.masks), self.pitch, self.cell, self.jitter, noise)
        known = (~found.masks | squares)[:, None].to(x)
        if watched():
            self._show(x.detach(), known, found)
        if self.mask_backward == "fixed" or not needs_gradient(x):
            return known
        soft = [
            soft_mask(image, labels, self._fused_over(labels), target, filling, self.weights, mask)
            for image, labels, filling, mask in zip(x, found.labels, found.fillings, found.masks, strict=True)
        ]
        # Squares outside the mask too: they would stay known in a mask that moved there.
        return substitute(known, 1 - torch.stack(soft)[:, None] * (~squares)[:, None].to(x))

    def _look(self, x: Images, target: Callable[[Images], Tensor], noise: Noise) -> _Look:
        import torch

        from lustral.purifiers.fusion import fuse, stretch
        from lustral.purifiers.occlusion import fillings, sensitivity
        from lustral.purifiers.superpixels import superpixels

        most = len(self.scales) * x[0, 0].numel()  # SLIC may return more superpixels than asked for, up to all pixels
        chances = noise.numbers(most)  # drawn in every case, so that imputers share what follows
        labels = torch.stack([superpixels(image, self.scales) for image in x])
        counts = (labels.amax((2, 3)) + 1).sum(1).tolist()
        filled = [
            fillings(image, self.imputer, self.blur, numbers[:count])
            for image, numbers, count in zip(x, chances, counts, strict=True)
        ]
        maps = stretch(sensitivity(x, labels, target, filled))
        over = [self._fused_over(scales) for scales in labels]
        fused = [fuse(scales, regions, self.weights) for scales, regions in zip(maps, over, strict=True)]
        masks = torch.stack([self._mask(one) for one in fused])
        return _Look(masks, labels, filled, maps, torch.stack(fused))

    def _mask(self, fused: Tensor) -> Tensor:
        from lustral.purifiers.masks import cluster_mask, threshold_mask

        if self.mask == "threshold":
            return threshold_mask(fused, self.share)
        return cluster_mask(fused, self.clusters, self.top)

    def _show(self, x: Images, known: Tensor, found: _Look) -> None:
        """Maps (n, h, w) as grey pictures, and what the inpainting gets to see."""
        from lustral.purifiers.fusion import stretch
        from lustral.steps import show

        for place, count in enumerate(self.scales):
            show("picture", name=f"sensitivity {count}", x=found.maps[:, place, None].expand_as(x))
        show("picture", name="fused", x=stretch(found.fused)[:, None].expand_as(x))
        show("picture", name="mask", x=x * known + (1 - known) / 2)

    def _fused_over(self, labels: Tensor) -> Tensor:
        return labels[0 if self.regions == "coarsest" else -1]

    def _restored(self, denoise: Denoise, x: Images, known: Tensor, noise: Noise) -> Images:
        from lustral.purifiers.diffpir_inpaint import diffpir_inpaint
        from lustral.purifiers.vps_refine import vps_refine
        from lustral.steps import show

        inpaint = partial(diffpir_inpaint, steps=self.steps, spacing=self.spacing, resamplings=self.resamplings)
        y = inpaint(denoise, x, known, noise, regularisation=self.regularisation, zeta=self.zeta)
        if self.refine == 0:
            return y
        show("picture", name="inpainted", x=y)
        return vps_refine(denoise, y, noise, time=self.refine, gamma=self.gamma, repeats=self.repeats)
