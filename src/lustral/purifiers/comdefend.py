"""ComDefend: an image goes through twelve bits per pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lustral.purifiers.base import PurifierSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lustral.purifiers.module import Purifier
    from lustral.seeds import Noise
    from lustral.tensors import Images

__all__ = ["ComDefend"]


class ComDefend(PurifierSettings):
    """One network compresses the image to a few hard bits per pixel, another one restores it. Trained without attacks.

    Args:
        weights: name of registered weights, or path of a safetensors file that ``lustral train`` wrote.
        noise: deviation of normal noise that is taken off the logits of the bits. The paper takes none in use; the
            published code for PyTorch takes 20, as in training.
        backward: what stands in for the derivative of the hard bits: "identity" passes the gradient on to the logits,
            "sigmoid" takes the derivative of the soft bits of the training, which nearly vanishes as the training
            drives logits far from 0.

    Cost: one network pass.

    Source: Jia et al., arXiv:1811.12673.
        Differs: whole images instead of squares of 32 pixels; both backward modes are ours, the published code has no
        gradient through its bits; other weights.
    """

    name: ClassVar[str] = "comdefend"
    source: ClassVar[str] = "Jia et al. 2019 (ComDefend)"
    gradient: ClassVar = "bpda"
    passes: ClassVar[int] = 1
    weights: str = Field(default="cifar10_comdefend", min_length=1)
    noise: float = Field(default=0.0, ge=0)
    backward: Literal["identity", "sigmoid"] = "identity"

    @property
    def is_random(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] depends on the noise
        """Whether there is noise."""
        return self.noise > 0

    def weights_used(self) -> tuple[str, ...]:
        return (self.weights,)

    def build(self, device: str = "cpu", target: Callable[[Images], Tensor] | None = None) -> Purifier:
        from lustral.nets.compressing import Compressing
        from lustral.nets.networks import load_network
        from lustral.purifiers.module import Purifier
        from lustral.purifiers.substitute import substitute
        from lustral.steps import step

        network = load_network(self.weights, Compressing, device)

        def through_bits(x: Tensor, drawn: Tensor) -> Tensor:
            logits = network.encode(x) - self.noise * drawn
            bits = (logits > 0).to(x.dtype)
            carrier = logits if self.backward == "identity" else logits.sigmoid()
            return network.decode(substitute(bits, carrier))

        def run(x: Images, noise: Noise) -> Images:
            network.to(x.dtype)
            drawn = x.new_zeros(len(x), network.bits, *x.shape[2:])
            return step(through_bits, x, noise.normal(drawn) if self.noise else drawn)

        return Purifier(self, run, network)
