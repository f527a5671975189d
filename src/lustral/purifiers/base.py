"""What every purifier promises. Importing this loads no torch: settings are cheap, only ``build`` is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lustral.settings import Settings, SettingsError

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.purifiers.module import Purifier
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["Family", "Gradient", "PurifierSettings", "required_target"]

Family = Literal[
    "control",
    "filtering",
    "compression",
    "spatial",
    "noising",
    "restoration",
    "learned",
    "diffusion",
    "composition",
    "other",
]
"""What a purifier does, by which tables group it: "learned" are networks made as defences, "restoration" those made
to restore pictures."""

Gradient = Literal["exact", "bpda", "none"]


class PurifierSettings(Settings):
    """Settings of a purifier; a subclass is one file and reads like its paper.

    A purifier without a network defines ``purify``; one with a network defines ``build``, loads it
    there and hands it to ``Purifier``. Heavy imports stay inside these two methods.

    Class attributes:
        name: the one name used in recipes, on the command line and in tables.
        family: what it does, by which tables group it.
        source: paper and section.
        gradient: what autograd through it means. "exact" is the true derivative; "bpda" is a documented
            surrogate (the forward pass is not differentiable); "none" is no or zero gradient.
        is_random: whether two purifications of one image differ.
        needs_target: whether ``build`` must be given the protected model; what it computes is part of the defence,
            open to attackers like the rest, and counts among its passes.
        passes: network passes per image.
        presets: settings used by papers, weakest first, as keyword dictionaries.
    """

    family: ClassVar[Family] = "other"
    source: ClassVar[str]
    gradient: ClassVar[Gradient]
    is_random: ClassVar[bool] = False
    needs_target: ClassVar[bool] = False
    passes: ClassVar[int] = 0
    presets: ClassVar[tuple[dict[str, Any], ...]] = ()

    def weights_used(self) -> tuple[str, ...]:
        """Names or paths of the weights that ``build`` opens; their hashes are part of a result's identity."""
        return ()

    def purify(self, x: Images, noise: Noise) -> Images:
        """Map images (n, 3, h, w) in [0, 1] to images of the same shape; range is enforced by the caller."""
        raise NotImplementedError(f"{self.name} defines build instead of purify")

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        """Load what is needed and return the module ``forward(x, noise) -> x``.

        Args:
            device: where its networks live.
            target: the protected model, for purifiers that declare ``needs_target``; others ignore it.

        Raises:
            SettingsError: the purifier needs a target and there is none.
        """
        from lustral.purifiers.module import Purifier

        return Purifier(self, self.purify)


def required_target(name: str, target: Callable[[Images], Tensor] | None) -> Callable[[Images], Tensor]:
    """The target of a purifier that needs one, for its ``build``.

    Raises:
        SettingsError: there is none.
    """
    if target is None:
        raise SettingsError(
            f"{name} looks at the model that it protects and was given none; pass it as build(device, target=model), "
            f"or on the command line as --target NAME, such as --target cifar10_classifier"
        )
    return target
