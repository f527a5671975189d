"""Quality metrics of pyiqa with weights from a local file."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lustral.targets.base import Kind, TargetSettings, ordered_range
from lustral.targets.checkpoint import checkpoint_digest
from lustral.targets.extra import require_extra

if TYPE_CHECKING:
    from lustral.targets.module import Target

__all__ = ["PyIQA"]

RANGES = {
    "metaiqa": (0.0, 1.0),
    "maniqa": (0.0, 1.0),
    "clipiqa+": (0.0, 1.0),
    "topiq_nr": (0.215, 0.822),
    "paq2piq": (58.3804, 84.1711),
}
"""Lowest and highest score by metric."""


class PyIQA(TargetSettings):
    """META-IQA, MANIQA, CLIP-IQA+, TOPIQ or PaQ-2-PiQ as pyiqa implements them; for non-commercial use.

    pyiqa's licence is PolyForm-Noncommercial-1.0.0, for parts the S-Lab licence, which is non-commercial too; a log
    message says so once. The weights have licences of their own, see docs/targets.md.

    pyiqa would unpickle a checkpoint given by path, which can run code; the weights are read from safetensors instead
    and must fit exactly. Two of its networks fetch their backbone when they are made, unless it is in its cache:
    MANIQA the ViT of timm, which the weights then replace, and CLIP-IQA+ the CLIP network, which they do not contain.

    Args:
        metric: name in pyiqa. Higher scores are better for all five.
        weights: path of a safetensors file with the names of the ``state_dict`` of pyiqa's network.
        sha256: what the file must hash to; None trusts the file that is there.
        low, high: range of the scores, by which attacks are measured; None takes that of the paper, table 7.

    Source: Guardians of image quality, table 7; https://github.com/chaofengc/IQA-PyTorch.
    Differs: the benchmark takes META-IQA and MANIQA from their authors, at the image's own size and resized to
        224 x 224; pyiqa resizes for META-IQA to 224 x 224 and averages MANIQA over crops of 224 x 224.
    """

    name: ClassVar[str] = "iqa"
    source: ClassVar[str] = "https://github.com/chaofengc/IQA-PyTorch (PolyForm-Noncommercial-1.0.0)"
    needs: ClassVar[str | None] = "iqa"
    metric: Literal["metaiqa", "maniqa", "clipiqa+", "topiq_nr", "paq2piq"]
    weights: str = Field(min_length=1)
    sha256: str | None = None
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        ordered_range(*self.range)
        return self

    @property
    def kind(self) -> Kind:
        return "quality"

    @property
    def range(self) -> tuple[float, float]:
        low, high = RANGES[self.metric]
        return (low if self.low is None else self.low, high if self.high is None else self.high)

    def weights_digest(self) -> str:
        return checkpoint_digest(self.weights, self.sha256)

    def build(self, device: str = "cpu") -> Target:
        import torch

        from lustral.nets.iqa.per_image import PerImage
        from lustral.targets.module import Target
        from lustral.weights import load_into, load_weights

        pyiqa = require_extra("pyiqa", "iqa")
        _say_licence()
        weights = load_weights(self.weights, self.sha256)
        # Only as a loss has it a gradient, and only without reduction one score per image.
        options: dict[str, Any] = {"as_loss": True, "loss_reduction": "none", "pretrained": False}
        if self.metric == "topiq_nr":
            options["backbone_pretrain"] = False
        with torch.random.fork_rng(devices=[]):  # networks start from random numbers
            metric = pyiqa.create_metric(self.metric, device=device, **options)
        load_into(metric.net, weights)
        return Target(self, PerImage(metric)).to(device)


@cache
def _say_licence() -> None:
    logging.getLogger(__name__).warning(
        "pyiqa is for non-commercial use only (PolyForm-Noncommercial-1.0.0, parts under the S-Lab licence)"
    )
