"""Sixteen checks beside every robustness number: was the attack able to find the truth? No torch here.

The thresholds are those of the papers that the checks come from: Athalye et al. (arXiv:1802.00420), Carlini
et al. (arXiv:1902.06705), AutoAttack (arXiv:2003.01690), indicators of attack failure (arXiv:2106.09947),
DiffHammer (NeurIPS 2024) and DiffBreak (arXiv:2411.16598).

Differs: the extra attacks run on a few dozen images, so a difference between two attacks fails only if it is
also beyond chance, and an image of a random defence counts as missed only beyond the luck of its draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from lustral.bench.checks import Check, checks
from lustral.bench.evidence import (
    AttackEvidence,
    Evidence,
    Outcome,
    Verdict,
    clearly_above,
    gain_of,
    pair,
    share,
)
from lustral.bench.exactness import exact_gradients

__all__ = ["INDICATORS", "AttackEvidence", "Check", "Evidence", "Verdict", "checks", "is_upper_bound", "judge"]

INDICATORS: dict[str, str] = {
    "I1": "gradients equal finite differences",
    "I2": "no image has a zero or non-finite gradient",
    "I3": "no success on the path is lost",
    "I4": "the attack has converged",
    "I5": "more draws of the randomness do not help the attack",
    "I6": "resubmitting one image does not help the attack much",
    "I7": "knowing the noise does not help the attack much",
    "I8": "success grows with epsilon, and robust images are clean-correct",
    "I9": "an unbounded attack breaks everything",
    "I10": "the adaptive attack dominates weaker attackers image by image",
    "I11": "iterating beats one step, full gradients beat BPDA",
    "I12": "random noise finds less than the attack",
    "I13": "the loss surface is stable",
    "I14": "the attack saw the deployed defence",
    "I15": "the undefended control falls under the same attack",
    "I16": "another threat model was tried",
}

UPPER_BOUND = tuple(f"I{number}" for number in range(1, 11))
SMALL_CLIMB = 0.05
"""Share of the margin gained over the whole attack below which a further gain does not count."""

DETERMINISTIC = Verdict("PASS", 0.0, "the defence is deterministic")
NOT_ADAPTIVE = Verdict("NOT RUN", None, "the main attack is blind to the defence")


def judge(evidence: Evidence) -> dict[str, Verdict]:
    """All sixteen verdicts on the main attack; what was not measured reads NOT RUN."""
    verdicts = dict.fromkeys(INDICATORS, Verdict("NOT RUN"))
    main = next((a for a in evidence.attacks if a.role == "main" and a.label == evidence.main), None)
    if main is None or not main.images:
        return verdicts
    judges: dict[str, Callable[[Evidence, AttackEvidence], Verdict]] = {
        "I1": exact_gradients,
        "I2": _usable_gradients,
        "I3": _silent_success,
        "I4": _converged,
        "I5": _enough_draws,
        "I6": _resubmission,
        "I7": _known_noise,
        "I8": _monotone,
        "I9": _unbounded,
        "I10": _dominates,
        "I11": _iterative,
        "I12": _random_noise,
        "I14": _deployed,
        "I15": _controls,
    }
    return verdicts | {name: decide(evidence, main) for name, decide in judges.items()}


def is_upper_bound(verdicts: dict[str, Verdict]) -> bool:
    """A FAIL in I1 to I10: the number is an upper bound, not robustness."""
    return any(verdicts[name].verdict == "FAIL" for name in UPPER_BOUND)


def _worst(*outcomes: Outcome) -> Outcome:
    return max(outcomes, key=("NOT RUN", "PASS", "WARN", "FAIL").index)


def _repeats(evidence: Evidence, attack: AttackEvidence) -> bool:
    """Whether the attacker's answers are those of the scoring phase."""
    return not evidence.random or attack.knowledge == "known_noise"


def _short_of_the_end(evidence: Evidence, attack: AttackEvidence) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Quality metrics: images whose attacked score is not within 5 % of the end that the attacker wants."""
    assert attack.scores is not None
    low, high = evidence.range
    reached = (attack.scores - low) / (high - low)
    top, bottom = reached < 0.95, reached > 0.05
    return top & bottom if evidence.sign == 0 else top if evidence.sign > 0 else bottom


def _usable_gradients(evidence: Evidence, main: AttackEvidence) -> Verdict:
    if not main.gradients.any():
        return Verdict("NOT RUN", None, "the main attack asks for no gradients")
    # Where nothing is left to gain, as at the end of a score's range, a gradient may be zero.
    open_still = ~main.fell
    if evidence.kind == "quality" and main.scores is not None:
        open_still &= _short_of_the_end(evidence, main)
    dead = share(main.dead.any(1) & open_still)
    text = f"{dead:.1%} of images are robust and have a zero or non-finite gradient at the 1st or 11th step"
    if not dead and main.dead[:, 0].any():
        return Verdict("WARN", 0.0, f"{share(main.dead[:, 0]):.1%} of images start without a gradient, but all fall")
    return Verdict("FAIL" if dead else "PASS", dead, text)


def _silent_success(evidence: Evidence, main: AttackEvidence) -> Verdict:
    if main.knowledge == "blind":
        return Verdict("NOT RUN", None, "a blind attack does not see whether it succeeds")
    one_truth = _repeats(evidence, main)
    draws = (main.draws, main.draws)
    silent = (main.attack_rate > 0.5) & ~main.fell if one_truth else clearly_above(main.attack_rate, main.rate, draws)
    rounded = np.zeros_like(silent)
    if one_truth and main.knowledge != "surrogate":
        first, _, last = main.trace.T
        lost = (last > 0) & ~main.fell
        clear = last > SMALL_CLIMB * np.maximum(last - first, 1e-12)
        silent, rounded = silent | (lost & clear), lost & ~clear
    text = f"{int(silent.sum())} images broken on the path count as robust"
    text += f", {int(rounded.sum())} more were broken by a hair before rounding to 8 bits" if rounded.any() else ""
    text += f"; {int(main.rescued.sum())} were rescued by selection"
    many, hairs = (share(mask) > 0.02 and int(mask.sum()) > 1 for mask in (silent, rounded))
    outcome = "FAIL" if many else "WARN" if silent.any() or hairs else "PASS"
    return Verdict(outcome, share(silent), text)


def _converged(evidence: Evidence, main: AttackEvidence) -> Verdict:
    first, early, last = main.trace.T
    rising = share((last - early > SMALL_CLIMB * np.maximum(last - first, 1e-12)) & ~main.fell)
    text = f"{rising:.1%} of images are robust and still gain margin in the last ten questions"
    doubled = evidence.with_role("I4:doubled")
    if doubled is None:
        # A straight climb to a corner gains until it arrives: without a longer run, few steps prove nothing.
        return Verdict("FAIL" if rising > 0.5 else "WARN" if rising > 0.1 else "PASS", rising, text)
    gain, outcome = gain_of(doubled, main)
    text = f"twice the steps break {gain:+.1%} more"
    # Under fresh noise the best of more questions is higher by luck alone.
    if main.knowledge != "blind" and _repeats(evidence, main):
        longer, short = pair(doubled, main)
        climb = np.maximum(longer.trace[:, 2] - longer.trace[:, 0], 1e-12)
        farther = share((longer.trace[:, 2] - short.trace[:, 2] > SMALL_CLIMB * climb) & ~short.fell)
        text += f" and bring {farther:.1%} of images, all robust, closer to falling"
        outcome = _worst(outcome, "WARN" if farther > 0.1 else "PASS")
    return Verdict(outcome, gain, text)


def _enough_draws(evidence: Evidence, main: AttackEvidence) -> Verdict:
    if not evidence.random:
        return DETERMINISTIC
    outcome, texts, value = "NOT RUN", list[str](), 0.0
    for role, name in (("I5:eot", "twice the draws break"), ("I5:single", "a single draw breaks")):
        other = evidence.with_role(role)
        if other is not None:
            gain, found = gain_of(other, main)
            outcome, value = _worst(outcome, found), max(value, gain)
            texts.append(f"{name} {gain:+.1%} more")
    return Verdict(outcome, value if texts else None, "; ".join(texts))


def _resubmission(evidence: Evidence, main: AttackEvidence) -> Verdict:
    if not evidence.random:
        return DETERMINISTIC
    if evidence.worst_of is None or not np.isfinite(evidence.worst_of[2]):
        return Verdict("NOT RUN", None, "needs at least as many draws as submissions")
    count, average, worst = evidence.worst_of
    text = f"{worst - average:.1%} more images break within {count} submissions than on average"
    return Verdict("WARN" if worst - average > 0.1 else "PASS", worst - average, text)


def _known_noise(evidence: Evidence, main: AttackEvidence) -> Verdict:
    if not evidence.random:
        return DETERMINISTIC
    known = evidence.with_role("I7:known")
    if known is None:
        return Verdict("NOT RUN")
    told, fresh = pair(known, main)
    gap = float(told.rate.mean() - fresh.rate.mean())
    text = f"an attacker who knows the noise breaks {gap:+.1%} more"
    return Verdict("WARN" if abs(gap) > 0.1 else "PASS", gap, text)


def _monotone(evidence: Evidence, main: AttackEvidence) -> Verdict:
    wrong = dict(zip(evidence.images, 1 - evidence.correct.mean(1), strict=True))
    clean = np.array([wrong.get(name, 0.0) for name in main.images])
    stray = clearly_above(clean, main.rate, (evidence.correct.shape[1], main.draws))
    if stray.any():
        text = f"{int(stray.sum())} images are wrong when clean but count as robust"
        return Verdict("FAIL", share(stray), text)
    order = [evidence.with_role("I8:half"), main, evidence.with_role("I8:double")]
    curve = [attack for attack in order if attack is not None]
    if len(curve) < 2:
        return Verdict("NOT RUN", None, "needs the epsilon curve")
    worst, count = 0.0, 0
    for small, large in pairwise(curve):
        below, above = pair(small, large)
        lost = clearly_above(below.rate, above.rate, (below.draws, above.draws))
        worst, count = max(worst, share(lost)), max(count, int(lost.sum()))
    text = f"at most {worst:.1%} of images broken at one epsilon resist the next larger one"
    return Verdict("FAIL" if worst > 0.02 and count > 1 else "WARN" if count else "PASS", worst, text)


def _unbounded(evidence: Evidence, main: AttackEvidence) -> Verdict:
    attack = evidence.with_role("I9:unbounded")
    if attack is None:
        return Verdict("NOT RUN")
    if evidence.kind == "quality" and attack.scores is not None:
        held = share(_short_of_the_end(evidence, attack))
        text = f"{held:.1%} of images stay short of 95 % of the range without a bound"
    else:
        held = share(~attack.fell)
        text = f"{held:.1%} of images survive without a bound"
    return Verdict("FAIL" if held > 0.01 else "PASS", held, text)


def _weaker(evidence: Evidence, main: AttackEvidence) -> Iterator[AttackEvidence]:
    """Attackers that know less than the examined one, and may do no more."""
    for attack in evidence.attacks:
        asked = attack.role in ("main", "I10:square", "I12:noise") and attack is not main
        if asked and attack.knowledge in ("blind", "scores") and _is_allowed(attack, main):
            yield attack


def _is_allowed(other: AttackEvidence, main: AttackEvidence) -> bool:
    """Whether all that ``other`` may do is allowed to ``main``: the same norm, no larger epsilon."""
    ours, theirs = main.attack, other.attack
    return theirs.get("norm") == ours.get("norm") and theirs.get("epsilon", 0) <= ours.get("epsilon", 0) * (1 + 1e-9)


def _dominates(evidence: Evidence, main: AttackEvidence) -> Verdict:
    if main.knowledge == "blind":
        return NOT_ADAPTIVE
    worst, outcome, text = -1.0, "NOT RUN", "needs a blind or black-box attack in the suite"
    for other in _weaker(evidence, main):
        theirs, ours = pair(other, main)
        missed = int(clearly_above(theirs.rate, ours.rate, (theirs.draws, ours.draws)).sum())
        limit = 0.02 if other.knowledge == "blind" or _is_noise(other) else 0.002
        outcome = _worst(outcome, "FAIL" if missed > max(1.0, limit * len(ours.images)) else "PASS")
        if missed / max(1, len(ours.images)) > worst:
            worst = missed / max(1, len(ours.images))
            text = f"{missed} of {len(ours.images)} images fall to {other.label} but not to {main.label}"
    return Verdict(outcome, worst if worst >= 0 else None, text)


def _iterative(evidence: Evidence, main: AttackEvidence) -> Verdict:
    found: list[tuple[str, AttackEvidence | None]] = [("one step", evidence.with_role("I11:fgsm"))]
    if main.knowledge not in ("blind", "scores", "bpda"):
        bpda = evidence.with_role("I11:bpda")
        lines = [a for a in evidence.attacks if a.role == "main" and a.knowledge == "bpda" and _is_allowed(a, main)]
        found += [("BPDA", bpda), *((a.label, a) for a in lines if bpda is None or a.label != bpda.label)]
    outcome, texts, value = "NOT RUN", list[str](), -1.0
    for name, other in found:
        if other is not None:
            gain, verdict = gain_of(other, main)
            outcome, value = _worst(outcome, verdict), max(value, gain)
            texts.append(f"{name} breaks {gain:+.1%} more")
    return Verdict(outcome, value if texts else None, "; ".join(texts))


def _is_noise(attack: AttackEvidence) -> bool:
    return attack.role == "I12:noise" or attack.attack.get("name") == "random_noise"


def _random_noise(evidence: Evidence, main: AttackEvidence) -> Verdict:
    noise = next((attack for attack in evidence.attacks if _is_noise(attack) and attack is not main), None)
    if noise is None:
        return Verdict("NOT RUN")
    points = f" ({noise.attack['draws']} points)" if "draws" in noise.attack else ""
    theirs, ours = pair(noise, main)
    text = f"random noise{points} breaks {theirs.rate.mean():.1%}, the attack {ours.rate.mean():.1%}"
    return Verdict(gain_of(noise, main).outcome, float(theirs.rate.mean()), text)


def _deployed(evidence: Evidence, main: AttackEvidence) -> Verdict:
    attacked, scored = main.facts.get("attack_purifier"), main.facts.get("score_purifier")
    if main.knowledge == "blind" or attacked is None or scored is None:
        return NOT_ADAPTIVE
    same = attacked == scored
    return Verdict("PASS" if same else "FAIL", float(same), "" if same else "the attack saw a surrogate of the defence")


def _controls(evidence: Evidence, main: AttackEvidence) -> Verdict:
    control = evidence.control
    if control is None:
        return Verdict("NOT RUN", None, "needs the identity control under the same attack")
    robust = share(~control.fell)
    cost = "" if evidence.cost_ratio is None else f"; cost {evidence.cost_ratio:.2f} x the bare target"
    text = f"{robust:.1%} of images survive this attack on the undefended target{cost}"
    if robust <= 0.01:
        return Verdict("PASS", robust, text)
    itself = control.facts.get("score_purifier") == main.facts.get("score_purifier", "")
    return Verdict("WARN" if itself else "FAIL", robust, text)
