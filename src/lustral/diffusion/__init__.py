"""Diffusion: noise schedules, samplers over a denoiser, and the denoisers."""

from lustral.diffusion.loading import load_denoiser
from lustral.diffusion.preconditioned import PreconditionedDenoiser

__all__ = ["PreconditionedDenoiser", "load_denoiser"]
