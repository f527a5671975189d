"""Pure functions from scores and images to numbers; no torch, no files, no state.

"Paper 000" in these modules is Gushchin et al., "Guardians of image quality" (ICML 2025).
"""

from __future__ import annotations

from lustral.measures.correlation import krocc, plcc, srocc
from lustral.measures.draws import average_broken, majority_broken, worst_of
from lustral.measures.fidelity import PSNR_CAP, l2, linf, mae, mse, psnr, ssim_gaussian, ssim_uniform
from lustral.measures.intervals import Interval, bootstrap_interval, clopper_pearson, paired_interval, wilson_interval
from lustral.measures.robustness import (
    R_CAP,
    R_EPSILON,
    RScore,
    d_score,
    d_score_defended,
    d_terms,
    r_score,
    r_score_defended,
    r_terms,
)
from lustral.measures.statistics import (
    Friedman,
    KruskalWallis,
    McNemar,
    bonferroni,
    friedman,
    holm,
    kruskal_wallis,
    mcnemar,
    mcnemar_exact,
    pareto_front,
    wilcoxon_one_sided,
)

__all__ = [
    "PSNR_CAP",
    "R_CAP",
    "R_EPSILON",
    "Friedman",
    "Interval",
    "KruskalWallis",
    "McNemar",
    "RScore",
    "average_broken",
    "bonferroni",
    "bootstrap_interval",
    "clopper_pearson",
    "d_score",
    "d_score_defended",
    "d_terms",
    "friedman",
    "holm",
    "krocc",
    "kruskal_wallis",
    "l2",
    "linf",
    "mae",
    "majority_broken",
    "mcnemar",
    "mcnemar_exact",
    "mse",
    "paired_interval",
    "pareto_front",
    "plcc",
    "psnr",
    "r_score",
    "r_score_defended",
    "r_terms",
    "srocc",
    "ssim_gaussian",
    "ssim_uniform",
    "wilcoxon_one_sided",
    "wilson_interval",
    "worst_of",
]
