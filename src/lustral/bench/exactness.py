"""Indicator I1: is the gradient that the attack follows the derivative of what is deployed? No torch here."""

from __future__ import annotations

from lustral.bench.evidence import AttackEvidence, Evidence, Verdict

__all__ = ["exact_gradients"]

SMALL_ERROR = 1e-5
"""Relative error of float64 gradients up to which differences and derivative are the same."""

SAME_DIRECTION = 0.999
"""Cosine above which rounding to float32 has not changed a gradient."""


def exact_gradients(evidence: Evidence, main: AttackEvidence) -> Verdict:
    """Verdict I1 on the gradient that the main attack follows. Only a defence that declares an exact one can fail."""
    if main.knowledge not in ("exact", "known_noise"):
        return Verdict("NOT RUN", None, "the main attack does not go by the gradient of the defence")
    check = evidence.check
    if check is None or isinstance(check, str):
        return Verdict("NOT RUN", None, check or "")
    error, difference, cosine = check.error.max(), check.difference.max(), check.cosine.min()
    text = (
        f"relative error {error:.1e} against central differences in float64, checkpointed minus plain gradient "
        f"{difference:.1e}, cosine of float32 with float64 {cosine:.6f}; worst of {len(check.error)} images"
    )
    if check.zero.all():
        text = f"the gradient is zero; {text}"
    elif error <= SMALL_ERROR and difference == 0 and cosine >= SAME_DIRECTION:
        return Verdict("PASS", float(error), text)
    if evidence.gradient == "exact":
        return Verdict("FAIL", float(error), text)
    declared = "declared to have none" if evidence.gradient == "none" else "declared a surrogate"
    return Verdict("WARN", float(error), f"{declared}: {text}")
