"""Indicators must catch evaluations that are wrong on purpose and must not accuse honest ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lustral.attacks import ATTACKS, Access, parse_attack
from lustral.bench import protocol
from lustral.bench.cell import CellResult
from lustral.bench.cells import execute
from lustral.bench.checks import Check, checks, with_checks
from lustral.bench.evidence import GradientCheck, clearly_above, gain_of, pair
from lustral.bench.indicators import INDICATORS, AttackEvidence, Evidence, Verdict, is_upper_bound, judge
from lustral.bench.plan import make_plan
from lustral.bench.recipe import Recipe, parse_recipe
from lustral.bench.store import Store
from lustral.data.base import ImageSet
from lustral.purifiers import parse_purifier
from lustral.report import build_table
from lustral.report.columns import value_of
from lustral.targets import parse_target
from lustral.tensors import from_uint8
from tests.bench.traps import (
    CHUNK,
    PIXELS,
    BatchMean,
    LastIterate,
    Pictures,
    gradient_evidence,
    numbers,
    recipe_of,
    run,
    traps,
    weight,
)
from tests.contracts.purifiers import PurifierContract

__all__ = ["traps"]

SQUARE = (("square:queries=150", "scores"),)
SURROGATE = {"knowledge": "surrogate", "surrogate": {"name": "gaussian_blur", "kernel": 7}}

TRAPS: dict[str, tuple[tuple[Any, ...], dict[str, Any], dict[str, set[str]]]] = {
    "quantise only": (("trap_quantise",), {}, {"I2": {"FAIL"}, "I9": {"FAIL"}}),
    "detached purifier": (("trap_detach",), {}, {"I2": {"FAIL"}, "I11": {"FAIL"}}),
    "argmax only": (("identity",), {"target": "trap_argmax"}, {"I2": {"FAIL"}}),
    "softmax of temperature 1e-4": (("identity",), {"target": "trap_hot"}, {"I2": {"FAIL"}}),
    "three short steps": (
        ("identity", "pgd:epsilon=16/255,steps=3,step=1.2/255"),
        {},
        {"I4": {"FAIL"}, "I11": {"FAIL"}},
    ),
    "steps that are too short": (
        ("identity", "pgd:epsilon=16/255,steps=10,step=0.3/255"),
        {},
        {"I4": {"FAIL"}, "I11": {"FAIL"}},
    ),
    "gradients that point away": (("trap_misleading",), {}, {"I9": {"FAIL"}, "I10": {"FAIL"}, "I11": {"FAIL"}}),
    "shattered gradients": (("trap_shattered",), {"others": SQUARE}, {"I10": {"FAIL"}, "I11": {"FAIL"}}),
    "loud images are reset": (
        ("trap_reset", "pgd:epsilon=48/255,steps=5,step=96/255"),
        {"smooth": True},
        {"I8": {"FAIL"}, "I10": {"FAIL"}},
    ),
    "robust above clean": (
        ("trap_needs_noise", "pgd:epsilon=2/255,steps=5", "blind"),
        {"smooth": True, "others": (), "checks": False},
        {"I8": {"FAIL"}},
    ),
    "noise on the logits": (
        ("trap_noisy_logit", "apgd:epsilon=4/255,steps=4", "exact:eot=2"),
        {"count": 24, "draws": 12, "others": (), "checks": False},
        {"I6": {"WARN"}},
    ),
    "a random sign hides detail": (
        ("trap_random_sign", "apgd:epsilon=16/255,steps=6", "exact:eot=2"),
        {"smooth": True, "count": 24, "draws": 12, "others": ()},
        {"I6": {"WARN"}, "I7": {"WARN"}},
    ),
    "a single draw of a random slope": (
        ("trap_random_phase", "pgd:epsilon=12/255,steps=8", "exact:eot=1"),
        {"others": (), "draws": 6, "count": 40},
        {"I5": {"FAIL"}, "I11": {"FAIL"}},
    ),
    "surrogate with other settings": (
        ("gaussian_blur:kernel=3", "apgd:epsilon=16/255,steps=5", SURROGATE),
        {"checks": False},
        {"I14": {"FAIL"}},
    ),
    "control that does not fall": (
        ("gaussian_blur", "apgd:epsilon=1/255,steps=5"),
        {"checks": False},
        {"I15": {"FAIL"}},
    ),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_wrong_evaluation_is_caught(name: str, traps: pytest.MonkeyPatch) -> None:
    arguments, options, expected = TRAPS[name]
    verdicts = judge(run(*arguments, **options))
    found = {indicator: verdicts[indicator].verdict for indicator in expected}
    assert all(found[indicator] in allowed for indicator, allowed in expected.items()), verdicts
    number = {indicator for indicator, allowed in expected.items() if allowed == {"FAIL"}}
    assert is_upper_bound(verdicts) or not number - {"I14", "I15"}


def test_forgetting_the_path_is_caught(traps: pytest.MonkeyPatch) -> None:
    recipe: dict[str, Any] = {"target": "trap_valley", "checks": False, "others": ()}
    attack = "pgd:epsilon=48/255,steps=11,step=9/255"
    kept = judge(run("identity", attack, **recipe))
    assert kept["I3"].verdict in ("PASS", "WARN"), kept
    traps.setattr(protocol, "Oracle", LastIterate)
    forgotten = judge(run("identity", attack, **recipe))
    assert forgotten["I3"].verdict == "FAIL", forgotten
    assert is_upper_bound(forgotten)


def test_a_missing_control_is_not_taken_for_granted(traps: pytest.MonkeyPatch) -> None:
    evidence = run("gaussian_blur", "apgd:epsilon=16/255,steps=3", checks=False, count=8)
    assert judge(replace(evidence, control=None))["I15"].verdict == "NOT RUN"


def test_a_transductive_defence_breaks_the_purifier_contract() -> None:
    contract = PurifierContract()
    for check in ("test_an_image_does_not_depend_on_its_batch", "test_every_image_gets_its_own_gradient"):
        with pytest.raises(AssertionError):
            getattr(contract, check)(BatchMean())


def table_of(recipe: Recipe, folder: Path) -> tuple[Any, ...]:
    """The rows that the report makes of a run of ``recipe``."""
    store, results = Store(folder), dict[str, CellResult]()
    (folder / "recipe.json").write_text(json.dumps(recipe.to_json()))
    for cell in make_plan(recipe).cells:
        results[cell.id] = execute(cell, {need: results[need] for need in cell.needs})
        store.write(cell, results[cell.id], {})
    return build_table(folder).rows


def test_the_report_comes_to_the_same_verdicts(traps: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments, options = ("trap_random_sign", "apgd:epsilon=16/255,steps=3", "exact:eot=2"), {"count": 8, "draws": 10}
    expected = judge(run(*arguments, **options))
    rows = table_of(recipe_of(*arguments, **options), tmp_path)
    row = next(row for row in rows if row["main"] and row["defence"] == "trap_random_sign")
    for name, verdict in expected.items():
        found = row["indicators"][name]
        assert found["verdict"] == verdict.verdict, (name, found, verdict)
        assert found["value"] == (None if verdict.value is None else pytest.approx(verdict.value))
    assert row["upper_bound"] is is_upper_bound(expected)


HONEST: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "linear": (("identity", "apgd:epsilon=4/255,steps=12"), {"others": SQUARE}),
    "linear, straight steps": (("identity", "pgd:epsilon=4/255,steps=12"), {}),
    "five linear classes": (
        ("identity", "apgd:epsilon=2/255,steps=12,loss=targeted_dlr"),
        {"target": "trap_many"},
    ),
    "linear score": (("identity", "apgd:epsilon=27/255,steps=12"), {"target": "trap_quality"}),
    "perceptron": (("identity", "apgd:epsilon=3/255,steps=12"), {"target": "trap_perceptron", "others": SQUARE}),
    "convolutional": (("identity", "apgd:epsilon=12/255,steps=12"), {"target": "trap_convolutional", "count": 24}),
    "blur before a convolutional": (
        ("gaussian_blur", "apgd:epsilon=12/255,steps=12"),
        {"target": "trap_convolutional", "count": 24},
    ),
    "noise before a convolutional": (
        ("random_noise:sigma=0.05", "apgd:epsilon=16/255,steps=8", "exact:eot=2"),
        {"target": "trap_convolutional", "count": 20, "draws": 10},
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_evaluation_is_not_accused(name: str, traps: pytest.MonkeyPatch) -> None:
    arguments, options = HONEST[name]
    evidence = run(*arguments, **options)
    verdicts = judge(evidence)
    failed = {indicator for indicator, verdict in verdicts.items() if verdict.verdict == "FAIL"}
    # A control that keeps images at this epsilon is the truth about the control, not about the attack.
    assert failed <= ({"I15"} if arguments[0] != "identity" else set()), verdicts
    for indicator in ("I1", "I2", "I9", "I14"):
        assert verdicts[indicator].verdict == "PASS", verdicts
    assert not is_upper_bound(verdicts)


GRADIENTS = {
    "identity": "PASS",
    "trap_scaled": "PASS",
    "gaussian_blur": "PASS",
    "median_blur": "PASS",
    "random_noise": "PASS",
    "diff_jpeg": "PASS",
    "trap_shattered": "PASS",
    "trap_diffpure": "PASS",
    "trap_diffpure:solver=ode": "PASS",
    "trap_guided:order=2": "PASS",
    "trap_guided:order=1": "FAIL",
    "trap_detached_network": "FAIL",
    "trap_draws_inside": "FAIL",
    "trap_misleading": "PASS",
    "trap_detach": "FAIL",
    "trap_no_grad": "FAIL",
    "trap_honest_none": "WARN",
    "jpeg": "WARN",
    "trap_single_precision": "NOT RUN",
}


@pytest.mark.parametrize("target", ["trap_perceptron", "trap_quality"])
@pytest.mark.parametrize("defence", GRADIENTS)
def test_I1_tells_gradients_that_are_exact(defence: str, target: str, traps: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(defence, "pgd:epsilon=8/255,steps=2", target=target, count=4)
    cell = [cell for cell in make_plan(recipe).cells if cell.kind == "gradient"][-1]
    result = execute(cell, {})
    evidence = case(made(), check=gradient_evidence(result), gradient=result.facts["gradient"])
    found = judge(evidence)["I1"]
    assert found.verdict == GRADIENTS[defence], found
    assert found.value is None or found.value < 1e-6 or found.verdict != "PASS"
    assert is_upper_bound(judge(evidence)) is (found.verdict == "FAIL")


def test_I1_names_what_is_wrong(traps: pytest.MonkeyPatch) -> None:
    def measured(defence: str) -> GradientCheck:
        plan = make_plan(recipe_of(defence, "pgd:epsilon=8/255,steps=2", target="trap_perceptron", count=4))
        found = gradient_evidence(execute([cell for cell in plan.cells if cell.kind == "gradient"][-1], {}))
        assert isinstance(found, GradientCheck)
        return found

    inside, first, none = measured("trap_draws_inside"), measured("trap_guided"), measured("trap_no_grad")
    assert inside.error.max() < 1e-6 < 1e-3 < inside.difference.max()
    assert not first.difference.any()
    assert first.error.min() > 1e-3
    assert none.zero.all()
    assert none.error.min() == pytest.approx(1)


def test_a_purifier_without_gradient_is_printed_as_an_upper_bound(traps: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = recipe_of("trap_no_grad", "apgd:epsilon=4/255,steps=3", count=12, checks=False)
    row = next(row for row in table_of(recipe, tmp_path) if row["main"] and row["defence"] == "trap_no_grad")
    assert row["gradient"] == "exact"
    assert row["indicators"]["I1"]["verdict"] == "NOT RUN"
    assert row["indicators"]["I2"]["verdict"] == "FAIL"
    assert row["upper_bound"]
    assert value_of(row, "verdict") == "upper bound"


def test_gradients_reach_the_report_from_cells_that_two_suites_share(traps: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = recipe_of("trap_detached_network", "fgsm:epsilon=8/255", count=4, draws=2, others=()).to_json()
    values["protocol"]["gradient_images"] = 3
    values["suite"].append({**values["suite"][0], "name": "again"})
    rows = [row for row in table_of(parse_recipe(values), tmp_path) if row["main"]]
    assert {row["suite"] for row in rows} == {"trap"}  # every cell of the second suite is one of the first
    for row in rows:
        found = row["indicators"]["I1"]
        assert found["verdict"] == ("PASS" if row["defence"] == "identity" else "FAIL")
        assert "worst of 3 images" in found["detail"]


def test_an_attack_that_equals_a_check_stands_for_it(traps: pytest.MonkeyPatch, tmp_path: Path) -> None:
    others = (("pgd:steps=2", "bpda"), ("fgsm:norm=linf", "exact"))
    values = recipe_of("trap_scaled", "pgd:epsilon=8/255,steps=2", count=8, others=others).to_json()
    plan = make_plan(parse_recipe(values))
    roles_made = {cell.role for cell in plan.cells if cell.settings.get("defence", {}).get("name") == "trap_scaled"}
    assert "I4:doubled" in roles_made
    assert not {"I11:fgsm", "I11:bpda"} & roles_made  # made once, as lines of the recipe
    row = next(row for row in table_of(parse_recipe(values), tmp_path) if row["main"] and row["defence"] != "identity")
    text = row["indicators"]["I11"]["detail"]
    assert text.count("one step breaks") == text.count("BPDA breaks") == 1
    assert "other" not in text


def test_the_fullest_of_equal_attacks_stands_for_a_check() -> None:
    attack, access = parse_attack("pgd:steps=60"), Access()
    check = Check("I11:bpda", attack, Access(knowledge="bpda"))
    settings = {"attack": attack.to_json(), "access": check.access.to_json()}
    line, own = made(label="BPDA", n=64, **settings), made("I11:bpda", n=8, **settings)
    for attacks in ([line], [line, own], [own, line]):
        found = [a for a in with_checks([made(attack=attack.to_json()), *attacks], [check]) if a.role == "I11:bpda"]
        assert [len(a.images) for a in found] == [64]
    assert [len(a.images) for a in with_checks([own], [check])] == [8]
    assert with_checks([made(access=access.to_json())], [check])[0].role == "main"


def _pictures(target: str) -> ImageSet:
    return Pictures(target=target).load()


def _farthest(x: torch.Tensor, slope: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Largest increase of the linear function with ``slope`` within the ball and [0, 1], per image."""
    best = torch.where(slope > 0, (x + epsilon).clamp(max=1), (x - epsilon).clamp(min=0))
    return ((best - x) * slope).double().flatten(1).sum(1)


def _robust(evidence: Evidence) -> np.ndarray[Any, Any]:
    return ~next(attack for attack in evidence.attacks if attack.role == "main" and attack.label == "main").fell


def test_the_attack_equals_the_truth_on_a_linear_classifier(traps: pytest.MonkeyPatch) -> None:
    images, epsilon = _pictures("trap_linear"), 4 / 255
    x = from_uint8(images.stack())
    z = ((x - 0.5) * weight()).double().flatten(1).sum(1)
    sign = torch.where(z > 0, -1.0, 1.0)
    truth = z.abs() - _farthest(x, weight() * sign[:, None, None, None], epsilon) >= 0
    assert 10 < int(truth.sum()) < CHUNK - 10
    robust = _robust(run("identity", "apgd:epsilon=4/255,steps=12", checks=False))
    assert np.array_equal(robust, truth.numpy())


def test_the_attack_equals_the_truth_on_five_linear_classes(traps: pytest.MonkeyPatch) -> None:
    images, epsilon = _pictures("trap_many"), 2 / 255
    x, slopes = from_uint8(images.stack()), numbers(2, PIXELS, 5).T.unflatten(1, x_shape := (3, 12, 12))
    assert x.shape[1:] == x_shape
    logits = (x - 0.5).double().flatten(1) @ numbers(2, PIXELS, 5).double()
    truth = torch.ones(CHUNK, dtype=torch.bool)
    for row, label in enumerate(images.truth):
        for other in range(5):
            if other != label:
                gap = logits[row, label] - logits[row, other]
                gain = _farthest(x[row : row + 1], (slopes[other] - slopes[label])[None], epsilon)[0]
                truth[row] &= bool(gap >= gain)
    assert 10 < int(truth.sum()) < CHUNK - 10
    evidence = run(
        "identity", "apgd:epsilon=2/255,steps=12,loss=targeted_dlr,targets=4", target="trap_many", checks=False
    )
    assert np.array_equal(_robust(evidence), truth.numpy())


def test_the_attack_equals_the_truth_on_a_linear_score(traps: pytest.MonkeyPatch) -> None:
    x = from_uint8(_pictures("trap_quality").stack())
    truth = _farthest(x, weight().expand_as(x), 27 / 255) <= 0.1 * float(weight().abs().double().sum())
    assert 5 < int(truth.sum()) < CHUNK - 5
    robust = _robust(run("identity", "apgd:epsilon=27/255,steps=12", target="trap_quality", checks=False))
    assert np.array_equal(robust, truth.numpy())


# Verdicts on evidence made by hand.


def made(
    role: str = "main",
    rates: Any = None,
    *,
    n: int = 64,
    draws: int = 1,
    knowledge: str = "exact",
    label: str | None = None,
    **fields: Any,
) -> AttackEvidence:
    """An attack that breaks the given shares of draws per image; by default everything, convincingly."""
    rates = np.ones(n) if rates is None else np.asarray(rates, dtype=float)
    n = len(rates)
    broken = np.arange(draws)[None] < np.round(rates * draws)[:, None]
    last = np.where(rates > 0.5, 1.0, -1.0)
    values: dict[str, Any] = {
        "role": role,
        "label": label or role,
        "access": {"knowledge": knowledge},
        "images": tuple(f"image {row}" for row in range(n)),
        "broken": broken,
        "attack_rate": rates,
        "final_rate": rates,
        "rescued": np.zeros(n, bool),
        "dead": np.zeros((n, 2), bool),
        "trace": np.stack([last - 2, last, last], 1),
        "gradients": np.full(n, 10),
        "facts": {"attack_purifier": "p", "score_purifier": "p"},
    }
    return AttackEvidence(**{**values, **fields})


def case(*attacks: AttackEvidence, **fields: Any) -> Evidence:
    main = attacks[0]
    n = len(main.images)
    correct = np.ones((n, main.draws), bool)
    values: dict[str, Any] = {"kind": "classifier", "gradient": "exact", "images": main.images, "correct": correct}
    return Evidence(**{**values, "attacks": attacks, "main": main.label, **fields})


def some(count: int, n: int = 64, first: int = 0) -> np.ndarray[Any, Any]:
    rates = np.zeros(n)
    rates[first : first + count] = 1
    return rates


def verdict(indicator: str, *attacks: AttackEvidence, **fields: Any) -> str:
    return judge(case(*attacks, **fields))[indicator].verdict


def test_without_a_main_attack_or_images_nothing_is_judged() -> None:
    for evidence in (case(made(), main=None), case(made(), main="other"), case(made(rates=[]))):
        verdicts = judge(evidence)
        assert list(verdicts) == list(INDICATORS)
        assert {found.verdict for found in verdicts.values()} == {"NOT RUN"}
        assert not is_upper_bound(verdicts)


def test_a_check_that_shares_the_label_of_the_main_attack_is_not_examined() -> None:
    check = made("I4:doubled", dead=np.ones((64, 2), bool), label="main")
    evidence = case(made(rates=some(0)), check)
    assert judge(replace(evidence, attacks=(check, evidence.attacks[0])))["I2"].verdict == "PASS"


def test_without_checks_only_what_the_main_attack_shows_is_judged() -> None:
    found = {name: v.verdict for name, v in judge(case(made(), control=made())).items() if v.verdict != "NOT RUN"}
    assert found == dict.fromkeys(("I2", "I3", "I4", "I5", "I6", "I7", "I14", "I15"), "PASS")


def test_every_failure_from_I1_to_I10_makes_an_upper_bound_and_no_other() -> None:
    for name in INDICATORS:
        verdicts = dict.fromkeys(INDICATORS, Verdict("PASS")) | {name: Verdict("FAIL")}
        assert is_upper_bound(verdicts) is (name not in ("I11", "I12", "I13", "I14", "I15", "I16"))
        assert not is_upper_bound(dict.fromkeys(INDICATORS, Verdict("WARN")))


def gradient(*errors: float, difference: float = 0.0, cosine: float = 1.0, zero: bool = False) -> GradientCheck:
    n = len(errors)
    return GradientCheck(np.array(errors), np.full(n, difference), np.full(n, cosine), np.full(n, zero))


def test_I1_thresholds() -> None:
    good = gradient(1e-9, 1e-5)
    assert verdict("I1", made()) == "NOT RUN"
    assert verdict("I1", made(), check="why") == "NOT RUN"
    assert judge(case(made(), check="why"))["I1"].detail == "why"
    assert verdict("I1", made(), check=good) == "PASS"
    assert verdict("I1", made(knowledge="known_noise"), check=good) == "PASS"
    for knowledge in ("blind", "scores", "bpda", "surrogate"):
        assert verdict("I1", made(knowledge=knowledge), check=good) == "NOT RUN"
    wrong = (
        gradient(1e-9, 2e-5),
        gradient(1e-9, difference=1e-18),
        gradient(1e-9, cosine=0.998),
        gradient(0.0, zero=True),
        gradient(float("inf")),
        gradient(float("nan")),
        gradient(0.0, difference=float("nan")),
    )
    for check in wrong:
        assert verdict("I1", made(), check=check) == "FAIL"
        assert verdict("I1", made(), check=check, gradient="bpda") == "WARN"
        assert verdict("I1", made(), check=check, gradient="none") == "WARN"


def dead(n: int, *rows: int, column: int = 0) -> np.ndarray[Any, Any]:
    flags = np.zeros((n, 2), bool)
    flags[list(rows), column] = True
    return flags


def test_I2_counts_dead_gradients_of_images_that_hold() -> None:
    assert verdict("I2", made(rates=some(10), dead=dead(64, 63))) == "FAIL"
    assert verdict("I2", made(rates=some(10), dead=dead(64, 63, column=1))) == "FAIL"
    assert verdict("I2", made(rates=some(10), dead=dead(64, 0))) == "WARN"
    assert verdict("I2", made(rates=some(10), dead=dead(64, 0, column=1))) == "PASS"
    assert verdict("I2", made(rates=some(10))) == "PASS"
    assert verdict("I2", made(rates=some(10), gradients=np.zeros(64, int), dead=dead(64, 63))) == "NOT RUN"


def test_I2_excuses_scores_at_the_end_of_their_range() -> None:
    quality = {"kind": "quality", "range": (0.0, 100.0)}
    end = made(rates=some(0), dead=dead(64, 5), scores=np.full(64, 99.0))
    assert verdict("I2", end, **quality) == "WARN"
    assert verdict("I2", end, **quality, sign=-1) == "FAIL"
    assert verdict("I2", replace(end, scores=np.full(64, 50.0)), **quality) == "FAIL"


def trace(*rows: tuple[float, float, float], n: int = 64) -> np.ndarray[Any, Any]:
    return np.array([*rows, *[(-3.0, -1.0, -1.0)] * (n - len(rows))])


def test_I3_a_clear_success_on_the_path_that_is_lost_fails() -> None:
    lost, hair = (-3.0, 1.0, 1.0), (-3.0, 0.01, 0.01)
    assert verdict("I3", made(rates=some(0), trace=trace(lost, lost))) == "FAIL"
    assert verdict("I3", made(rates=some(0), trace=trace(lost))) == "WARN"
    assert verdict("I3", made(rates=some(0), trace=trace(hair))) == "PASS"
    assert verdict("I3", made(rates=some(0), trace=trace(*[hair] * 10))) == "WARN"
    assert verdict("I3", made(rates=some(2), trace=trace(lost, lost))) == "PASS"
    assert verdict("I3", made(rates=some(0), attack_rate=some(2))) == "FAIL"


def test_I3_does_not_blame_blind_or_surrogate_attacks_for_other_truths() -> None:
    lost = [(-3.0, 1.0, 1.0)] * 30
    assert verdict("I3", made(rates=some(0), trace=trace(*lost), knowledge="blind")) == "NOT RUN"
    assert verdict("I3", made(rates=some(0), trace=trace(*lost), knowledge="surrogate")) == "PASS"


def test_I3_allows_a_random_defence_its_luck() -> None:
    def random(attack: float, score: float) -> str:
        main = made(rates=np.full(64, score), draws=20, attack_rate=np.full(64, attack), trace=trace((-3, 1, 1)))
        return verdict("I3", main)

    assert random(0.55, 0.40) == "PASS"
    assert random(0.90, 0.10) == "FAIL"


def rising(count: int) -> np.ndarray[Any, Any]:
    return trace(*[(-5.0, -3.0, -1.0)] * count)


def test_I4_without_a_longer_run_the_trace_decides() -> None:
    assert verdict("I4", made(rates=some(0), trace=rising(6))) == "PASS"
    assert verdict("I4", made(rates=some(0), trace=rising(20))) == "WARN"
    assert verdict("I4", made(rates=some(0), trace=rising(40))) == "FAIL"
    assert verdict("I4", made(trace=rising(40))) == "PASS"  # all fell


def test_I4_a_longer_run_decides_over_the_trace() -> None:
    main = made(rates=some(30), trace=rising(40))
    assert verdict("I4", main, made("I4:doubled", some(30))) == "PASS"
    assert verdict("I4", main, made("I4:doubled", some(32))) == "PASS"  # two images are within chance
    assert verdict("I4", main, made("I4:doubled", some(33))) == "WARN"
    assert verdict("I4", main, made("I4:doubled", some(36))) == "FAIL"
    assert verdict("I4", main, made("I4:doubled", some(20))) == "PASS"
    closer = trace(*[(-3.0, -0.1, -0.1)] * 64)
    assert verdict("I4", main, made("I4:doubled", some(30), trace=closer)) == "WARN"


def test_I4_compares_the_images_that_both_runs_saw_whatever_their_order() -> None:
    main = made(rates=some(100, n=200))
    part = made("I4:doubled", some(64))  # images 0 to 63, all broken by the main attack too
    backwards = part.at(part.images[::-1])
    assert verdict("I4", main, backwards) == "PASS"
    one, other = pair(backwards, main)
    assert one.images == other.images == part.images
    assert gain_of(made(rates=some(64)), made(rates=some(64, first=64, n=128))).gain == 1.0


def test_I5_both_ways() -> None:
    main = made(rates=some(30), draws=20)
    assert verdict("I5", main) == "NOT RUN"
    assert verdict("I5", made(rates=some(30))) == "PASS"
    assert verdict("I5", main, made("I5:eot", some(30), draws=20)) == "PASS"
    assert verdict("I5", main, made("I5:eot", some(36), draws=20)) == "FAIL"
    even = made("I5:eot", some(30), draws=20)
    assert verdict("I5", main, even, made("I5:single", some(36), draws=20)) == "FAIL"
    assert verdict("I5", main, even, made("I5:single", some(33), draws=20)) == "WARN"


def test_I5_to_I7_one_draw_of_a_random_defence_is_not_taken_for_determinism() -> None:
    verdicts = judge(case(made(), is_random=True))
    assert [verdicts[name].verdict for name in ("I5", "I6", "I7")] == ["NOT RUN"] * 3


def test_I6_warns_beyond_ten_points() -> None:
    main = made(rates=np.full(64, 0.3), draws=20)
    assert verdict("I6", main, worst_of=(10, 0.3, 0.39)) == "PASS"
    assert verdict("I6", main, worst_of=(10, 0.3, 0.95)) == "WARN"
    assert verdict("I6", main, worst_of=(10, 0.3, float("nan"))) == "NOT RUN"
    assert verdict("I6", main) == "NOT RUN"


def test_I7_warns_both_ways() -> None:
    main = made(rates=np.full(64, 0.4), draws=20)
    known = {"knowledge": "known_noise"}
    assert verdict("I7", main, made("I7:known", some(64), **known)) == "WARN"
    assert verdict("I7", main, made("I7:known", some(28), **known)) == "PASS"
    assert verdict("I7", main, made("I7:known", some(0), **known)) == "WARN"


def test_I8_images_wrong_when_clean_cannot_be_robust() -> None:
    correct = np.ones((64, 1), bool)
    correct[0] = False
    assert verdict("I8", made(rates=some(1, first=1)), correct=correct) == "FAIL"
    assert verdict("I8", made(rates=some(1)), made("I8:half", some(0)), correct=correct) == "PASS"


def test_I8_a_random_defence_may_flicker() -> None:
    correct = np.arange(20)[None] < np.full((64, 1), 9)  # 45 % right when clean
    assert verdict("I8", made(rates=np.full(64, 0.4), draws=20), correct=correct) == "NOT RUN"
    assert verdict("I8", made(rates=np.full(64, 0.0), draws=20), correct=correct) == "FAIL"


def test_I8_success_may_not_fall_with_epsilon() -> None:
    main = made(rates=some(30))
    assert verdict("I8", main) == "NOT RUN"
    assert verdict("I8", main, made("I8:half", some(10)), made("I8:double", some(50))) == "PASS"
    assert verdict("I8", main, made("I8:half", some(10)), made("I8:double", some(29, first=1))) == "WARN"
    assert verdict("I8", main, made("I8:half", some(10)), made("I8:double", some(28, first=2))) == "FAIL"
    assert verdict("I8", main, made("I8:half", some(2, first=40)), made("I8:double", some(50))) == "FAIL"
    few = made(rates=some(10, n=20))  # one image of twenty is more than 2 %, but still one image
    assert verdict("I8", few, made("I8:double", some(9, n=20))) == "WARN"
    assert verdict("I8", few, made("I8:double", some(8, n=20))) == "FAIL"


def test_I9_nothing_survives_without_a_bound() -> None:
    main = made()
    assert verdict("I9", main) == "NOT RUN"
    assert verdict("I9", main, made("I9:unbounded")) == "PASS"
    assert verdict("I9", main, made("I9:unbounded", some(63))) == "FAIL"
    assert verdict("I9", main, made("I9:unbounded", some(199, n=200))) == "PASS"  # within 1 %


@pytest.mark.parametrize(
    ("sign", "score", "expected"),
    [
        (1, 96, "PASS"),
        (1, 94, "FAIL"),
        (-1, 4, "PASS"),
        (-1, 96, "FAIL"),
        (0, 4, "PASS"),
        (0, 96, "PASS"),
        (0, 50, "FAIL"),
    ],
)
def test_I9_scores_must_reach_the_end_of_the_range(sign: int, score: float, expected: str) -> None:
    attack = made("I9:unbounded", scores=np.full(64, float(score)))
    assert verdict("I9", made(), attack, kind="quality", range=(0.0, 100.0), sign=sign) == expected


def test_I10_weaker_attackers_find_nothing_new() -> None:
    main = made(rates=some(30))

    def other(rates: Any, knowledge: str, **fields: Any) -> AttackEvidence:
        return made("main", rates, knowledge=knowledge, label="other", **fields)

    assert verdict("I10", main) == "NOT RUN"
    assert verdict("I10", main, other(some(20), "blind")) == "PASS"
    assert verdict("I10", main, other(some(31), "scores")) == "PASS"
    assert verdict("I10", main, other(some(32), "scores")) == "FAIL"
    assert verdict("I10", main, made("I10:square", some(32), knowledge="scores")) == "FAIL"
    assert verdict("I10", main, other(some(2, first=30), "blind")) == "FAIL"  # equal sums hide nothing
    assert verdict("I10", main, other(some(64), "bpda")) == "NOT RUN"  # I11's business
    assert verdict("I10", main, made("I8:double", some(64), knowledge="scores")) == "NOT RUN"
    assert verdict("I10", made(rates=some(0), knowledge="blind"), other(some(30), "scores")) == "NOT RUN"


def test_I10_limits_grow_with_the_number_of_images() -> None:
    main = made(rates=some(0, n=1000))
    for knowledge, allowed in (("scores", 2), ("blind", 20)):
        for extra, expected in ((0, "PASS"), (1, "FAIL")):
            found = made("main", some(allowed + extra, n=1000), knowledge=knowledge, label="other")
            assert verdict("I10", main, found) == expected


def test_I10_a_random_defence_may_flicker() -> None:
    main = made(rates=np.full(64, 0.45), draws=20)
    assert verdict("I10", main, made("main", np.full(64, 0.55), draws=20, knowledge="scores", label="o")) == "PASS"
    assert verdict("I10", main, made("main", np.full(64, 1.0), draws=20, knowledge="scores", label="o")) == "FAIL"


def test_I11_one_step_and_bpda_break_less() -> None:
    main = made(rates=some(30))
    assert verdict("I11", main) == "NOT RUN"
    assert verdict("I11", main, made("I11:fgsm", some(20))) == "PASS"
    assert verdict("I11", main, made("I11:fgsm", some(36))) == "FAIL"
    assert verdict("I11", main, made("I11:bpda", some(36), knowledge="bpda")) == "FAIL"
    assert verdict("I11", main, made("main", some(36), knowledge="bpda", label="BPDA line")) == "FAIL"
    assert verdict("I11", made(rates=some(30), knowledge="bpda"), made("I11:bpda", some(36))) == "NOT RUN"


def test_I12_random_noise_breaks_less() -> None:
    main = made(rates=some(30))
    assert verdict("I12", main) == "NOT RUN"
    noise = made("I12:noise", some(20), knowledge="scores", attack={"name": "random_noise", "draws": 100})
    assert verdict("I12", main, noise) == "PASS"
    assert "100 points" in judge(case(main, noise))["I12"].detail
    line = made("main", some(40), knowledge="scores", label="any name", attack={"name": "random_noise"})
    assert verdict("I12", main, line) == "FAIL"


def test_I14_names_surrogates() -> None:
    assert verdict("I14", made()) == "PASS"
    assert verdict("I14", made(facts={"attack_purifier": "a", "score_purifier": "b"})) == "FAIL"
    assert verdict("I14", made(facts={"score_purifier": "b"})) == "NOT RUN"
    assert verdict("I14", made(knowledge="blind")) == "NOT RUN"


def test_I15_the_control_must_fall() -> None:
    bare = {"score_purifier": "identity"}
    assert verdict("I15", made()) == "NOT RUN"
    assert verdict("I15", made(), control=made(facts=bare)) == "PASS"
    assert verdict("I15", made(), control=made(rates=some(63), facts=bare)) == "FAIL"
    assert verdict("I15", made(rates=some(63), facts=bare), control=made(rates=some(63), facts=bare)) == "WARN"
    assert "2.50 x" in judge(case(made(), control=made(facts=bare), cost_ratio=2.5))["I15"].detail


def test_one_or_no_draw_of_difference_is_luck() -> None:
    assert clearly_above(np.array([1.0]), np.array([0.0]), (1, 1)).tolist() == [True]
    assert clearly_above(np.array([0.75, 1.0]), np.array([0.25, 0.0]), (4, 4)).tolist() == [False, True]
    assert clearly_above(np.array([0.8, 0.6]), np.array([0.2, 0.4]), (20, 20)).tolist() == [True, False]


def test_luck_alone_rarely_counts() -> None:
    rng = np.random.default_rng(0)
    for draws in (2, 4, 10, 20):
        a, b = (rng.binomial(draws, 0.5, 100_000) / draws for _ in range(2))
        assert clearly_above(a, b, (draws, draws)).mean() < (0.07 if draws == 2 else 0.005)


# The extra attacks.


def roles(attack: str, access: Access, defence: str, known: tuple[str, ...] = ()) -> dict[str, Any]:
    return {c.role: c for c in checks(parse_attack(attack), access, parse_purifier(defence), known)}


def test_checks_of_a_deterministic_and_of_a_random_defence() -> None:
    common = ["I4:doubled", "I8:half", "I8:double", "I9:unbounded", "I11:fgsm"]
    found = roles("apgd:steps=60", Access(), "identity")
    assert list(found) == [*common, "I10:square", "I12:noise"]
    found = roles("apgd:steps=60", Access(), "jpeg", ("square", "random_noise"))
    assert list(found) == [*common, "I11:bpda"]
    found = roles("apgd:steps=60", Access(eot=10), "random_noise")
    assert list(found)[-3:] == ["I5:eot", "I5:single", "I7:known"]
    assert (found["I5:eot"].access.eot, found["I5:single"].access.eot) == (20, 1)
    assert (found["I10:square"].attack.queries, found["I12:noise"].attack.draws) == (120, 120)
    assert found["I12:noise"].access == found["I10:square"].access == Access(knowledge="scores", eot=10)
    assert found["I4:doubled"].attack.steps == 120


def test_checks_keep_the_relative_step_and_enough_budget() -> None:
    attack, access = "pgd:epsilon=8/255,steps=10,step=2/255", Access(budget=11, eot=1)
    found = roles(attack, access, "random_noise")
    assert found["I8:half"].attack.step == pytest.approx(1 / 255)
    assert found["I8:double"].attack.step == pytest.approx(4 / 255)
    assert found["I9:unbounded"].attack.step is None
    assert found["I9:unbounded"].attack.steps == 20
    assert roles("pgd:steps=50", access, "jpeg")["I9:unbounded"].attack.steps == 50
    assert found["I4:doubled"].access.budget == found["I5:eot"].access.budget == 22
    assert "I5:single" not in found


def test_without_a_bound_the_norm_does_not_matter() -> None:
    found = roles("apgd:norm=l2,epsilon=0.5", Access(), "jpeg")["I9:unbounded"].attack
    assert (found.norm, found.epsilon) == ("linf", 1.0)


def test_checks_ask_nothing_that_the_threat_model_forbids() -> None:
    for name, attack in ATTACKS.items():
        for knowledge in ("blind", "scores", "bpda", "exact", "known_noise"):
            access = Access(knowledge=knowledge)
            if attack.needs == "nothing" or (attack.needs == "gradients" and knowledge == "scores"):
                continue
            for check in roles(name, access, "random_noise").values():
                assert check.access.knowledge != "scores" or check.attack.needs != "gradients", check
                assert type(check.attack).make(**check.attack.model_dump()) == check.attack
                for field, value in check.attack:
                    default = type(check.attack).model_fields[field].default
                    assert not isinstance(default, int) or isinstance(value, int), (name, field, value)


def test_a_black_box_main_attack_can_be_examined(traps: pytest.MonkeyPatch) -> None:
    evidence = run("gaussian_blur", "square:epsilon=16/255,queries=40", "scores", count=8)
    verdicts = judge(evidence)
    assert verdicts["I2"].verdict == verdicts["I11"].verdict == "NOT RUN"
    assert verdicts["I4"].verdict != "NOT RUN"


def test_recipes_with_traps_leave_no_trace() -> None:
    with pytest.raises(ValueError, match="trap_linear"):
        parse_target("trap_linear")
    with pytest.raises(ValueError, match="cannot be used"):
        recipe_of("trap_detach")


@pytest.mark.parametrize(("indicator", "knowledge"), [("I10", "scores"), ("I11", "bpda")])
def test_attackers_who_may_do_more_are_no_evidence_against_the_main_attack(indicator, knowledge):
    main = made(rates=some(10), attack={"norm": "linf", "epsilon": 8 / 255})
    for attack, expected in (
        ({"norm": "linf", "epsilon": 8 / 255}, "FAIL"),
        ({"norm": "linf", "epsilon": 4 / 255}, "FAIL"),
        ({"norm": "linf", "epsilon": 16 / 255}, "NOT RUN"),
        ({"norm": "l2", "epsilon": 8 / 255}, "NOT RUN"),
    ):
        other = made(rates=some(40), knowledge=knowledge, label="other", attack=attack)
        assert verdict(indicator, main, other) == expected
