"""The deviation is the formula, its gradient is exact, and APGD does the rest."""

import pytest
import torch

from lustral.attacks import APGD, Access, DiffAttack
from lustral.attacks.deviation import Deviation
from lustral.attacks.goals import Misclassify
from lustral.attacks.oracle import Oracle
from lustral.diffusion.schedules import vp_continuous, vp_linear
from lustral.steps import watching
from tests.attacks.diffusion import TinyPurifier
from tests.attacks.problems import images, network, noise


def oracle_for(purifier, n=2, deviation=None, access=None, **options):
    net, x = network(), images(n, 8)
    with torch.no_grad():
        labels = net(x).argmax(1)
    settings = DiffAttack()
    access, options = access or Access(), {"ball": settings.ball(), **options}
    oracle = Oracle(net, Misclassify(labels), x, noise(n, "oracle"), access, purifier=purifier, **options)
    return (oracle if deviation is None else oracle.deviating(deviation)), x


@pytest.mark.parametrize(("every", "kept"), [(1, [0, 1, 2, 3]), (2, [1, 3]), (4, [3])])
def test_the_term_is_the_mean_squared_distance_of_states(every, kept):
    purifier, states, e = TinyPurifier(), [], []
    plain, x = oracle_for(purifier)

    def note(event, facts):
        states.append((facts["x"], facts["t"])) if event == "state" else e.append(facts["e"])

    with watching(note):
        purifier(x, noise(2, "oracle").draws(0, 1))
    schedule = vp_continuous()
    terms = [
        (state - schedule.scales[t] * (2 * x - 1 + schedule.sigmas[t] * e[0])).square().flatten(1).mean(1)
        for state, t in states
    ]
    expected = torch.stack([terms[k] for k in kept]).mean(0)
    bare = plain.loss(x)
    oracle, _ = oracle_for(purifier, deviation=Deviation(3.0, every))
    torch.testing.assert_close(oracle.loss(x).loss - bare.loss, 3 * expected, rtol=1e-9, atol=0)
    margins = oracle_for(purifier, deviation=Deviation(3.0))[0]
    margins.loss(x, name="margin")
    assert torch.equal(margins.memory.margins.amax(1), plain.memory.margins.amax(1)), "margins stay margins"


@pytest.mark.parametrize("solver", ["sde", "ode", "ddpm"])
def test_gradients_through_the_states_are_exact_and_equal_when_recomputed(solver):
    slopes = []
    for checkpoint in (True, False):
        purifier = TinyPurifier(solver=solver, rounds=2)
        oracle, x = oracle_for(purifier, deviation=Deviation(5.0), access=Access(eot=2), checkpoint=checkpoint)
        slopes.append(oracle.gradient(x))
    for one, other in zip(*slopes, strict=True):
        assert torch.equal(one, other)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        values = []
        for sign in (1, -1):
            oracle, _ = oracle_for(
                TinyPurifier(solver=solver, rounds=2), deviation=_Frozen(5.0, 1, x), access=Access(eot=2)
            )
            values.append(oracle.loss(x + sign * 1e-5 * direction).loss)
        numeric = (values[0] - values[1]) / 2e-5
        exact = (slopes[0].gradient * direction).flatten(1).sum(1)
        torch.testing.assert_close(numeric, exact, rtol=1e-6, atol=1e-9)


class _Frozen(Deviation):
    """The diffused states of fixed images: what "taken as constants" means for finite differences."""

    def __init__(self, weight, every, clean):
        super().__init__(weight, every)
        object.__setattr__(self, "clean", clean)

    def follow(self, purify, x, draws):
        constants = []
        with watching(lambda event, facts: constants.append(facts["x"]) if event == "diffused" else None):
            purify(self.clean.repeat_interleave(len(x) // len(self.clean), 0), draws.replay())
        terms, now = [], []

        def note(event, facts):
            if event == "diffused":
                now[:] = [constants.pop(0), facts["e"]]
                return
            schedule, t = facts["schedule"], facts["t"]
            diffused = schedule.scales[t] * (now[0] + schedule.sigmas[t] * now[1])
            terms.append((facts["x"] - diffused).square().flatten(1).mean(1))

        with watching(note):
            purified = purify(x, draws)
        return purified, self.weight * torch.stack(terms).mean(0)


def test_it_is_apgd_on_another_objective_and_breaks_images_by_their_margin():
    x = images(6, 8)
    results, margins = {}, {}
    for settings in (APGD(steps=8, epsilon=0.1), *(DiffAttack(steps=8, epsilon=0.1, weight=w) for w in (0, 1, 100))):
        key = getattr(settings, "weight", None)
        oracle, x = oracle_for(TinyPurifier(), 6, access=Access(eot=2), ball=settings.ball())
        results[key] = settings.run(oracle, x, noise(6))
        margins[key] = oracle.memory.margins.amax(1)
        assert oracle.gradients.tolist() == [16] * 6, "nobody leaves early"
    assert torch.equal(results[0], results[None])
    assert (results[1] != results[None]).flatten(1).any(1).all()
    before = oracle_for(TinyPurifier(), 6)[0].judge(x, draws=20).margin
    assert (margins[1] > before).all()
    assert (margins[100] > before).float().mean() > 0.5


def test_a_purifier_without_states_is_one_clear_error():
    for purifier in (lambda x, draws: x * 0.9, TinyPurifier(strides=3)):
        oracle, x = oracle_for(purifier)
        with pytest.raises(ValueError, match="shows no diffused image followed by reverse states"):
            DiffAttack(steps=2, every=4).run(oracle, x, noise(2))


def test_states_of_other_shapes_are_refused():
    def halves(x, draws):
        return torch.cat([TinyPurifier()(x[:1], draws.select([0])), x[1:]])

    oracle, x = oracle_for(halves)
    with pytest.raises(ValueError, match="one reverse state per image"):
        DiffAttack(steps=2).run(oracle, x, noise(2))


@pytest.mark.parametrize(
    ("knowledge", "purifier"), [("exact", lambda x, draws: x), ("blind", TinyPurifier()), ("bpda", TinyPurifier())]
)
def test_controls_without_a_derivative_of_states_are_attacked_by_apgd(knowledge, purifier):
    results = []
    for settings in (DiffAttack(steps=4), APGD(steps=4)):
        oracle, x = oracle_for(purifier, access=Access(knowledge=knowledge))
        results.append(settings.run(oracle, x, noise(2)))
    assert torch.equal(*results)


def test_the_surrogate_shows_the_states():
    oracle, x = oracle_for(
        lambda x, draws: x * 0.5, access=Access(knowledge="surrogate"), surrogate=TinyPurifier(strides=2)
    )
    DiffAttack(steps=2).run(oracle, x, noise(2))
    assert oracle.gradients.tolist() == [2, 2]
    assert vp_linear().steps == vp_continuous().steps
