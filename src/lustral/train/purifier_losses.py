"""What a purifier is told to do: the losses of MAEP's table 10, all of them means of absolute errors.

Differs: equations 16 to 21 are read off the words around them, since our copy of the paper lost the formulas, and the
weight of TRADES' second term is not given; 1 is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lustral.nets.masked_autoencoder import MaskedAutoencoder

__all__ = ["LOSSES", "Moment"]

Images = Float[Tensor, "n 3 h w"]


@dataclass(frozen=True)
class Moment:
    """What a loss may use besides the network and the images.

    Attributes:
        generator: its only source of random numbers.
        target: the attacked classifier, images -> logits.
        balance: weight of the second term, if there are two.
        done: share of the epochs that are over.
    """

    generator: torch.Generator
    target: Callable[[Tensor], Tensor]
    balance: float = 1.0
    done: float = 0.0


Loss = Callable[[nn.Module, Images, Images, Moment], Tensor]
"""Loss of (network, attacked images, clean images, moment)."""


def own(network: nn.Module, attacked: Images, clean: Images, moment: Moment) -> Tensor:
    """The loss that the network brings, else ``purification``; of a masked autoencoder MAEP's equation 15."""
    brought = getattr(network, "training_loss", None)
    if brought is None:
        return purification(network, attacked, clean, moment)
    return brought(attacked, clean, moment.generator, moment.target)


def purification(network: nn.Module, attacked: Images, clean: Images, moment: Moment) -> Tensor:
    """Purified attacked images are clean ones. Source: MAEP, equation 7; DISCO."""
    return _distance(network(attacked), clean)


def reconstruction(network: nn.Module, attacked: Images, clean: Images, moment: Moment) -> Tensor:
    """Purified images, attacked or not, are clean ones. Source: MAEP, equation 16."""
    return _distance(network(attacked), clean) + _distance(network(clean), clean)


def mlm(network: nn.Module, attacked: Images, clean: Images, moment: Moment) -> Tensor:
    """In the first half of the epochs hidden patches of attacked images are guessed, then they are purified.

    Source: MAEP, equations 4, 17 and 18. Differs: the paper does not say how the epochs are shared out; one schedule
    of the learning rate covers both halves.
    """
    if moment.done >= 0.5:
        return purification(network, attacked, clean, moment)
    masked = _masked(network)
    visible = masked.draw_visible(attacked, moment.generator)
    hidden = masked.hidden(attacked, visible)
    return (hidden * (masked.restore(attacked, visible) - attacked)).abs().sum() / (3 * hidden.sum()).clamp(min=1)


def trades_pixels(network: nn.Module, attacked: Images, clean: Images, moment: Moment) -> Tensor:
    """Clean images stay, and attacked ones are purified to what clean ones are. Source: MAEP, equation 20."""
    purified = network(clean)
    return _distance(purified, clean) + moment.balance * _distance(network(attacked), purified)


def trades_latents(network: nn.Module, attacked: Images, clean: Images, moment: Moment) -> Tensor:
    """Clean images stay, and attacked ones have their latent tokens. Source: MAEP, equation 21."""
    encode = _masked(network).encode
    return _distance(network(clean), clean) + moment.balance * _distance(encode(attacked), encode(clean))


LOSSES: dict[str, Loss] = {
    "own": own,
    "purification": purification,
    "reconstruction": reconstruction,
    "mlm": mlm,
    "trades_pixels": trades_pixels,
    "trades_latents": trades_latents,
}


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean()


def _masked(network: nn.Module) -> MaskedAutoencoder:
    if not isinstance(network, MaskedAutoencoder):
        raise TypeError(f"this loss needs a masked autoencoder, got {type(network).__name__}; use loss=own")
    return network
