"""Defences and evaluations that are wrong on purpose, honest ones, and a way to run both as real cells.

Images are 12 x 12, nets are tiny; everything goes through recipe, plan and ``execute`` as in a real run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lustral.attacks import parse_attack
from lustral.attacks.oracle import Oracle, Selection
from lustral.bench import cells
from lustral.bench.cell import CellResult
from lustral.bench.evidence import AttackEvidence, Evidence, GradientCheck
from lustral.bench.plan import Cell, make_plan
from lustral.bench.recipe import parse_recipe
from lustral.data import DATA
from lustral.data.base import DataSettings, ImageSet
from lustral.measures.draws import average_broken, worst_of
from lustral.purifiers import PURIFIERS, PurifierSettings
from lustral.purifiers.diffpure import DiffPure
from lustral.purifiers.module import Purifier
from lustral.seeds import Noise
from lustral.steps import step
from lustral.targets import TARGETS
from lustral.targets.base import TargetSettings
from lustral.targets.module import Target
from lustral.tensors import from_uint8

SIDE = 12
PIXELS = 3 * SIDE * SIDE
CHUNK = 64


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@cache
def weight() -> Tensor:
    """Direction of the linear targets (3, 12, 12)."""
    return numbers(1, 3, SIDE, SIDE)


def blocks(x: Tensor) -> Tensor:
    """Every 4 x 4 block replaced by its mean."""
    return nn.functional.avg_pool2d(x, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)


class Head(nn.Module):
    """A function as a network."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def projection(x: Tensor) -> Tensor:
    return ((x - 0.5) * weight()).flatten(1).sum(1)


def two_classes(z: Tensor) -> Tensor:
    return torch.stack([-z / 2, z / 2], 1)


class Linear(TargetSettings):
    """Two classes, margin ``|w (x - 1/2)|``."""

    name: ClassVar[str] = "trap_linear"
    source: ClassVar[str] = "test"

    @property
    def kind(self) -> Any:
        return "classifier"

    def weights_digest(self) -> str:
        return self.name

    def network(self) -> nn.Module:
        return Head(lambda x: two_classes(projection(x)))

    def build(self, device: str = "cpu") -> Target:
        return Target(self, self.network())


class ManyClasses(Linear):
    """Five linear classes."""

    name: ClassVar[str] = "trap_many"

    def network(self) -> nn.Module:
        return Head(lambda x: (x - 0.5).flatten(1) @ numbers(2, PIXELS, 5).to(x))


class Hot(Linear):
    """Logits times 10,000: the softmax is exactly one-hot, so cross-entropy has no gradient."""

    name: ClassVar[str] = "trap_hot"

    def network(self) -> nn.Module:
        return Head(lambda x: two_classes(1e4 * projection(x)))


class ArgmaxOnly(Linear):
    """Answers with the class only."""

    name: ClassVar[str] = "trap_argmax"

    def network(self) -> nn.Module:
        return Head(lambda x: nn.functional.one_hot(two_classes(projection(x)).argmax(1), 2).float())


class Valley(Linear):
    """Wrong only in a narrow valley of ``w (x - 1/2)`` around -12: large steps jump across it."""

    name: ClassVar[str] = "trap_valley"

    def network(self) -> nn.Module:
        return Head(lambda x: two_classes(2.0 - (projection(x) + 12).abs()))


class Perceptron(Linear):
    """One hidden layer."""

    name: ClassVar[str] = "trap_perceptron"

    def network(self) -> nn.Module:
        first, second = numbers(3, PIXELS, 32) / 6, numbers(4, 32, 4) / 2
        return Head(lambda x: torch.relu((x - 0.5).flatten(1) @ first.to(x)) @ second.to(x))


class Convolutional(Linear):
    """Two convolutions, a mean, a linear layer."""

    name: ClassVar[str] = "trap_convolutional"

    def network(self) -> nn.Module:
        first, second, head = numbers(5, 8, 3, 3, 3) / 3, numbers(6, 16, 8, 3, 3) / 6, numbers(7, 16, 4)

        def function(x: Tensor) -> Tensor:
            hidden = torch.relu(nn.functional.conv2d(x - 0.5, first.to(x), padding=1))
            hidden = torch.relu(nn.functional.conv2d(hidden, second.to(x), padding=1))
            return hidden.mean((2, 3)) @ head.to(x)

        return Head(function)


class LinearQuality(Linear):
    """A linear score over exactly its range."""

    name: ClassVar[str] = "trap_quality"

    @property
    def kind(self) -> Any:
        return "quality"

    @property
    def range(self) -> tuple[float, float]:
        half = float(weight().abs().sum()) / 2
        return (-half, half)

    def network(self) -> nn.Module:
        return Head(projection)


class Pictures(DataSettings):
    """Random 12 x 12 images; the labels are what the target says of them.

    ``smooth`` makes blocks of 4 x 4 equal pixels.
    """

    name: ClassVar[str] = "trap_pictures"
    kind: ClassVar = "classes"
    origin: ClassVar[str] = "test"
    target: str = "trap_linear"
    smooth: bool = False

    def read(self) -> ImageSet:
        rng = np.random.default_rng(5)
        images = rng.integers(0, 256, (CHUNK, SIDE, SIDE, 3)).astype(np.uint8)
        if self.smooth:
            images = images[:, ::4, ::4].repeat(4, 1).repeat(4, 2)
        settings = TARGETS[self.target].make()
        outputs = settings.build()(from_uint8(images))
        truth = outputs.argmax(1).numpy() if settings.kind == "classifier" else np.full(CHUNK, np.nan)
        ids = tuple(f"{self.target}/{row}" for row in range(CHUNK))
        return ImageSet(self.target, ids, list(images), truth)


class Trap(PurifierSettings):
    """Base of the traps; all claim an exact gradient."""

    source: ClassVar[str] = "test"
    gradient: ClassVar = "exact"


class Quantise(Trap):
    name: ClassVar[str] = "trap_quantise"

    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        return (x * 6).round() / 6


class Detach(Trap):
    name: ClassVar[str] = "trap_detach"

    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        return x.detach().clone()


class Misleading(Trap):
    """A staircase whose steps slope the wrong way."""

    name: ClassVar[str] = "trap_misleading"

    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        level = (x * 20).floor()
        return (level + 0.5 - 0.4 * (x * 20 - level)) / 20


class Shattered(Trap):
    """Nearly the identity, with a slope that is random."""

    name: ClassVar[str] = "trap_shattered"

    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        return x + 0.003 * torch.sin(7001.3 * x)


class NoisyLogit(Trap):
    """Moves the input along the weights of the linear target: noise on its logits."""

    name: ClassVar[str] = "trap_noisy_logit"
    is_random: ClassVar[bool] = True

    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        return x + 0.01 * noise.normal(x[:, :1, :1, :1]) * weight().sign()


class RandomSign(Trap):
    """Flips the sign of fine detail at random: harmless to smooth images, known noise defeats it."""

    name: ClassVar[str] = "trap_random_sign"
    is_random: ClassVar[bool] = True

    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        coarse = blocks(x)
        return coarse + noise.signs(x[:, :1, :1, :1]) * (x - coarse)


class RandomPhase(Trap):
    """Nearly the identity, with a slope that is random in every draw."""

    name: ClassVar[str] = "trap_random_phase"
    is_random: ClassVar[bool] = True

    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        return x + 0.002 * torch.sin(3000 * x + 6.2832 * noise.uniform(x))


class ResetsLoudImages(Trap):
    """Replaces images with much fine detail by their coarse version, without gradient."""

    name: ClassVar[str] = "trap_reset"

    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        coarse = blocks(x)
        loud = (x - coarse).abs().mean((1, 2, 3), keepdim=True) > 0.14
        return torch.where(loud, coarse.detach(), x)


class NeedsNoise(Trap):
    """Inverts images without fine detail: wrong on clean images, right on slightly attacked ones."""

    name: ClassVar[str] = "trap_needs_noise"

    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        loud = (x - blocks(x)).abs().mean((1, 2, 3), keepdim=True) > 0.001
        return torch.where(loud, x, 1 - x)


class BatchMean(Trap):
    """Transductive: every image is judged against the mean of its batch."""

    name: ClassVar[str] = "trap_batch_mean"

    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        return x - x.mean((0, 2, 3), keepdim=True) + 0.5


class Scaled(Trap):
    """Honest: less contrast."""

    name: ClassVar[str] = "trap_scaled"

    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        return 0.9 * x + 0.05


class NoGrad(Trap):
    name: ClassVar[str] = "trap_no_grad"

    @torch.no_grad()
    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        return 0.9 * x + 0.05


class HonestNone(NoGrad):
    """Without a gradient, and says so."""

    name: ClassVar[str] = "trap_honest_none"
    gradient: ClassVar = "none"


class SinglePrecision(Trap):
    """Refuses float64."""

    name: ClassVar[str] = "trap_single_precision"

    def purify(self, x: Tensor, noise: Noise) -> Tensor:
        return nn.functional.conv2d(x, torch.eye(3)[:, :, None, None])


class Network(nn.Module):
    """A denoiser with one hidden layer and no ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(numbers(8, 6, 3, 3, 3) / 3)
        self.second = nn.Parameter(numbers(9, 3, 6, 3, 3) / 6)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        hidden = nn.functional.conv2d(x, self.first, padding=1) + sigma.log()[:, None, None, None]
        return x / (1 + sigma**2)[:, None, None, None] + nn.functional.conv2d(hidden.sin(), self.second, padding=1) / 4


class SmallDiffPure(DiffPure):
    """Honest: DiffPure of three strides over a network without a file."""

    name: ClassVar[str] = "trap_diffpure"
    steps: int | None = 3

    def weights_used(self) -> tuple[str, ...]:
        return ()

    def build(self, device: str = "cpu", target: Any = None) -> Purifier:
        network = Network()

        def run(x: Tensor, noise: Noise) -> Tensor:
            network.to(x.dtype)
            return (self.clean(network, 2 * x - 1, noise) + 1) / 2

        return Purifier(self, run, network)


class DetachedNetwork(SmallDiffPure):
    """The state keeps its gradient, the guess of the network in every stride does not."""

    name: ClassVar[str] = "trap_detached_network"

    def clean(self, denoise: Any, x: Tensor, noise: Noise) -> Tensor:
        return super().clean(lambda x, sigma: denoise(x, sigma).detach(), x, noise)


class DrawsInside(SmallDiffPure):
    """Draws its noise inside the steps, so that the backward pass of a checkpoint meets other noise."""

    name: ClassVar[str] = "trap_draws_inside"

    def clean(self, denoise: Any, x: Tensor, noise: Noise) -> Tensor:
        for _ in range(3):
            x = step(lambda x: denoise(x + 0.2 * noise.normal(x), torch.full_like(x[:, 0, 0, 0], 0.2)), x)
        return x


class FirstOrder(SmallDiffPure):
    """Guided by a gradient that is taken for a constant on the way back, unless ``order`` is 2."""

    name: ClassVar[str] = "trap_guided"
    order: int = 1

    def clean(self, denoise: Any, x: Tensor, noise: Noise) -> Tensor:
        def guided(x: Tensor, reference: Tensor) -> Tensor:
            with torch.enable_grad():
                state = x if x.requires_grad else x.detach().requires_grad_()
                loss = (denoise(state, torch.full_like(x[:, 0, 0, 0], 0.2)) - reference).square().sum()
                slope = torch.autograd.grad(loss, state, create_graph=self.order == 2 and x.requires_grad)[0]
            return x - 0.2 * slope

        reference = x
        for _ in range(3):
            # Views keep the uses of one image apart, as checkpoints do. The one made last is added up first.
            other = reference.view_as(reference)
            x = step(guided, x.view_as(x), other)
        return x


class LastIterate(Oracle):
    """An evaluation that forgets the path and returns where the attack happened to end."""

    @torch.no_grad()
    def select(self, final: Tensor, noise: Noise, draws: int = 20, *, only_final: bool = False) -> Selection:
        x = self.rounded(final)
        rate = self.judge(x, draws=draws).rate
        return Selection(x, final, rate, rate, torch.zeros(len(x), dtype=torch.bool))


EVERYTHING = (
    (TARGETS, (Linear, ManyClasses, Hot, ArgmaxOnly, Valley, Perceptron, Convolutional, LinearQuality)),
    (DATA, (Pictures,)),
    (
        PURIFIERS,
        (
            Quantise,
            Detach,
            Misleading,
            Shattered,
            NoisyLogit,
            RandomSign,
            RandomPhase,
            ResetsLoudImages,
            NeedsNoise,
            BatchMean,
            Scaled,
            NoGrad,
            HonestNone,
            SinglePrecision,
            SmallDiffPure,
            DetachedNetwork,
            DrawsInside,
            FirstOrder,
        ),
    ),
)


@pytest.fixture
def traps(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Recipes may name traps for the time of one test."""
    for table, classes in EVERYTHING:
        for cls in classes:
            monkeypatch.setitem(table, cls.name, cls)
    return monkeypatch


def recipe_of(
    defence: str,
    attack: str = "apgd:epsilon=16/255,steps=12",
    access: Any = "exact",
    *,
    target: str = "trap_linear",
    smooth: bool = False,
    others: Sequence[tuple[str, str]] = (("pgd:steps=5", "blind"),),
    draws: int = 20,
    checks: bool = True,
    count: int = CHUNK,
) -> Any:
    """One suite with one defence; the other attacks get the epsilon of the main one."""
    radius = parse_attack(attack).epsilon
    lines = [
        {"label": f"other {n}", "attack": f"{what},epsilon={radius}", "access": who}
        for n, (what, who) in enumerate(others)
    ]
    suite = {
        "name": "trap",
        "data": {"name": "trap_pictures", "target": target, "smooth": smooth, "count": count},
        "target": target,
        "defences": [defence],
        "attack": [*lines, {"label": "main", "attack": attack, "access": access, "main": True}],
    }
    protocol = {"draws": draws, "worst_of": min(10, draws), "votes": min(10, draws), "checks": checks}
    return parse_recipe({"name": "trap", "chunk": count, "pictures": 0, "protocol": protocol, "suite": [suite]})


def run(defence: str, *arguments: Any, **options: Any) -> Evidence:
    """Carry out a recipe for one defence and its control, and collect what the indicators want to see."""
    recipe = recipe_of(defence, *arguments, **options)
    chosen = recipe.suite[0].all_defences[-1].to_json()
    results: dict[str, CellResult] = {}
    evidence: list[AttackEvidence] = []
    control: AttackEvidence | None = None
    clean: Cell | None = None
    check: GradientCheck | str | None = None
    for cell in make_plan(recipe).cells:
        own = {key: value for key, value in cell.settings.get("defence", chosen).items() if key != "versions"}
        if own != chosen and (cell.role != "main" or cell.label not in ("", "main")):
            continue
        results[cell.id] = cells.execute(cell, {need: results[need] for need in cell.needs})
        if cell.kind == "clean" and own == chosen:
            clean = cell
        if cell.kind == "gradient":
            check = gradient_evidence(results[cell.id])
        if cell.label == "main" and own["name"] == "identity" and cell.kind in ("score", "adaptive"):
            control = attack_evidence(cell, results)
        if cell.kind in ("score", "adaptive") and own == chosen:
            evidence.append(attack_evidence(cell, results))
    assert clean is not None
    main = next(attack for attack in evidence if attack.role == "main" and attack.label == "main")
    random = results[clean.id].facts["is_random"]
    worst = float(worst_of(main.broken, min(10, main.draws)).mean())
    target = recipe.suite[0].target
    return Evidence(
        kind=target.kind,
        gradient=results[clean.id].facts["gradient"],
        images=tuple(results[clean.id].columns["image"]),
        correct=np.array(results[clean.id].columns["correct"]),
        attacks=tuple(evidence),
        main="main",
        control=control,
        worst_of=(10, float(average_broken(main.broken).mean()), worst) if random else None,
        range=target.range,
        is_random=random,
        check=check,
    )


def gradient_evidence(result: CellResult) -> GradientCheck | str:
    if "gradient_skipped" in result.facts:
        return result.facts["gradient_skipped"]
    names = ("error", "difference", "cosine", "zero")
    return GradientCheck(**{name: np.array(result.columns[f"gradient_{name}"]) for name in names})


def attack_evidence(cell: Cell, results: Mapping[str, CellResult]) -> AttackEvidence:
    columns: dict[str, Any] = {}
    for name in (cell.id, *cell.needs):
        columns = {**results[name].columns, **columns}
    return AttackEvidence(
        role=cell.role,
        label=cell.label,
        access=cell.settings["access"],
        images=tuple(columns["image"]),
        broken=np.array(columns["broken"]),
        attack_rate=np.array(columns["attack_rate"]),
        final_rate=np.array(columns["final_rate"]),
        rescued=np.array(columns["rescued"]),
        dead=np.stack([columns["dead_start"], columns["dead_tenth"]], 1),
        trace=np.stack([columns["trace_first"], columns["trace_early"], columns["trace_last"]], 1),
        gradients=np.array(columns["gradients"]),
        scores=np.array(columns["purified_attacked"]).mean(1),
        facts=results[cell.id].facts,
        attack=cell.settings["attack"],
    )
