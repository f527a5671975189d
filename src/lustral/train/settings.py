"""Settings of the trainings, which can be listed and read without torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from lustral.data.distortions import DISTORTIONS
from lustral.data.photos import Source
from lustral.settings import Settings

__all__ = [
    "ArtifactRemovalTraining",
    "ClassifierTraining",
    "DenoiserTraining",
    "LoopSettings",
    "Progress",
    "QualityTraining",
    "SuperResolutionTraining",
]

Progress = Callable[[dict[str, Any]], None]
"""Called after every epoch with what the epoch gave: its number, loss, score and seconds."""


VISIBLE = tuple(kind for kind in DISTORTIONS if kind not in ("brighten", "darken", "contrast", "saturation"))


def _split_plus(value: object) -> object:
    """Let people write ``widths=16+32+64``."""
    return tuple(value.split("+")) if isinstance(value, str) else value


def _number(value: object) -> object:
    """Read a number that came from the command line as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Widths = Annotated[tuple[int, ...], BeforeValidator(_split_plus), Field(min_length=1)]


class LoopSettings(Settings):
    """What every training loop is told.

    Args:
        widths: channels per stage of the network.
        epochs: passes over the training images.
        batch: images per step.
        learning_rate: peak of a linear warm-up and a linear decay to zero.
        warm_up: share of the steps in which the learning rate rises.
        optimizer: "sgd" with Nesterov momentum, or "adam" (AdamW with second momentum 0.99).
        momentum: of SGD, or first momentum of Adam.
        weight_decay: on weights, not on biases or normalisation.
        mirror: random left-right mirroring.
        average: decay per step of the weight average that is kept.
        clip: largest norm of the gradient; larger ones are scaled down. 0 leaves them alone.
        seed: everything random in the run follows from it.
    """

    widths: Widths = (16, 32, 64)
    epochs: int = Field(default=40, ge=1)
    batch: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=0.2, gt=0)
    warm_up: float = Field(default=0.2, gt=0, lt=1)
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    mirror: bool = True
    average: float = Field(default=0.99, ge=0, lt=1)
    clip: float = Field(default=0.0, ge=0)
    seed: int = 0

    def rate(self, epoch: int, done: float) -> float:
        """Learning rate of a step in epoch 0, 1, ..., after a share ``done`` of all steps."""
        return self.learning_rate * min(done / self.warm_up, (1 - done) / (1 - self.warm_up))


class ClassifierTraining(LoopSettings):
    """How a residual classifier is trained; the defaults are those for CIFAR-10.

    Args:
        smoothing: label smoothing.
        shift: random shift of up to this many pixels with reflected borders.
    """

    name: ClassVar[str] = "classifier"
    widths: Widths = (48, 96, 192)
    batch: int = Field(default=256, ge=2)
    learning_rate: float = Field(default=0.4, gt=0)
    average: float = Field(default=0.998, ge=0, lt=1)
    smoothing: float = Field(default=0.1, ge=0, lt=1)
    shift: int = Field(default=4, ge=0)


class QualityTraining(LoopSettings):
    """How a no-reference quality network is trained on graded distortions of photographs.

    Args:
        network: "photo" (patch averaging on local contrast), "plain" (global pooling) or "transformer", whose
            ``widths`` is one number, see ``lustral.nets``.
        blocks: blocks of the transformer.
        sources: photographs that are spoilt, see ``lustral.data.photos.Photos``; the score range and the
            LIVE correlation on the weight card use other pictures, which are never trained on.
        kinds: distortions, see ``lustral.data.distortions.DISTORTIONS``; by default all but the four that no
            one can see without the reference, because a photograph may well be bright, dark, flat or pale.
        crops: crops per photograph.
        side: side of the crops in pixels; the truth is that of a whole crop.
        window: side of the random part of a crop that one training step sees.
    """

    name: ClassVar[str] = "quality"
    network: Literal["photo", "plain", "transformer"] = "photo"
    blocks: int = Field(default=2, ge=1)
    widths: Widths = (16, 32, 64)
    epochs: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    average: float = Field(default=0.995, ge=0, lt=1)
    sources: Annotated[tuple[Source, ...], BeforeValidator(_split_plus), Field(min_length=1)] = ("builtin",)
    kinds: Annotated[tuple[str, ...], BeforeValidator(_split_plus), Field(min_length=1)] = VISIBLE
    crops: int = Field(default=20, ge=1)
    side: int = Field(default=96, ge=44)
    window: int = Field(default=64, ge=32)

    @model_validator(mode="after")
    def _one_width_of_a_transformer(self) -> Self:
        if self.network == "transformer" and len(self.widths) > 1:
            raise ValueError(f"expected one width of a transformer, got widths={'+'.join(map(str, self.widths))}")
        return self


class DenoiserTraining(LoopSettings):
    """How a denoiser for diffusion is trained, at noise levels 0.02 to 80 for images in [-1, 1].

    Args:
        data: images to learn: "cifar10", "scenes", or "folder" for those below ``folder``.
        folder: folder of photographs, for ``data="folder"``.
        side: side of the images; larger ones are cropped at random.
        blocks: residual blocks of every resolution, or one number for all.
        patch: side of the squares of pixels that become channels.
        embedding: channels of the embedded noise level.
        dihedral: turn and mirror the images in all eight ways; else left-right mirroring only.
        log_mean: mean of the logarithm of the noise level.
        log_deviation: its standard deviation.
        uniform: share of the images whose noise level is log-uniform over the whole range instead.
    """

    name: ClassVar[str] = "denoiser"
    widths: Widths = (32, 64, 96, 128)
    epochs: int = Field(default=24, ge=1)
    batch: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1.5e-3, gt=0)
    warm_up: float = Field(default=0.05, gt=0, lt=1)
    optimizer: Literal["sgd", "adam"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0)
    average: float = Field(default=0.999, ge=0, lt=1)
    clip: float = Field(default=1.0, ge=0)
    data: Literal["cifar10", "scenes", "folder"] = "cifar10"
    folder: str = ""
    side: int = Field(default=32, ge=16)
    blocks: PositiveInt | Widths = Field(default=(1, 2, 2, 1), union_mode="left_to_right")
    patch: int = Field(default=1, ge=1)
    embedding: int = Field(default=256, ge=8)
    dihedral: bool = False
    log_mean: float = -1.2
    log_deviation: float = Field(default=1.2, gt=0)
    uniform: float = Field(default=0.15, ge=0, le=1)

    @model_validator(mode="after")
    def _one_count_per_resolution(self) -> Self:
        if not isinstance(self.blocks, int) and len(self.blocks) != len(self.widths):
            raise ValueError(
                f"expected one number of blocks, or as many as widths ({len(self.widths)}), got {len(self.blocks)}: "
                f"blocks={'+'.join(map(str, self.blocks))}"
            )
        return self


class SuperResolutionTraining(LoopSettings):
    """How a network for super-resolution is trained on crops of photographs.

    Args:
        network: "edsr", "mdsr", "rrdb" (of ESRGAN) or "drln", see ``lustral.nets``.
        scale: ratio; MDSR learns every power of two up to it.
        widths: channels of the network, one number.
        blocks: residual blocks (EDSR, MDSR), residual-in-residual blocks (RRDB) or Laplacian modules (DRLN).
        sources: photographs, see ``lustral.data.photos.Photos``. With ``kodak`` among them the held-out pictures are
            whole photographs of that suite, else tiles of the built-in photographs.
        crops: crops per photograph.
        side: side of the crops in pixels.
        window: side of the random part of a crop that one training step sees, before it is reduced.
    """

    name: ClassVar[str] = "super_resolution"
    widths: Annotated[Widths, Field(max_length=1)] = (32,)
    epochs: int = Field(default=40, ge=1)
    batch: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0)
    warm_up: float = Field(default=0.05, gt=0, lt=1)
    optimizer: Literal["sgd", "adam"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0)
    average: float = Field(default=0.99, ge=0, lt=1)
    clip: float = Field(default=1.0, ge=0)
    network: Literal["edsr", "mdsr", "rrdb", "drln"] = "edsr"
    scale: Annotated[Literal[2, 4, 8], BeforeValidator(_number)] = 2
    blocks: int = Field(default=6, ge=1)
    sources: Annotated[tuple[Source, ...], BeforeValidator(_split_plus), Field(min_length=1)] = ("builtin", "kodak")
    crops: int = Field(default=100, ge=1)
    side: int = Field(default=96, ge=44)
    window: int = Field(default=48, ge=16, multiple_of=8)


class ArtifactRemovalTraining(LoopSettings):
    """How a network that removes JPEG artefacts is trained, together with its discriminator.

    Args:
        data: images to learn: "cifar10" or "photographs".
        quality: JPEG quality that is undone.
        widths: channels of the generator, one number.
        blocks: its residual blocks.
        fold: side of the squares of pixels that become its channels.
        discriminator: channels of the first layer of the discriminator.
        perceptual: weight of the relative squared error of classifier features, beside the absolute error of pixels.
        adversarial: weight of the adversarial loss.
        halving: epochs after which the learning rate halves, again and again; after the warm-up it does not decay
            otherwise.
        sources: for photographs, as in ``SuperResolutionTraining``.
        crops: crops per photograph.
        side: side of these crops in pixels.
        window: side of the random part of an image that one training step compresses; the paper has 256.
    """

    name: ClassVar[str] = "artifact_removal"
    widths: Annotated[Widths, Field(max_length=1)] = (48,)
    epochs: int = Field(default=20, ge=1)
    batch: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    warm_up: float = Field(default=0.01, gt=0, lt=1)
    optimizer: Literal["sgd", "adam"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0)
    average: float = Field(default=0.99, ge=0, lt=1)
    data: Literal["cifar10", "photographs"] = "cifar10"
    quality: int = Field(default=40, ge=1, le=100)
    blocks: int = Field(default=6, ge=1)
    fold: int = Field(default=2, ge=1)
    discriminator: int = Field(default=32, ge=1)
    perceptual: float = Field(default=0.002, ge=0)
    adversarial: float = Field(default=1e-3, ge=0)
    halving: int = Field(default=5, ge=1)
    sources: Annotated[tuple[Source, ...], BeforeValidator(_split_plus), Field(min_length=1)] = ("builtin", "kodak")
    crops: int = Field(default=100, ge=1)
    side: int = Field(default=96, ge=44)
    window: int = Field(default=32, ge=16, multiple_of=8)

    def rate(self, epoch: int, done: float) -> float:
        return self.learning_rate * min(1.0, done / self.warm_up) * 0.5 ** (epoch // self.halving)
