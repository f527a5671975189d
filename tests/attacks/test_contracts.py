"""The contract over all attacks."""

from lustral.attacks import (
    APGD,
    ATTACKS,
    FAB,
    FGSM,
    IFGSM,
    PGD,
    SPSA,
    AutoAttack,
    CAdv,
    CarliniWagner,
    ColorShift,
    DeepFool,
    DiffAttack,
    NAttack,
    RandomSearch,
    Square,
    StAdv,
)
from tests.attacks.colorization import FILE
from tests.contracts.attacks import AttackContract


class TestAttacks(AttackContract):
    cases = (
        RandomSearch(draws=4),
        RandomSearch(draws=4, norm="l2", epsilon=0.4),
        FGSM(),
        FGSM(norm="l2", epsilon=0.4),
        IFGSM(),
        IFGSM(norm="l2", epsilon=0.4),
        PGD(steps=4),
        PGD(steps=6, norm="l2", epsilon=0.4, restarts=2, early_stop=True, schedule="cosine"),
        APGD(steps=8),
        APGD(steps=8, norm="l2", epsilon=0.4, restarts=2, early_stop=True),
        Square(queries=60, epsilon=16 / 255),
        Square(queries=60, epsilon=0.5, norm="l2"),
        FAB(steps=4, targets=2),
        FAB(steps=3, targets=1, norm="l2", epsilon=0.4, restarts=2, early_stop=True),
        FAB(steps=2, targeted=False),
        DeepFool(steps=5),
        DeepFool(steps=3, targets=2, norm="linf", epsilon=8 / 255),
        CarliniWagner(steps=12, searches=2, rate=0.05, c=3.0),
        CarliniWagner(steps=6, searches=1, rate=0.05, epsilon=0.4),
        NAttack(queries=24, population=7),
        NAttack(queries=24, population=11, norm="l2", epsilon=0.5, side=4, early_stop=False),
        SPSA(queries=24, population=7),
        SPSA(queries=25, population=12, early_stop=False),
        StAdv(steps=6, bound=0.1, random_start=True),
        StAdv(steps=6, bound=1, tau=0.05, confidence=0.1),
        ColorShift(steps=6),
        ColorShift(steps=4, side=1, random_start=True),
        CAdv(weights=str(FILE), hints=6, clusters=3, chosen=2, steps=6, rate=0.1),
        AutoAttack(steps=3, targets=1, queries=6, evaluations=3, reselection=4),
        AutoAttack(steps=3, variant="rand", evaluation="single", norm="l2", epsilon=0.4),
        DiffAttack(steps=4),
        DiffAttack(steps=4, norm="l2", epsilon=0.4, restarts=2),
    )


def test_every_attack_is_under_contract():
    assert {type(case) for case in TestAttacks.cases} == set(ATTACKS.values())
    assert all(name == attack.name for name, attack in ATTACKS.items())
