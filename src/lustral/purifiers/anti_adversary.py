"""The anti-adversary layer: move the image to where the protected classifier is surer of what it sees."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.purifiers.base import Family, Gradient, PurifierSettings, required_target
from lustral.settings import Number

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.purifiers.module import Purifier
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["AntiAdversary"]


class AntiAdversary(PurifierSettings):
    """Descend a few steps on the protected classifier's cross-entropy with the class that it sees by itself.

    The class is that of the incoming image, ``argmax f(x)``, and only the confidence in it is meant to rise. Attackers
    who follow gradients of the defended classifier find them flat, while images that fool the classifier alone stay
    wrong: always attack blind as well. Long steps overshoot: with ``cifar10_classifier`` those of 0.15 change the
    class of 22 % of clean CIFAR-10 images (128 of them), those of 2/255 of none.

    Args:
        steps: number of steps, the paper's K.
        alpha: size of a step in every pixel, in units of [0, 1]; for "gradient" its root mean square over the image.
        descent: "sign" takes the sign of the gradient. Its derivative is zero wherever there is one, so that through
            the perturbation nothing flows back and ``x`` passes through unchanged but where a pixel is clamped; its
            jumps are lost ("bpda"). "gradient" takes the gradient scaled to the same length, and its exact derivative
            has the second derivatives of the classifier.

    Cost: one pass for the class, and per step a forward and a backward pass, counted as 3 passes: ``3 steps + 1``.

    Raises:
        ValueError: what is protected is no classifier. A quality metric has no class to be surer of: the loss between
            a score and itself is at its minimum, and nothing would move.

    Source: Alfarra et al., "Combating adversaries with anti-adversaries", AAAI 2022, arXiv:2103.14347, algorithm 1,
        with K = 2 and alpha = 0.15.
    Differs: the image is clamped to [0, 1] after every step, where published code lets it leave that range, and steps
        are taken in [0, 1], where it takes them in normalised space if the model has a mean and deviation. The
        gradient is that of ``log((1 - p) / p)`` of the class, parallel to that of the cross-entropy and not lost to
        rounding where p is nearly 1. "gradient" is ours, and so are its derivatives.
    """

    name: ClassVar[str] = "anti_adversary"
    family: ClassVar[Family] = "learned"
    source: ClassVar[str] = "Alfarra et al. 2022, arXiv:2103.14347"
    needs_target: ClassVar[bool] = True
    presets: ClassVar = ({"steps": 2, "alpha": 0.15},)
    steps: int = Field(default=2, ge=1, le=1000)
    alpha: Number = Field(default=0.15, gt=0, le=1)
    descent: Literal["sign", "gradient"] = "sign"

    @property
    def gradient(self) -> Gradient:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Exact unless a sign is taken."""
        return "exact" if self.descent == "gradient" else "bpda"

    @property
    def passes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the settings
        """Passes of the target per image, a backward pass counted as two."""
        return 3 * self.steps + 1

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.purifiers.module import Purifier
        from lustral.steps import step

        classify = required_target(self.name, target)

        def run(x: Images, noise: Noise) -> Images:
            label = step(partial(_seen, classify), x.detach())  # piecewise constant in x
            for _ in range(self.steps):
                x = step(partial(self._descend, classify), x, label)
            return x

        return Purifier(self, run)

    def _descend(self, classify: Callable[[Images], Tensor], x: Images, label: Tensor) -> Images:
        from lustral.purifiers.guidance import slope

        if self.descent == "sign":
            direction = slope(partial(_doubt, classify), x.detach(), label).sign()
        else:
            direction = _scaled(slope(partial(_doubt, classify), x, label))
        return (x - self.alpha * direction).clamp(0, 1)


def _seen(classify: Callable[[Images], Tensor], x: Images) -> Tensor:
    """The classes (n,) that the classifier sees in ``x``."""
    logits = classify(x)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            f"anti_adversary protects classifiers only: expected logits (n, k) of at least 2 classes, got "
            f"{tuple(logits.shape)} for {len(x)} images; a quality metric has no class to be surer of"
        )
    return logits.argmax(1)


def _doubt(classify: Callable[[Images], Tensor], x: Images, label: Tensor) -> Tensor:
    """``log((1 - p) / p)`` of the class ``label``, (n,); it grows with the cross-entropy."""
    from torch.nn.functional import one_hot

    logits = classify(x)
    own = one_hot(label, logits.shape[1]).bool()
    return logits.masked_fill(own, float("-inf")).logsumexp(1) - logits[own]


def _scaled(gradient: Images) -> Images:
    """Every image's gradient divided by its root mean square; where there is none it stays zero."""
    import torch

    length = torch.linalg.vector_norm(gradient.flatten(1), dim=1)[:, None, None, None]
    return gradient * (gradient[0].numel() ** 0.5 / length.where(length > 0, 1.0))
