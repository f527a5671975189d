"""The anti-adversary layer against closed forms, and a purifier that looks at its target from end to end."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lustral.analysis.content import analyse_content
from lustral.attacks import parse_access
from lustral.attacks.goals import Misclassify
from lustral.attacks.oracle import Oracle
from lustral.bench import cells
from lustral.bench.cells import execute
from lustral.bench.plan import make_plan
from lustral.bench.recipe import parse_recipe
from lustral.cli import main
from lustral.defended import Defended
from lustral.evaluation import evaluate
from lustral.images import read_image, write_image
from lustral.purifiers import AntiAdversary, Chain, Flip, RandomChoice, Repeat
from lustral.settings import SettingsError
from tests.analysis.test_content import plan
from tests.contracts.purifiers import PurifierContract, images, noise_for, smooth_classifier

TARGET = "scenes_classifier"
STEEP = AntiAdversary(descent="gradient", steps=2, alpha=0.02)


class TestGradientDescent(PurifierContract):
    cases = (STEEP, Repeat(part=AntiAdversary(descent="gradient", steps=1), times=2))


def linear(x: Tensor, classes: int = 2, scale: float = 1.0) -> Tensor:
    weights = torch.randn(classes, *x.shape[1:], generator=torch.Generator().manual_seed(5)).to(x)
    return scale * torch.einsum("nchw,kchw->nk", x - 0.5, weights)


@pytest.mark.parametrize("descent", ["sign", "gradient"])
def test_with_two_linear_classes_it_walks_along_the_difference_of_their_weights(descent: Any) -> None:
    x = images(5, 8, 8, torch.float64)
    rows = torch.eye(192, dtype=x.dtype).view(192, 3, 8, 8) + 0.5
    towards_first = (linear(rows)[:, 0] - linear(rows)[:, 1]).view(3, 8, 8)
    own = 1 - 2 * linear(x).argmax(1).to(x)[:, None, None, None]
    direction = towards_first.sign() if descent == "sign" else towards_first / towards_first.square().mean().sqrt()
    y = AntiAdversary(steps=3, alpha=0.02, descent=descent).build(target=linear)(x, noise_for(5))
    torch.testing.assert_close(y, x + 0.06 * own * direction, rtol=0, atol=1e-9)


def test_it_is_algorithm_1_of_the_paper_where_no_pixel_leaves_the_range() -> None:
    x = images(4, 9, 7, torch.float64)
    label = smooth_classifier(x).argmax(1)
    perturbation = torch.zeros_like(x)
    for _ in range(3):
        perturbation.requires_grad_()
        loss = cross_entropy(smooth_classifier(x + perturbation), label, reduction="sum")
        perturbation = (perturbation - 0.03 * torch.autograd.grad(loss, perturbation)[0].sign()).detach()
    y = AntiAdversary(steps=3, alpha=0.03).build(target=smooth_classifier)(x, noise_for(4))
    torch.testing.assert_close(y, x + perturbation, rtol=0, atol=1e-12)


def test_a_certain_classifier_does_not_stop_it_and_a_constant_one_does() -> None:
    x = images(2, 8, 8)
    label = linear(x, 5, 1e5).argmax(1)
    leaf = x.clone().requires_grad_()
    assert not torch.autograd.grad(cross_entropy(linear(leaf, 5, 1e5), label), leaf)[0].any()
    for descent in ("sign", "gradient"):
        settings = AntiAdversary(steps=1, alpha=0.01, descent=descent)
        moved = settings.build(target=lambda x: linear(x, 5, 1e5))(x, noise_for(2)) - x
        assert float(moved.square().mean().sqrt()) == pytest.approx(0.01, rel=1e-3)
        leaf = x.clone().requires_grad_()
        stayed = settings.build(target=lambda x: 0 * linear(x, 5))(leaf, noise_for(2))
        assert torch.equal(stayed, x)
        assert torch.equal(torch.autograd.grad(stayed.sum(), leaf)[0], torch.ones_like(x))


def test_through_a_sign_the_gradient_passes_unchanged() -> None:
    x = images(2, 9, 7, torch.float64).requires_grad_()
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    y = AntiAdversary(alpha=0.01).build(target=smooth_classifier)(x, noise_for(2))
    assert torch.equal(torch.autograd.grad((weights * y).sum(), x)[0], weights)


def asked(x: Tensor, knowledge: str, *, checkpoint: bool = True, purifier: Any = STEEP) -> Tensor:
    """The gradient of the margin that an attacker gets."""
    oracle = Oracle(
        smooth_classifier,
        Misclassify(torch.arange(len(x)) % 5),
        x,
        noise_for(len(x)),
        parse_access(knowledge),
        purifier=purifier.build(target=smooth_classifier),
        checkpoint=checkpoint,
    )
    return oracle.gradient(x, name="margin").gradient


def test_exact_access_differentiates_what_the_purifier_asked_its_target() -> None:
    x = images(3, 8, 8, torch.float64)
    exact, goal = asked(x, "exact"), Misclassify(torch.arange(3) % 5)
    system = Defended(smooth_classifier, STEEP.build(target=smooth_classifier), seed=0)
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        ahead, behind = (goal.margin(system(x + s * direction), torch.arange(3)) for s in (1e-6, -1e-6))
        found = (exact * direction).flatten(1).sum(1)
        torch.testing.assert_close(found, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-8)
    assert torch.equal(exact, asked(x, "exact", checkpoint=False))  # recomputed or kept: the same bits
    for other in ("bpda", "blind"):
        assert not torch.allclose(exact, asked(x, other), rtol=1e-2)


def test_blind_access_is_the_bare_target() -> None:
    x = images(3, 8, 8, torch.float64)
    leaf = x.clone().requires_grad_()
    bare = Misclassify(torch.arange(3) % 5).margin(smooth_classifier(leaf), torch.arange(3)).sum()
    assert torch.equal(asked(x, "blind"), torch.autograd.grad(bare, leaf)[0])


def test_its_questions_are_the_passes_that_it_declares() -> None:
    forward = backward = 0

    def counting(x: Tensor) -> Tensor:
        nonlocal forward
        forward += 1
        y = linear(x)

        def count(gradient: Tensor) -> None:
            nonlocal backward
            backward += 1

        if y.requires_grad:
            y.register_hook(count)
        return y

    for settings in (AntiAdversary(steps=3), Repeat(part=AntiAdversary(steps=1), times=2)):
        forward = backward = 0
        with torch.no_grad():
            settings.build(target=counting)(images(2, 8, 8), noise_for(2))
        assert forward + 2 * backward == settings.passes


def test_compositions_hand_the_target_on() -> None:
    x, part = images(4, 8, 8), AntiAdversary(steps=1, alpha=0.05)
    alone = part.build(target=linear)
    once = alone(x, noise_for(4))
    for settings, expected in (
        (Repeat(part=part, times=2), alone(once, noise_for(4))),
        (Chain(parts=(Flip(), part)), alone(x.flip(2, 3), noise_for(4))),
        (RandomChoice(parts=(part, part)), once),
    ):
        assert settings.needs_target
        torch.testing.assert_close(settings.build(target=linear)(x, noise_for(4)), expected)
        with pytest.raises(SettingsError, match="anti_adversary looks at the model that it protects"):
            settings.build()


def test_quality_metrics_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"expected logits \(n, k\).*got \(2,\).*no class to be surer of"):
        AntiAdversary().build(target=lambda x: x.mean((1, 2, 3)))(images(2, 8, 8), noise_for(2))


@pytest.mark.parametrize("access", ["blind", "bpda", "exact", {"knowledge": "surrogate", "surrogate": STEEP.to_json()}])
def test_evaluate_gives_it_the_model(access: Any) -> None:
    def small(x: Tensor) -> Tensor:
        return linear(x, 4)

    x = images(12, 8, 8)
    labels = small(x).argmax(1)
    access = {"name": "access", **access} if isinstance(access, dict) else access
    found = evaluate(small, x, labels, purifier="anti_adversary", attack="pgd:epsilon=8/255,steps=3", access=access)
    assert found.clean.average == 1.0  # of a linear classifier it only raises the confidence
    assert np.array_equal(found.broken[:, 0], (small(found.adversarial).argmax(1) != labels).numpy())
    assert found.broken.any()


def recipe(target: str) -> dict[str, Any]:
    attack = "pgd:epsilon=4/255,steps=2"
    return {
        "name": "protected",
        "chunk": 4,
        "protocol": {"draws": 2, "worst_of": 2, "votes": 2, "selection_draws": 2, "gradient_images": 2},
        "suite": [
            {
                "name": "scenes",
                "data": "scenes:split=test,count=4",
                "target": target,
                "defences": ["anti_adversary:descent=gradient,alpha=0.01,steps=1"],
                "attack": [
                    {"label": "blind", "attack": attack, "access": "blind"},
                    {"label": "main", "attack": attack, "access": "exact", "main": True},
                ],
            }
        ],
    }


def test_a_recipe_protects_its_target_and_finds_the_gradient_exact() -> None:
    results: dict[str, Any] = {}
    for cell in make_plan(parse_recipe(recipe(TARGET))).cells:
        if cell.role in ("main", "I1:gradient") and cell.settings.get("defence", {}).get("name") != "identity":
            results[cell.id] = execute(cell, {need: results[need] for need in cell.needs})
    columns = {name: value for result in results.values() for name, value in result.columns.items()}
    facts = {name: value for result in results.values() for name, value in result.facts.items()}
    assert max(columns["gradient_error"]) < 1e-5
    assert columns["gradient_difference"] == [0, 0]
    assert min(columns["gradient_cosine"]) > 0.999
    assert facts["attack_purifier"] == facts["score_purifier"]
    assert (facts["gradient"], facts["passes"]) == ("exact", 4)
    assert len(columns["broken"]) == 4


def test_two_targets_share_no_result_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [make_plan(parse_recipe(recipe(target))).cells for target in (TARGET, "cifar10_classifier")]
    assert not {cell.id for cell in plans[0]} & {cell.id for cell in plans[1]}
    cell = next(cell for cell in plans[0] if cell.settings.get("defence", {}).get("name") == "anti_adversary")
    other = dataclasses.replace(cell, settings={**cell.settings, "target_weights": "others"})
    built = STEEP, STEEP.build(target=linear)
    assert cells._module_digest(cell, *built) != cells._module_digest(other, *built)
    flip = Flip(), Flip().build()
    assert cells._module_digest(cell, *flip) == cells._module_digest(other, *flip)


def test_content_analysis_gives_it_the_target() -> None:
    found = analyse_content(plan("flip | anti_adversary:alpha=0.05"))
    table = {stage.name: stage for stage in found.stages}
    assert set(table) == {"clean", "attacked", "1 flip", "2 anti_adversary"}
    assert np.array_equal(table["2 anti_adversary"].correct, table["1 flip"].correct)
    assert (table["2 anti_adversary"].output < table["1 flip"].output)[table["1 flip"].correct].all()


def test_purify_wants_the_target_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    file, out = tmp_path / "cat.png", tmp_path / "out"
    write_image(file, np.random.default_rng(0).integers(40, 216, (32, 32, 3), dtype=np.uint8))
    command = ["lustral", "purify", str(file), "--with", "flip | flip | anti_adversary:steps=1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "anti_adversary looks at the model that it protects" in (message := capfd.readouterr().err)
    assert "--target NAME" in message
    assert message.count("\n") == 1
    assert not out.exists()
    monkeypatch.setattr("sys.argv", [*command, "--target", TARGET])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    moved = np.abs(read_image(out / "cat.png").astype(int) - read_image(file))
    assert np.median(moved) == pytest.approx(0.15 * 255, abs=1)
