"""Learn a perturbation that moves the scores of a quality target on images it has never seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lustral.data.base import ImageSet
from lustral.nets.perturbations import PerturbationGenerator, UniversalPerturbation
from lustral.seeds import Noise
from lustral.targets import parse_target
from lustral.tensors import Images, from_uint8
from lustral.train.loop import as_tensor, optimise, shift_and_mirror
from lustral.train.perturbation_settings import GeneratorTraining, UniversalTraining
from lustral.train.quality import kodak_or_builtin
from lustral.train.settings import Progress

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = ["architecture", "judge_perturbation", "train_perturbation"]

STRENGTH = 8  # in levels of 8 bits; the strongest of the paper, by which weights are judged
BATCH = 16  # held-out crops per pass

Weights = dict[str, Tensor]
Trained = UniversalTraining | GeneratorTraining


class _Scores:
    """Scores of a target in units of its range, and which way (1 or -1) the attacker moves them."""

    def __init__(self, settings: Trained, device: str) -> None:
        chosen = parse_target(settings.target)
        low, high = chosen.range
        self.target, self.low, self.span = chosen.build(device), low, high - low
        self.sign = chosen.sign

    def __call__(self, x: Images) -> Tensor:
        """Of images (n, 3, h, w): (n,); 0 and 1 are the ends of the range."""
        return (self.target(x) - self.low) / self.span


def architecture(settings: Trained) -> dict[str, JsonValue]:
    """What rebuilds the perturbation and what it was made for, for the weight card."""
    chosen = parse_target(settings.target)
    found: dict[str, JsonValue] = {"target": settings.target, "target_weights": chosen.weights_digest()}
    if isinstance(settings, UniversalTraining):
        return {"network": "universal_perturbation", "side": settings.tile, **found}
    return {"network": "perturbation_generator", "widths": list(settings.widths), **found}


def _moved(x: Images, perturbation: Tensor, bound: float) -> Images:
    return (x + bound * perturbation).clamp(0, 1)


def train_perturbation(
    settings: Trained,
    train: ImageSet,
    test: ImageSet,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> tuple[Weights, dict[str, Any]]:
    """Raise the mean score of perturbed images, and return what is saved of the perturbation and a record of the run.

    The loss is ``-mean(f(clip(x + bound * d(x)))) / (high - low)``, its sign turned where the score shall fall.
    The record's ``test_gain`` is by how much the perturbation moves the scores of the test images, in units of the
    range, at the bound of the training. A run that finds ``checkpoint`` goes on, see ``lustral.train.loop.optimise``.

    Cost: ``epochs * len(train)`` forward and backward passes of the target in single precision: perturbations are
        smaller than the steps of bfloat16.

    Source: Shumitskaya et al., arXiv:2211.00366 and arXiv:2305.15544, as Guardians of image quality
        (arXiv:2408.01541, appendix on attacks) runs them: Adam, batches of 8, 5 epochs, a universal perturbation is
        clamped to its bound after every step.
    Differs: crops of BSDS500; every crop once per epoch; half of them mirrored; the second momentum of Adam is 0.99.
        FACPA's loss has the sign of the direction, which its published code forgets for metrics that fall with quality.
    """
    scores = _Scores(settings, device)
    images, held_out = as_tensor(train), as_tensor(test)

    def make() -> UniversalPerturbation | PerturbationGenerator:
        if isinstance(settings, UniversalTraining):
            return UniversalPerturbation(settings.tile)
        return PerturbationGenerator(settings.widths)

    def loss_of(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        if isinstance(model, UniversalPerturbation):
            model.project_()
        x = shift_and_mirror(from_uint8(images[rows]), 0, settings.mirror, generator).to(device)
        return -scores.sign * scores(_moved(x, model(x), settings.bound)).mean()

    @torch.no_grad()
    def score(model: nn.Module) -> dict[str, float]:
        parts = (from_uint8(part).to(device) for part in held_out.split(BATCH))
        moves = [scores(_moved(x, model(x).clamp(-1, 1), settings.bound)) - scores(x) for x in parts]
        return {"test_gain": scores.sign * float(torch.cat(moves).mean())}

    state, history = optimise(settings, make, len(images), loss_of, score, checkpoint, progress, device)
    with torch.device("meta"):  # no random numbers for weights that are replaced at once
        model = make()
    model.load_state_dict(state, assign=True)
    if isinstance(model, UniversalPerturbation):
        model.project_()
    return model.to_saved(), {"history": history, "test_images": len(test)}


@torch.no_grad()
def judge_perturbation(settings: Trained, weights: Weights) -> tuple[dict[str, float], str]:
    """How far the perturbation moves the scores of whole photographs at 8/255, beside random signs of that size.

    Returns:
        Means in units of the range: ``clean``, the scores of the photographs themselves, ``gain`` and
        ``gain_random_signs``; and what was judged.
    """
    scores = _Scores(settings, "cpu")
    kind = UniversalPerturbation if isinstance(settings, UniversalTraining) else PerturbationGenerator
    perturbation = kind.from_saved(weights).eval()
    name, photographs = kodak_or_builtin()
    found: list[Tensor] = []
    for row, photograph in enumerate(photographs):
        x = from_uint8(photograph[None])
        signs = Noise(settings.seed, "judge", [str(row)]).signs(x)
        clean = scores(x)
        gains = [scores.sign * (scores(_moved(x, d, STRENGTH / 255)) - clean) for d in (perturbation(x), signs)]
        found.append(torch.cat([clean, *gains]))
    means = torch.stack(found).mean(0).tolist()
    about = f"made to move {settings.victim}; judged on {name} with a bound of {STRENGTH}/255"
    return dict(zip(("clean", "gain", "gain_random_signs"), means, strict=True)), about
