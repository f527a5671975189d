"""cAdv: colours that a colorization network finds natural, driven by hints."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.attacks.base import AttackSettings
from lustral.attacks.budgets import UNBOUNDED
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.attacks.oracle import Oracle
    from lustral.nets.colorization import Colorization
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["CAdv"]


class CAdv(AttackSettings):
    """Take the colours off an image and let a network put others on, with hints that Adam moves.

    The hints begin as the image's own colours at random pixels of the groups of colours that the network is
    surest of; then the colours of all hints and the mask that says where they are follow the gradient of the natural
    loss through the network. It is no attack of a norm: ``epsilon`` bounds nothing, and much of the distance is the
    network's own error. ``color_shift`` is a colour attack that needs no network.

    Cost: ``steps`` gradients and one loss per image and draw; per image, ``steps`` forward and backward passes of
    the colorization network (34 million weights) and two more forward passes.

    Args:
        norm: has no meaning here.
        epsilon: bounds nothing; 1 and more are all images.
        weights: path of a safetensors file with the colorization network of Zhang et al. 2017 (siggraph17). It
            does not ship with lustral.
        mask_center: the mask of these weights is ``-mask_center`` without and ``1 - mask_center`` with a hint: 0.5
            for ``latest_net_G.pth`` of the authors of cAdv, 0 for ``siggraph17-df00044c.pth`` of Zhang et al.
        hints: pixels that give their colour first.
        clusters: groups of similar colours per image, by k-means.
        chosen: groups that give hints, those of the smallest mean entropy ("k").
        steps: of Adam.
        rate: its learning rate, for hints of a / 110 and b / 110 and for the mask.

    Source: Bhattad et al., arXiv:1904.06347, section 3.1; defaults of its published code, which takes the groups of
        smallest entropy, though a comment in it says largest.
    Differs: all steps are taken and the best image stands; the code stops when the probability of the wrong class
        is 0.05 ahead and has settled. Colours are smoothed within their plane before they are grouped; the code also
        smooths across a and b. Sides are extended to multiples of 8 by repeating the border, and cut back.
    """

    name: ClassVar[str] = "cadv"
    source: ClassVar[str] = "arXiv:1904.06347, section 3.1"
    needs: ClassVar = "gradients"
    norm: Literal["linf", "l2"] = "linf"
    epsilon: Number = Field(default=UNBOUNDED, ge=1)
    weights: str = ""
    mask_center: float = Field(default=0.5, ge=0, le=1)
    hints: int = Field(default=50, ge=1)
    clusters: int = Field(default=8, ge=1)
    chosen: int = Field(default=4, ge=1)
    steps: int = Field(default=500, ge=1)
    rate: float = Field(default=1e-4, gt=0)

    def weights_used(self) -> tuple[str, ...]:
        return (self.weights,) if self.weights else ()

    def run(self, oracle: Oracle, x: Images, noise: Noise) -> Images:
        import torch
        from kornia.color import lab_to_rgb, rgb_to_lab

        from lustral.attacks.rendering import climb

        network = self._network().to(x)
        height, width = x.shape[2:]
        lab = rgb_to_lab(_extended(x))
        lightness, colors = (lab[:, :1] - 50) / 100, lab[:, 1:] / 110

        def render(theta: Tensor) -> Tensor:
            ab = network(lightness, theta[:, :2], theta[:, 2:])[1]
            rgb: Tensor = lab_to_rgb(torch.cat([100 * lightness + 50, 110 * ab], 1), clip=True)
            return rgb[:, :, :height, :width]

        def project_(theta: Tensor) -> Tensor:
            theta[:, :2].clamp_(-1, 1)
            theta[:, 2:].clamp_(-self.mask_center, 1 - self.mask_center)
            return theta

        start = self._start(network, lightness, colors, noise, (height, width))
        return climb(oracle, x, start, render, project_, steps=self.steps, rate=self.rate)

    def _network(self) -> Colorization:
        from lustral.model_files import WeightsError
        from lustral.nets.colorization import load_colorization

        if not self.weights:
            raise WeightsError(
                "cadv needs its colorization network, which does not ship with lustral: set weights to the path of a "
                "safetensors file with the siggraph17 network of Zhang et al. 2017 (latest_net_G.pth of the authors of "
                "cAdv, or siggraph17-df00044c.pth with mask_center=0), made by safetensors.torch.save_file("
                "torch.load(path, weights_only=True), 'x.safetensors'); color_shift needs none"
            )
        return load_colorization(self.weights)

    def _start(
        self, network: Colorization, lightness: Tensor, colors: Tensor, noise: Noise, size: tuple[int, int]
    ) -> Tensor:
        """First hints and mask (n, 3, h, w); hints lie within ``size``, not in the extension."""
        import torch

        from lustral.attacks.color_hints import choose_hints, entropies

        empty = torch.full_like(lightness, -self.mask_center)
        with torch.no_grad():
            logits, _ = network(lightness, torch.zeros_like(colors), empty)
        entropy = entropies(logits, *lightness.shape[2:])[:, : size[0], : size[1]]
        inner = colors[:, :, : size[0], : size[1]]
        given = choose_hints(inner, entropy, noise, clusters=self.clusters, chosen=self.chosen, count=self.hints)
        theta = torch.cat([torch.zeros_like(colors), empty], 1)
        place = theta[:, :, : size[0], : size[1]]
        place.copy_(
            torch.where(given, torch.cat([inner, torch.full_like(inner[:, :1], 1 - self.mask_center)], 1), place)
        )
        return theta


def _extended(x: Tensor) -> Tensor:
    """Images with sides that are multiples of what the network asks for."""
    import torch.nn.functional as functional

    from lustral.nets.colorization import MULTIPLE

    down, right = (-side % MULTIPLE for side in x.shape[2:])
    return functional.pad(x, (0, right, 0, down), mode="replicate")
