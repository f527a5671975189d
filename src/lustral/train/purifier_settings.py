"""How networks learn to undo attacks; read without torch.

A network is anything that maps images (n, 3, h, w) in [0, 1] to images of the same shape. A new one is a line in
``lustral.nets.restorers.RESTORATION`` and its name in ``Network``. It is told to make the clean image of the attacked
one, by their absolute difference, unless it defines

    training_loss(attacked, clean, generator, target) -> Tensor

where ``attacked`` and ``clean`` are the images of one step, ``generator`` is its only source of random numbers and
``target`` is the attacked classifier, frozen, images -> logits.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from lustral.attacks import parse_attack
from lustral.train.settings import LoopSettings

__all__ = ["Loss", "Network", "PurifierTraining"]

Network = Literal["maep", "disco", "fcn", "comdefend", "hgd"]
Loss = Literal["own", "purification", "reconstruction", "mlm", "trades_pixels", "trades_latents"]


class PurifierTraining(LoopSettings):
    """How a network learns to undo attacks from pairs of attacked and clean images.

    Args:
        network: key of ``lustral.nets.restorers.RESTORATION``.
        options: arguments of its class that shall differ from their defaults, such as ``{"width": 96, "mask": 0.75}``;
            the side of the images, if it has one, is that of the data.
        widths: not used; they are among the options.
        loss: "own" is what the network brings (of a masked autoencoder equation 15 of MAEP), else the absolute error
            of purified attacked images, "purification"; the others are those of table 10 of MAEP, see
            ``lustral.train.purifier_losses``.
        balance: weight of the second term of "trades_pixels" and "trades_latents".
        data: images with classes to learn from.
        target: the classifier that is attacked, and that judges; empty takes the one of the zoo for the data.
        attack: what is done to the images; the attacker does not know of the purifier.
        count: training images that are attacked; None: 20,000 of CIFAR-10, else all.
        label: ends the name of the weights, to tell networks of one kind apart.
        held_out: test images that are attacked to judge by. They are chosen otherwise than those of the recipes: of
            CIFAR-10 few are in both, of the 560 test tiles of scenes many must be.
    """

    name: ClassVar[str] = "purifier"
    widths: Annotated[tuple[int, ...], Field(max_length=0)] = ()
    epochs: int = Field(default=12, ge=1)
    batch: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    warm_up: float = Field(default=0.05, gt=0, lt=1)
    optimizer: Literal["sgd", "adam"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0)
    average: float = Field(default=0.998, ge=0, lt=1)
    clip: float = Field(default=1.0, ge=0)
    network: Network = "maep"
    options: dict[str, JsonValue] = Field(default_factory=dict)
    loss: Loss = "own"
    balance: float = Field(default=1.0, ge=0)
    data: Literal["cifar10", "cifar100", "scenes"] = "cifar10"
    target: str = ""
    attack: str = "pgd:epsilon=8/255,steps=10,step=2/255"
    count: int | None = Field(default=None, ge=1)
    held_out: int = Field(default=500, ge=1)
    label: str = Field(default="", pattern="^[a-z0-9_]*$")

    @field_validator("attack")
    @classmethod
    def _readable(cls, attack: str) -> str:
        parse_attack(attack)
        return attack

    @model_validator(mode="after")
    def _has_what_the_loss_needs(self) -> Self:
        if self.loss in ("mlm", "trades_latents") and self.network != "maep":
            raise ValueError(f"loss={self.loss} needs a masked autoencoder, network=maep, got network={self.network}")
        if self.network == "comdefend" and self.loss != "own":
            raise ValueError(
                f"loss={self.loss} cannot teach network=comdefend: its bits have no derivative, so the half before "
                "them would not learn; use loss=own"
            )
        if self.loss == "mlm" and self.epochs < 2:
            raise ValueError(
                "loss=mlm guesses in the first half of the epochs and purifies in the second: "
                f"give it 2 epochs or more, got epochs={self.epochs}"
            )
        return self

    @property
    def attacked(self) -> str:
        """The classifier that is attacked."""
        return self.target or f"{self.data}_classifier"
